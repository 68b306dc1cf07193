package providertest

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/millrace/millrace/internal/llm"
)

// cut plays the first n bytes of a stream, and then ends the answer as if that
// were all, or breaks the connection.
func cut(x Exchange, n int, breaks bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", x.ContentType)
		_, _ = w.Write(x.Answer[:n])
		if breaks {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
}

func (s suite) streamCutAnywhere(t *testing.T) {
	srv := newServer(t, nil)
	p := s.adapter(t, srv, Setup{})
	for n := range len(s.Stream.Answer) {
		for _, breaks := range []bool{false, true} {
			play := cut(s.Stream, n, breaks)
			srv.play.Store(&play)
			r := perform(t, p, s.Stream.Call)
			s.judgeCut(t, fmt.Sprintf("cut after %d bytes, connection broken %v", n, breaks), n, r)
			if t.Failed() {
				return
			}
		}
	}
}

// judgeCut checks a stream of which only n bytes came.
func (s suite) judgeCut(t *testing.T, where string, n int, r result) {
	t.Helper()
	x := s.Stream
	if r.err == nil {
		if n < len(x.Answer)-s.Slack {
			t.Errorf("I4: %s: the call is a success though the stream did not end", where)
		}
		return
	}
	if kind := fault(t, r.err).Kind; kind != llm.KindTransient {
		t.Errorf("I4: %s: kind %v, want transient: %v", where, kind, r.err)
	}
	if !sent(t, r.err) {
		t.Errorf("I7: %s: the error says that the request was never sent", where)
	}
	if !bytes.HasPrefix(x.forwarded(), r.forwarded) {
		t.Errorf("I3: %s: bytes were forwarded that are not in the stream: %q", where, r.forwarded)
	}
	hidden := len(x.Answer) - len(x.forwarded())
	if len(r.forwarded) < s.Complete(x.Answer[:n])-hidden {
		t.Errorf("I3: %s: whole events were held back; forwarded only %q", where, r.forwarded)
	}
	s.onlyWholeEvents(t, r)
}

func (s suite) wholeAnswerCutAnywhere(t *testing.T) {
	srv := newServer(t, nil)
	p := s.adapter(t, srv, Setup{})
	x := s.Whole
	for n := range len(x.Answer) {
		for name, play := range cutWhole(x, n) {
			srv.play.Store(&play)
			r := perform(t, p, x.Call)
			if r.err == nil || len(r.forwarded) > 0 {
				t.Fatalf("I4: %s: cut after %d of %d bytes, the call succeeded and forwarded %q", name, n, len(x.Answer), r.forwarded)
			}
			wantKind(t, fmt.Sprintf("I4: %s: cut after %d bytes", name, n), r.err, llm.KindTransient)
		}
	}
}

// cutWhole returns the ways in which a whole answer breaks off: short of the
// length declared, in the middle of chunks, and on a connection whose closing
// is all there is to tell the end.
func cutWhole(x Exchange, n int) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"declared length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", x.ContentType)
			w.Header().Set("Content-Length", strconv.Itoa(len(x.Answer)))
			_, _ = w.Write(x.Answer[:n])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"chunks": cut(x, n, true),
		"closing connection": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n%s", x.ContentType, x.Answer[:n])
		},
	}
}
