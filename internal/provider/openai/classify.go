package openai

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/llm"
)

const (
	maxErrorBody  = 64 << 10
	errorBodyTime = 10 * time.Second // the status has already said what matters
)

// refusal reads the answer to a call that did not succeed, and ends the call.
func (s *source) refusal(resp *http.Response) *llm.Error {
	s.arm(errorBodyTime)
	body, err := io.ReadAll(io.LimitReader(s.body, maxErrorBody))
	s.disarm()
	// What came of a broken error body still classifies the call.
	s.ended = err == nil && len(body) < maxErrorBody
	s.close()
	return s.client.classified(resp.StatusCode, resp.Header, body)
}

// classify reads an error frame, which came under status 200. Some providers
// give the status it would have had as a number inside it.
func (s *source) classify(data []byte) *llm.Error {
	status := http.StatusOK
	if n := gjson.GetBytes(data, "error.code").Int(); n >= 400 && n <= 599 {
		status = int(n)
	}
	e := s.client.classified(status, nil, bytes.Clone(data))
	e.Status = http.StatusOK
	return e
}

// classified asks package backoff, and adds what only this package knows.
func (c *Client) classified(status int, h http.Header, body []byte) *llm.Error {
	// Masked first: what is cut to length later must not hold half a key.
	c.scrub(h)
	e := backoff.Read(time.Now(), status, h, c.masked(body))
	cause := e.Err
	if cause == nil {
		cause = errors.New(e.Message)
	}
	// Whoever answers has seen the request, be it only in part.
	e.Err = &origin{err: cause, sent: true}
	return e
}
