package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/millrace/millrace/internal/llm"
)

// errSilent is the cause with which our own timer ends a call.
var errSilent = errors.New("the provider was silent for too long")

// origin is the cause beneath every *llm.Error of this package.
type origin struct {
	err  error
	sent bool
}

// Error implements error.
func (o *origin) Error() string { return o.err.Error() }

// Unwrap returns the underlying cause.
func (o *origin) Unwrap() error { return o.err }

// Sent reports whether the request may have reached the provider.
func (o *origin) Sent() bool { return o.sent }

// failure turns a fault of the wire into an *llm.Error. doing says what was
// under way, for the message.
func (s *source) failure(doing string, err error) *llm.Error {
	kind, why := llm.KindTransient, s.safe(err)
	var timed net.Error
	switch cause := context.Cause(s.ctx); {
	case cause == nil:
		if errors.As(err, &timed) && timed.Timeout() {
			kind = llm.KindTimeout
		}
	case errors.Is(cause, errSilent):
		kind, why = llm.KindTimeout, errSilent
	case errors.Is(s.ctx.Err(), context.DeadlineExceeded):
		kind, why = llm.KindTimeout, context.DeadlineExceeded
	default:
		kind, why = llm.KindCanceled, context.Canceled
	}
	return s.fault(kind, fmt.Sprintf("%s: %v", doing, why), why)
}

// fault builds an *llm.Error of this call.
func (s *source) fault(kind llm.ErrorKind, message string, err error) *llm.Error {
	if err == nil {
		err = errors.New(message)
	}
	return &llm.Error{
		Kind:    kind,
		Message: message,
		Err:     &origin{err: err, sent: s.upload.sent()},
	}
}

// misuse is what Next returns after Close.
func (s *source) misuse() error {
	return s.fault(llm.KindInternal, "the answer is read after it was closed", nil)
}

// safe returns err itself unless its text holds the key: then what remains is
// the masked text without the chain, through which the key could still be read.
func (s *source) safe(err error) error {
	text := err.Error()
	if masked := s.client.key.redact(text); masked != text {
		return errors.New(masked)
	}
	return err
}

// scrub masks the key in the header of an answer: some servers echo what they were
// sent.
func (c *Client) scrub(h http.Header) {
	if len(c.key) < minSecret {
		return
	}
	for _, values := range h {
		for i, v := range values {
			values[i] = c.key.redact(v)
		}
	}
}

// masked is scrub for a body; it copies only if there is something to mask.
func (c *Client) masked(body []byte) []byte {
	if len(c.key) < minSecret {
		return body
	}
	if !bytes.Contains(body, []byte(c.key)) {
		return body
	}
	return bytes.ReplaceAll(body, []byte(c.key), []byte(mask))
}
