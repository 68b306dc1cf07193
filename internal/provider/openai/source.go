package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// drainTime is how long a finished stream may take to end its connection's
// framing, so that the connection can be used again; its end usually comes
// with the last event or a moment after.
const drainTime = 50 * time.Millisecond

// source is the wire side of one call: what is sent, what comes back, and the
// one timer that watches both.
type source struct {
	client *Client
	ctx    context.Context // ends the exchange; kept because a Body outlives Do
	cancel context.CancelCauseFunc
	upload *upload
	timer  *time.Timer // nil until first armed
	body   io.ReadCloser
	ended  bool // the provider's last byte has been read
	closed bool
}

// open sends the request and waits for the header of the answer.
func (c *Client) open(parent context.Context, req *http.Request, u *upload) (*source, *http.Response, error) {
	s := &source{client: c, upload: u}
	s.ctx, s.cancel = context.WithCancelCause(parent)
	req = req.WithContext(s.ctx)
	req.Body, req.ContentLength = u.reader(), u.size
	req.GetBody = func() (io.ReadCloser, error) { return u.reader(), nil }
	if c.options.FirstByteTimeout > 0 {
		s.arm(c.options.FirstByteTimeout)
	}
	resp, err := c.transport.RoundTrip(req)
	s.disarm()
	if err != nil {
		failed := s.failure("call the provider", err)
		s.close()
		return nil, nil, failed
	}
	s.body = resp.Body
	return s, resp, nil
}

func (s *source) arm(d time.Duration) {
	if s.timer == nil {
		s.timer = time.AfterFunc(d, func() { s.cancel(errSilent) })
		return
	}
	s.timer.Reset(d)
}

func (s *source) disarm() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// Read implements io.Reader. Only the time inside it counts as silence.
func (s *source) Read(p []byte) (int, error) {
	s.arm(s.client.options.ReadTimeout)
	n, err := s.body.Read(p)
	s.disarm()
	if errors.Is(err, io.EOF) {
		s.ended = true
	}
	return n, err
}

// drain reads away what little may follow the end of a finished answer.
func (s *source) drain() {
	var rest [512]byte
	s.arm(drainTime)
	defer s.disarm()
	for range 8 {
		if _, err := s.body.Read(rest[:]); err != nil {
			s.ended = errors.Is(err, io.EOF)
			return
		}
	}
}

// close ends the exchange. Before the provider's last byte that breaks the
// connection, which is how the provider learns that nobody listens; after it
// the connection is kept for the next call.
func (s *source) close() {
	if s.closed {
		return
	}
	s.closed = true
	s.disarm()
	if !s.ended {
		s.cancel(context.Canceled)
	}
	if s.body != nil {
		_ = s.body.Close()
	}
	s.cancel(context.Canceled)
	s.upload.withdraw()
}
