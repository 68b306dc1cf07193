package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// refuses plays an error answer.
func refuses(status int, header http.Header, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for name, values := range header {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}
}

// usualKind is the kind of a status whose body adds nothing.
func usualKind(status int) llm.ErrorKind {
	switch status {
	case 401, 403:
		return llm.KindAuth
	case 402:
		return llm.KindExhausted
	case 408, 504, 524:
		return llm.KindTimeout
	case 413:
		return llm.KindTooLarge
	case 424, 425, 499:
		return llm.KindTransient
	case 429:
		return llm.KindThrottle
	case 503, 529:
		return llm.KindOverload
	}
	if status >= 500 {
		return llm.KindTransient
	}
	return llm.KindInvalid
}

func (s suite) everyStatusHasAKind(t *testing.T) {
	srv := newServer(t, nil)
	p := s.adapter(t, srv, Setup{})
	for status := 400; status <= 599; status++ {
		play := refuses(status, nil, []byte(`{}`))
		srv.play.Store(&play)
		r := perform(t, p, s.Stream.Call)
		want, special := s.Kinds[status]
		if !special {
			want = usualKind(status)
		}
		wantKind(t, fmt.Sprintf("I5: status %d", status), r.err, want)
		e := fault(t, r.err)
		if e.Status != status || e.Header == nil || string(e.Body) != `{}` {
			t.Errorf("I5: status %d: the error does not carry the provider's answer: Status %d, Header %v, Body %q", status, e.Status, e.Header, e.Body)
		}
		if !sent(t, r.err) {
			t.Errorf("I7: status %d: the provider answered, yet the error says that the request was not sent", status)
		}
	}
}

func (s suite) retryAfter(t *testing.T) {
	date := time.Now().Add(60 * time.Second).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		name     string
		header   http.Header
		min, max time.Duration
	}{
		{"none", nil, 0, 0},
		{"seconds", http.Header{"Retry-After": {"7"}}, 7 * time.Second, 7 * time.Second},
		{"fraction", http.Header{"Retry-After": {"0.5"}}, 500 * time.Millisecond, 500 * time.Millisecond},
		{"milliseconds", http.Header{"Retry-After-Ms": {"1500"}}, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{"milliseconds win", http.Header{"Retry-After": {"7"}, "Retry-After-Ms": {"1500"}}, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{"date", http.Header{"Retry-After": {date}}, 45 * time.Second, 60 * time.Second},
		{"past date", http.Header{"Retry-After": {"Mon, 02 Jan 2006 15:04:05 GMT"}}, 0, 0},
		{"negative", http.Header{"Retry-After": {"-5"}}, 0, 0},
		{"garbage", http.Header{"Retry-After": {"soon"}}, 0, 0},
		{"absurd", http.Header{"Retry-After": {"1000000000000"}}, 0, time.Hour},
	} {
		srv := newServer(t, refuses(429, c.header, []byte(`{}`)))
		r := perform(t, s.adapter(t, srv, Setup{}), s.Whole.Call)
		wantKind(t, c.name, r.err, llm.KindThrottle)
		if got := fault(t, r.err).RetryAfter; got < c.min || got > c.max {
			t.Errorf("I5: Retry-After as %s (%v) was read as %v, want %v to %v", c.name, c.header, got, c.min, c.max)
		}
	}
}

func (s suite) refusals(t *testing.T) {
	for _, c := range s.Errors {
		srv := newServer(t, refuses(c.Status, c.Header, c.Body))
		r := perform(t, s.adapter(t, srv, Setup{}), s.Stream.Call)
		wantKind(t, "I5: "+c.Name, r.err, c.Kind)
		e := fault(t, r.err)
		if e.RetryAfter != c.RetryAfter {
			t.Errorf("I5: %s: RetryAfter is %v, want %v", c.Name, e.RetryAfter, c.RetryAfter)
		}
		if !bytes.Equal(e.Body, c.Body) {
			t.Errorf("I5: %s: the provider's body is lost: %q", c.Name, e.Body)
		}
	}
}

// earlyFailure: as long as nothing was handed over, another upstream can still
// be tried, so the error must not be handed over as if it were an answer.
func (s suite) earlyFailure(t *testing.T) {
	for i, wire := range s.Early {
		for _, size := range []int{1, len(wire)} {
			srv := newServer(t, chunked(s.Stream.ContentType, wire, size))
			r := perform(t, s.adapter(t, srv, Setup{}), s.Stream.Call)
			if fault(t, r.err); len(r.pieces) > 0 {
				t.Errorf("I5: early failure %d, %d bytes at a time: it was forwarded as an answer: %q", i, size, r.pieces)
			}
		}
	}
}

func (s suite) redirectsAreNotFollowed(t *testing.T) {
	elsewhere := newServer(t, plain(s.Whole.ContentType, s.Whole.Answer))
	srv := newServer(t, refuses(307, http.Header{"Location": {elsewhere.URL}}, nil))
	r := perform(t, s.adapter(t, srv, Setup{}), s.Whole.Call)
	if r.err == nil || elsewhere.conns.Load() > 0 {
		t.Errorf("I5: a redirect was followed: the key and the prompt went to a host that the operator did not name (error %v)", r.err)
	}
}

func (s suite) keyStaysSecret(t *testing.T) {
	var logged bytes.Buffer
	old, oldFlags, oldWriter := slog.Default(), log.Flags(), log.Writer()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer func() { slog.SetDefault(old); log.SetOutput(oldWriter); log.SetFlags(oldFlags) }()

	for name, play := range s.echoes() {
		srv := newServer(t, play)
		p := s.adapter(t, srv, Setup{})
		noSecret(t, "the adapter itself", p)
		r := perform(t, p, s.Stream.Call)
		if r.err == nil {
			t.Fatalf("I6: %s: the call succeeded, want an error to look at", name)
		}
		noSecret(t, name, r.err)
		noSecret(t, name, fault(t, r.err))
		noSecret(t, name, fault(t, r.err).Body, fault(t, r.err).Header)
	}
	if strings.Contains(logged.String(), canary) {
		t.Errorf("I6: the key is in the log:\n%s", logged.String())
	}
}

// echoes are providers that say what they were sent, in every place they can.
func (s suite) echoes() map[string]http.HandlerFunc {
	said := func(r *http.Request) []byte {
		return fmt.Appendf(nil, `{"error":{"message":"key %s refused, header %s","code":%q,"type":%q}}`,
			canary, r.Header.Get("Authorization"), canary, canary)
	}
	return map[string]http.HandlerFunc{
		"an error body that echoes the key": func(w http.ResponseWriter, r *http.Request) {
			refuses(401, http.Header{"X-Echo": {canary}}, said(r))(w, r)
		},
		"plain text that echoes the key": func(w http.ResponseWriter, r *http.Request) {
			refuses(500, nil, []byte("no such key: "+canary))(w, r)
		},
		"a malformed answer that echoes the key": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "%s is no HTTP\r\n\r\n", canary)
		},
	}
}

