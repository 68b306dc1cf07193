package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

func TestOptionsFaultsAreToldTogether(t *testing.T) {
	const password = "hunter2hunter2"
	for _, base := range []string{"", "api.openai.com/v1", "ftp://x/v1", "http://u:" + password + "@x/v1", "http://x/v1#f", "http://[" + password} {
		_, err := New(Options{BaseURL: base, Key: Secret("secret-key\n"), ReadTimeout: -1, MaxAnswer: -1})
		if err == nil {
			t.Fatalf("%q was accepted", base)
		}
		for _, want := range []string{"base URL:", "key:", "read timeout:", "max answer:"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: the error leaves out %q: %v", base, want, err)
			}
		}
		if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "secret-key") {
			t.Errorf("I5: a secret is in the error: %v", err)
		}
	}
}

func TestEndpointIsBaseAndPath(t *testing.T) {
	for base, want := range map[string]string{
		"https://api.openai.com/v1": "https://api.openai.com/v1/chat/completions",
		"http://h:1/v1/":            "http://h:1/v1/chat/completions",
		"http://h":                  "http://h/chat/completions",
		"https://h/openai/deployments/d?api-version=1": "https://h/openai/deployments/d/chat/completions?api-version=1",
	} {
		c, err := New(Options{BaseURL: base})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.urls[llm.OpChat].String(); got != want {
			t.Errorf("%s: calls go to %s, want %s", base, got, want)
		}
	}
}

func TestI5SecretPrintsAsStars(t *testing.T) {
	const raw = "sk-very-secret-value"
	c := client(t, Options{Key: raw})
	o := Options{Key: raw}
	asJSON, err := json.Marshal(map[string]any{"k": o.Key, "o": struct{ K Secret }{raw}})
	if err != nil {
		t.Fatal(err)
	}
	printed := string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%T"} {
		for _, v := range []any{o.Key, o, &o, c, []Secret{raw}, []any{c}} {
			printed += fmt.Sprintf(verb, v)
		}
	}
	printed += fmt.Sprint(o.Key.String(), o.Key.GoString(), o.Key.LogValue(), c.String())
	if strings.Contains(printed, raw) || strings.Contains(printed, fmt.Sprintf("%x", raw)) || strings.Contains(strings.ToLower(printed), "736b2d") {
		t.Errorf("I5: the key is visible in %s", printed)
	}
	if !strings.Contains(printed, "***") || Secret("").String() != "" {
		t.Errorf("a key must show as ***, none as nothing: %s", printed)
	}
}

func TestI5TransportErrorIsMasked(t *testing.T) {
	const raw = "sk-very-secret-value"
	c := client(t, Options{Key: raw, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("odd transport: %s", r.Header.Get("Authorization"))
	})})
	_, err := c.Do(t.Context(), &llm.Call{Body: []byte(`{}`)})
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%+v", e), raw) {
			t.Errorf("I5: the key is in the chain: %v", e)
		}
	}
}

func TestI5ErrorFrameIsMasked(t *testing.T) {
	const raw = "sk-very-secret-value"
	wire := textEvent + `data: {"error":{"message":"no such key ` + raw + `"}}` + "\n\n"
	c := client(t, Options{Key: raw, Transport: answers("text/event-stream", strings.NewReader(wire))})
	a, err := c.Do(t.Context(), &llm.Call{Stream: true, Body: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	piece, err := a.Body.Next()
	if err != nil || strings.Contains(string(piece), raw) || len(piece) != len(wire) {
		t.Errorf("I5: the key reaches the client, or the frame does not: %q, %v", piece, err)
	}
	if _, err = a.Body.Next(); strings.Contains(fmt.Sprintf("%s %s", err, func() *llm.Error {
		target := &llm.Error{}
		_ = errors.As(err, &target)
		return target
	}().Body), raw) {
		t.Errorf("I5: the key is in the error: %v", err)
	}
}

func wasSent(t *testing.T, err error) bool {
	t.Helper()
	var s interface{ Sent() bool }
	if !errors.As(err, &s) {
		t.Fatalf("I6: %v does not say whether the request was sent", err)
	}
	return s.Sent()
}

func TestI6SentIsKnown(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name string
		body string
		trip roundTrip
		want bool
	}{
		{"dial failed", `{}`, func(*http.Request) (*http.Response, error) { return nil, boom }, false},
		{"broke after the first byte", `{}`, func(r *http.Request) (*http.Response, error) {
			_, _ = r.Body.Read(make([]byte, 1))
			return nil, boom
		}, true},
		{"broke in the repetition", `{}`, func(r *http.Request) (*http.Response, error) {
			again, err := r.GetBody()
			if err == nil {
				_, err = io.ReadAll(again)
			}
			return nil, errors.Join(boom, err)
		}, true},
		{"an empty body leaves no trace", ``, func(*http.Request) (*http.Response, error) { return nil, boom }, true},
		{"refused before the body was read", `{}`, func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 429, Body: http.NoBody}, nil
		}, true},
	} {
		_, err := client(t, Options{Transport: c.trip}).Do(t.Context(), &llm.Call{Body: []byte(c.body)})
		if got := wasSent(t, err); got != c.want {
			t.Errorf("I6: %s: Sent() is %v, want %v", c.name, got, c.want)
		}
	}
	_, err := client(t, Options{}).Do(t.Context(), &llm.Call{Operation: 99})
	if wasSent(t, err) {
		t.Error("I6: an operation that is not spoken was never sent")
	}
}

