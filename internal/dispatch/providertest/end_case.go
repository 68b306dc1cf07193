package providertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// seen waits for the provider to notice that nobody listens.
func seen(t *testing.T, gone <-chan struct{}) {
	t.Helper()
	select {
	case <-gone:
	case <-time.After(time.Second):
		t.Error("I8: a second after the call ended the provider still works on it: its connection must be closed at once")
	}
}

func (s suite) cancelBeforeHeader(t *testing.T) {
	gone, arrived := make(chan struct{}), make(chan struct{})
	srv := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		hangs("", nil, gone)(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-arrived; cancel() }()
	call := s.Stream.Call
	_, err := s.adapter(t, srv, Setup{}).Do(ctx, &call)
	wantKind(t, "I8: a client that left before the header", err, llm.KindCanceled)
	if !sent(t, err) {
		t.Error("I7: the request had arrived, yet the error says that it was not sent")
	}
	seen(t, gone)
}

// begun returns a stream of which half has been sent and read.
func (s suite) begun(t *testing.T, ctx context.Context, setup Setup) (*llm.Answer, <-chan struct{}) {
	t.Helper()
	gone := make(chan struct{})
	srv := newServer(t, hangs(s.Stream.ContentType, s.Stream.Answer[:len(s.Stream.Answer)/2], gone))
	call := s.Stream.Call
	a, err := s.adapter(t, srv, setup).Do(ctx, &call)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Body.Next(); err != nil {
		_ = a.Body.Close()
		t.Fatal(err)
	}
	return a, gone
}

func (s suite) cancelInTheMiddle(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, gone := s.begun(t, ctx, Setup{})
	defer a.Body.Close()
	cancel()
	wantKind(t, "I8: a client that left in the middle", finish(a).err, llm.KindCanceled)
	seen(t, gone)
}

func (s suite) closeInTheMiddle(t *testing.T) {
	a, gone := s.begun(t, t.Context(), Setup{})
	if err := a.Body.Close(); err != nil {
		t.Errorf("I8: Close: %v", err)
	}
	seen(t, gone)
}

func (s suite) connectionIsReused(t *testing.T) {
	for name, x := range map[string]Exchange{"whole": s.Whole, "stream": s.Stream} {
		srv := newServer(t, chunked(x.ContentType, x.Answer, len(x.Answer)))
		p := s.adapter(t, srv, Setup{})
		for range 20 {
			matches(t, x, perform(t, p, x.Call))
		}
		if n := srv.conns.Load(); n > 2 {
			t.Errorf("I8: %s: 20 calls, one after another, took %d connections: a finished answer must leave its connection to the next", name, n)
		}
	}
	srv := newServer(t, refuses(429, nil, bytes.Repeat([]byte(" "), 2000)))
	p := s.adapter(t, srv, Setup{})
	for range 20 {
		wantKind(t, "I8", perform(t, p, s.Whole.Call).err, llm.KindThrottle)
	}
	if n := srv.conns.Load(); n > 2 {
		t.Errorf("I8: 20 refused calls, one after another, took %d connections", n)
	}
}

func (s suite) closeIsFinal(t *testing.T) {
	for name, x := range map[string]Exchange{"whole": s.Whole, "stream": s.Stream} {
		srv := newServer(t, plain(x.ContentType, x.Answer))
		call := x.Call
		a, err := s.adapter(t, srv, Setup{}).Do(t.Context(), &call)
		if err != nil {
			t.Fatal(err)
		}
		matches(t, x, finish(a))
		if err := a.Body.Close(); err != nil {
			t.Errorf("I8: %s: closing twice: %v", name, err)
		}
		if piece, err := a.Body.Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("I8: %s: Next after Close returned %q, %v; want an error", name, piece, err)
		}
		if a.Body.Usage() != x.Usage || a.Body.Counted() != x.Counted {
			t.Errorf("I8: %s: usage and count must outlive Close, since the settlement comes after it", name)
		}
	}
}

func (s suite) hangBeforeHeader(t *testing.T) {
	gone := make(chan struct{})
	srv := newServer(t, hangs("", nil, gone))
	r := perform(t, s.adapter(t, srv, Setup{FirstByteTimeout: 100 * time.Millisecond}), s.Stream.Call)
	wantKind(t, "I9: no header within FirstByteTimeout", r.err, llm.KindTimeout)
	if !sent(t, r.err) {
		t.Error("I7: the request had arrived, yet the error says that it was not sent")
	}
	seen(t, gone)
}

func (s suite) hangInTheMiddle(t *testing.T) {
	a, gone := s.begun(t, t.Context(), Setup{ReadTimeout: 200 * time.Millisecond})
	wantKind(t, "I9: silence in the middle of a stream", finish(a).err, llm.KindTimeout)
	seen(t, gone)
}

func (s suite) answerTooLarge(t *testing.T) {
	x := s.Whole
	limit := int64(len(x.Answer))
	for name, play := range map[string]http.HandlerFunc{
		"declared": plain(x.ContentType, x.Answer), "chunked": chunked(x.ContentType, x.Answer, 100),
	} {
		srv := newServer(t, play)
		matches(t, x, perform(t, s.adapter(t, srv, Setup{MaxAnswer: limit}), x.Call))
		r := perform(t, s.adapter(t, srv, Setup{MaxAnswer: limit - 1}), x.Call)
		if r.err == nil || len(r.forwarded) > 0 {
			t.Fatalf("I10: %s: an answer of %d bytes passed though %d is the most", name, limit, limit-1)
		}
		if kind := fault(t, r.err).Kind; kind.Faulty() {
			t.Errorf("I10: %s: kind %v blames the upstream for a limit of ours", name, kind)
		}
	}
}

func (s suite) eventTooLarge(t *testing.T) {
	const large = 3 << 20
	good := s.Stream.Answer[:s.Complete(s.Stream.Answer[:len(s.Stream.Answer)/2])]
	body := append(bytes.Clone(good), s.Event(bytes.Repeat([]byte("x"), large))...)
	srv := newServer(t, chunked(s.Stream.ContentType, body, len(body)))
	r := perform(t, s.adapter(t, srv, Setup{}), s.Stream.Call)
	wantKind(t, "I10: an event of 3 MiB", r.err, llm.KindTransient)
	if len(r.forwarded) > len(good) {
		t.Errorf("I10: %d bytes were forwarded, want no more than the %d before the event", len(r.forwarded), len(good))
	}
}