// noSecret prints values in every way that a careless caller might.
func noSecret(t *testing.T, where string, values ...any) {
	t.Helper()
	for _, v := range values {
		asJSON, _ := json.Marshal(v)
		forms := []string{string(asJSON)}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			forms = append(forms, fmt.Sprintf(verb, v))
		}
		var record bytes.Buffer
		slog.New(slog.NewJSONHandler(&record, nil)).Info("x", "v", v)
		forms = append(forms, record.String())
		if err, ok := v.(error); ok {
			for ; err != nil; err = errors.Unwrap(err) {
				forms = append(forms, fmt.Sprintf("%+v", err))
			}
		}
		for _, form := range forms {
			if strings.Contains(form, canary) || strings.Contains(form, fmt.Sprintf("%x", canary)) {
				t.Errorf("I6: %s: the key is visible: %s", where, form)
			}
		}
	}
}

func (s suite) refusedConnectionSentNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + l.Addr().String()
	_ = l.Close()
	r := perform(t, s.New(t, Setup{BaseURL: dead, Key: canary}), s.Whole.Call)
	wantKind(t, "I7: a refused connection", r.err, llm.KindTransient)
	if sent(t, r.err) {
		t.Error("I7: the connection was refused, yet the error says that the request may have been sent: the reservation is lost for nothing")
	}
	noSecret(t, "a refused connection", r.err)

	srv := newServer(t, plain(s.Whole.ContentType, s.Whole.Answer))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	call := s.Whole.Call
	_, err = s.adapter(t, srv, Setup{}).Do(ctx, &call)
	wantKind(t, "I7: a client that left before the call", err, llm.KindCanceled)
	if sent(t, err) {
		t.Error("I7: the client had left before anything was sent, yet the error says that the request may have been sent")
	}
}