// TestI7NobodyReadsTheBodyAfterwards plays a transport that goes on sending
// after the call has ended, as net/http may.
func TestI7NobodyReadsTheBodyAfterwards(t *testing.T) {
	var still, repeated io.Reader
	fail := true
	c := client(t, Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		still = r.Body
		repeated, _ = r.GetBody()
		if fail {
			return nil, errors.New("boom")
		}
		return answers("application/json", strings.NewReader("{}"))(&http.Request{Body: http.NoBody})
	})})
	unread := func(when string) {
		for _, r := range []io.Reader{still, repeated} {
			if n, err := r.Read(make([]byte, 8)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("I7: %s the request body can still be read: %d bytes, %v", when, n, err)
			}
		}
	}
	call := &llm.Call{Body: []byte(`{"model":"m"}`)}
	if _, err := c.Do(t.Context(), call); err == nil {
		t.Fatal("want an error")
	}
	unread("after Do failed")
	fail = false
	a, err := c.Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	unread("after Close")
}

// TestI7NothingRemains ends calls in several ways inside a bubble, which does
// not end before every goroutine and timer of the calls has.
func TestI7NothingRemains(t *testing.T) {
	for _, wire := range []string{textEvent + doneEvent, textEvent, "data: x"} {
		synctest.Test(t, func(t *testing.T) {
			parent, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := client(t, Options{FirstByteTimeout: time.Hour, Transport: answers("text/event-stream", strings.NewReader(wire))})
			a, err := c.Do(parent, &llm.Call{Stream: true, Body: []byte(`{}`)})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = a.Body.Next()
			a.Body.Close()
			s := a.Body.(*stream).source
			if s.timer.Stop() || s.ctx.Err() == nil {
				t.Error("I7: after Close a timer or a context of the call is still there")
			}
		})
	}
}

func TestI8ErrorBodyIsBounded(t *testing.T) {
	c := client(t, Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 500, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20)))}, nil
	})})
	_, err := c.Do(t.Context(), &llm.Call{Body: []byte(`{}`)})
	if e, ok := errors.AsType[*llm.Error](err); !ok || len(e.Body) != maxErrorBody {
		t.Errorf("I8: an error body of 1 MiB was kept as %d bytes, want %d", len(e.Body), maxErrorBody)
	}
}

func TestI8EventIsBounded(t *testing.T) {
	long := "data: " + strings.Repeat("x", maxEvent) + "\n\n"
	for _, sizes := range [][]byte{nil, {255}} {
		p := read(t, []byte(textEvent+long+doneEvent), sizes, false)
		if p.Forwarded != textEvent || !strings.Contains(p.End, "longer than") {
			t.Errorf("I8: an event over the bound: %d bytes were forwarded, end %q", len(p.Forwarded), p.End)
		}
	}
}

func TestDeadlineOfTheCallerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := client(t, Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		_, err := c.Do(ctx, &llm.Call{Body: []byte(`{}`)})
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.KindTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call past its caller's deadline ends with %v, want a timeout that wraps context.DeadlineExceeded", err)
		}
	})
}

func TestCompressedAnswerIsRefused(t *testing.T) {
	c := client(t, Options{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Encoding": {"gzip"}}, Body: http.NoBody}, nil
	})})
	_, err := c.Do(t.Context(), &llm.Call{Body: []byte(`{}`)})
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.KindTransient {
		t.Errorf("a compressed answer, which cannot be metered, gave %v", err)
	}
}

func TestEmbeddingUsage(t *testing.T) {
	vector := strings.Repeat("0.123,", 20000) + "1"
	for name, body := range map[string]string{
		"last":  `{"data":[{"embedding":[` + vector + `]}],"usage":{"prompt_tokens":8,"total_tokens":8}}`,
		"first": `{"usage": {"prompt_tokens":8,"total_tokens":8},"data":[{"embedding":[` + vector + `]}]}`,
	} {
		c := client(t, Options{Transport: answers("application/json", strings.NewReader(body))})
		a, err := c.Do(t.Context(), &llm.Call{Operation: llm.OpEmbedding, Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		piece, err := a.Body.Next()
		if err != nil || string(piece) != body || a.Body.Usage() != (llm.Usage{Input: 8}) {
			t.Errorf("%s: %d of %d bytes, usage %+v, %v", name, len(piece), len(body), a.Body.Usage(), err)
		}
		a.Body.Close()
	}
}

func TestDialTimeoutIsATimeout(t *testing.T) {
	c := client(t, Options{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	})})
	_, err := c.Do(t.Context(), &llm.Call{Body: []byte(`{}`)})
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.KindTimeout || wasSent(t, err) {
		t.Errorf("a dial that timed out gave %v", err)
	}
}

func TestOwnTransportUsesNoProxyUnlessTold(t *testing.T) {
	if c := client(t, Options{}); c.owned.Proxy != nil || !c.owned.DisableCompression || c.owned.ForceAttemptHTTP2 {
		t.Errorf("our own transport is set up wrong: %+v", c.owned)
	}
	if c := client(t, Options{EnvironmentProxy: true}); c.owned.Proxy == nil {
		t.Error("EnvironmentProxy is ignored")
	}
}
