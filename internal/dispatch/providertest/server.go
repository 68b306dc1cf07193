package providertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// patience is when a call counts as hung.
const patience = 10 * time.Second

// canary is the key of every call; it must never be seen outside the request.
const canary = "sk-canary-2f9c1e7ab34d58806"

// server is the provider that the suite plays.
type server struct {
	*httptest.Server
	play  atomic.Pointer[http.HandlerFunc]
	conns atomic.Int64
}

func newServer(t *testing.T, play http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.play.Store(&play)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A server notices that its client has gone only once the body is read.
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		(*s.play.Load())(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// adapter returns the adapter under test, pointed at the server.
func (s suite) adapter(t *testing.T, srv *server, setup Setup) Provider {
	t.Helper()
	setup.BaseURL, setup.Key = srv.URL, canary
	return s.New(t, setup)
}

// plain plays an answer with its length declared.
func plain(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}
}

// chunked plays an answer without a declared length, in pieces of step bytes.
func chunked(contentType string, body []byte, step int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for piece := range slices.Chunk(body, step) {
			_, _ = w.Write(piece)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// hangs plays the first bytes of an answer, says how the client's leaving was
// seen, and waits for it. No bytes: not even the header is sent.
func hangs(contentType string, body []byte, gone chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if len(body) > 0 {
			chunked(contentType, body, len(body))(w, r)
		}
		select {
		case <-r.Context().Done():
			close(gone)
		case <-time.After(patience):
		}
	}
}

// result is how a call went.
type result struct {
	answer    *llm.Answer
	forwarded []byte
	pieces    [][]byte
	usage     llm.Usage
	counted   int64
	err       error // nil after a regular end
}

// perform makes a call and reads its answer to the end.
func perform(t *testing.T, p Provider, call llm.Call) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := p.Do(ctx, &call)
	if err != nil {
		return judged(t, ctx, result{err: err})
	}
	return judged(t, ctx, finish(a))
}

// finish reads an answer to its end and closes it.
func finish(a *llm.Answer) result {
	r := result{answer: a}
	for r.err == nil {
		var piece []byte
		if piece, r.err = a.Body.Next(); r.err == nil {
			r.pieces = append(r.pieces, append([]byte(nil), piece...))
			r.forwarded = append(r.forwarded, piece...)
		}
	}
	r.usage, r.counted = a.Body.Usage(), a.Body.Counted()
	if errors.Is(r.err, io.EOF) && !isFault(r.err) {
		r.err = nil
	}
	_ = a.Body.Close()
	return r
}

// judged checks what holds for every call: it ends in time, and its error is
// an *llm.Error that knows whether the request was sent.
func judged(t *testing.T, ctx context.Context, r result) result {
	t.Helper()
	if ctx.Err() != nil {
		t.Fatalf("I4: the call hung: it was still running after %v", patience)
	}
	if r.err != nil {
		fault(t, r.err)
		sent(t, r.err)
	}
	return r
}

func isFault(err error) bool {
	_, ok := errors.AsType[*llm.Error](err)
	return ok
}

// fault returns the *llm.Error of a failed call.
func fault(t *testing.T, err error) *llm.Error {
	t.Helper()
	e, ok := errors.AsType[*llm.Error](err)
	if !ok {
		t.Fatalf("I5: the call failed with %T (%v): every error must be an *llm.Error, so that dispatch knows its kind", err, err)
	}
	return e
}

// sent returns what an error says about the request.
func sent(t *testing.T, err error) bool {
	t.Helper()
	s, ok := errors.AsType[interface {
		error
		Sent() bool
	}](err)
	if !ok {
		t.Fatalf("I7: the error does not say whether the request was sent: a cause of %q must have the method Sent() bool", err)
	}
	return s.Sent()
}

// wantKind checks how a call failed.
func wantKind(t *testing.T, rule string, err error, want llm.ErrorKind) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: the call succeeded, want an error of kind %v", rule, want)
	}
	if got := fault(t, err).Kind; got != want {
		t.Errorf("%s: the error is of kind %v, want %v: %v", rule, got, want, err)
	}
}
