package openai

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/llm"
)

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answers returns a transport that reads the request and answers with body.
func answers(contentType string, body io.Reader) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return &http.Response{
			StatusCode: 200, ProtoMajor: 1, ContentLength: -1, TransferEncoding: []string{"chunked"},
			Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(body),
		}, nil
	}
}

func client(tb testing.TB, o Options) *Client {
	tb.Helper()
	o.BaseURL = "http://provider.test/v1"
	c, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// cuts reads as an adversary network delivers: piece after piece.
type cuts struct {
	rest  []byte
	sizes []byte // of the pieces, over and over; none means all at once
	n     int
}

func (c *cuts) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	size := len(c.rest)
	if len(c.sizes) > 0 {
		size = 1 + int(c.sizes[c.n%len(c.sizes)])
		c.n++
	}
	n := copy(p[:min(size, len(p))], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// passage is all that one reading of a stream yields.
type passage struct {
	Forwarded string
	Usage     llm.Usage
	Counted   int64
	End       string
}

func read(t *testing.T, wire, sizes []byte, wantUsage bool) passage {
	t.Helper()
	c := client(t, Options{Transport: answers("text/event-stream", &cuts{rest: wire, sizes: sizes})})
	a, err := c.Do(t.Context(), &llm.Call{Stream: true, WantUsage: wantUsage, Body: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var p passage
	for {
		piece, err := a.Body.Next()
		if err != nil {
			p.Usage, p.Counted, p.End = a.Body.Usage(), a.Body.Counted(), err.Error()
			return p
		}
		if !blankEnd(piece) {
			t.Fatalf("I3: a piece does not end with a blank line: %q", piece)
		}
		p.Forwarded += string(piece)
	}
}

func blankEnd(piece []byte) bool {
	lines := strings.SplitAfter(string(piece), "\n")
	if len(lines) < 2 || lines[len(lines)-1] != "" {
		return false
	}
	return strings.TrimRight(lines[len(lines)-2], "\r\n") == "" && !strings.HasPrefix(lines[len(lines)-2], "\r\r")
}

const (
	textEvent  = `data: {"choices":[{"index":0,"delta":{"content":"abc"}}]}` + "\n\n"
	usageEvent = `data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}` + "\n\n"
	doneEvent  = "data: [DONE]\n\n"
)

var tenFourThree = llm.Usage{Input: 6, CacheRead: 4, Output: 3}

func TestI2Dialects(t *testing.T) {
	const eof = "EOF"
	for _, c := range []struct {
		name, wire string
		want       passage
	}{
		{"usual", textEvent + usageEvent + doneEvent, passage{textEvent + doneEvent, tenFourThree, 3, eof}},
		{"behind the end mark", textEvent + doneEvent + textEvent, passage{textEvent + doneEvent, llm.Usage{}, 3, eof}},
		{"spaced JSON", `data: {"choices" : [ ], "usage" : {"prompt_tokens" : 10, "completion_tokens" : 3, "prompt_tokens_details": {"cached_tokens": 4}}}` + "\n\n" + doneEvent, passage{doneEvent, tenFourThree, 0, eof}},
		{"usage beside a choice", strings.Replace(usageEvent, `[]`, `[{"delta":{"content":"x"}}]`, 1) + doneEvent, passage{strings.Replace(usageEvent, `[]`, `[{"delta":{"content":"x"}}]`, 1) + doneEvent, tenFourThree, 1, eof}},
		{"no choices, no usage", `data: {"choices":[],"prompt_filter_results":[]}` + "\n\n" + doneEvent, passage{`data: {"choices":[],"prompt_filter_results":[]}` + "\n\n" + doneEvent, llm.Usage{}, 0, eof}},
		{"usage in the text", `data: {"choices":[{"text":"\"usage\":{\"prompt_tokens\":5}"}],"usage":null}` + "\n\n" + doneEvent, passage{`data: {"choices":[{"text":"\"usage\":{\"prompt_tokens\":5}"}],"usage":null}` + "\n\n" + doneEvent, llm.Usage{}, 31, eof}},
		{"several data lines", "data: {\"choices\":[{\"text\":\ndata: \"abcd\"}]}\n\n" + doneEvent, passage{"data: {\"choices\":[{\"text\":\ndata: \"abcd\"}]}\n\n" + doneEvent, llm.Usage{}, 4, eof}},
		{"end mark without a blank line", textEvent + "data: [DONE]", passage{textEvent + doneEvent, llm.Usage{}, 3, eof}},
		{"comments only", ": ping\n\n\n" + doneEvent, passage{": ping\n\n\n" + doneEvent, llm.Usage{}, 0, eof}},
		{"never ends", textEvent, passage{textEvent, llm.Usage{}, 3, "transient: the stream broke off: it ended without [DONE]"}},
		{"error frame", textEvent + "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n" + doneEvent, passage{textEvent + "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n", llm.Usage{}, 3, "transient (status 200): boom"}},
		{"error frame first", ": hm\n\ndata: {\"error\":{\"message\":\"boom\"}}\n\n" + textEvent + doneEvent, passage{"", llm.Usage{}, 0, "transient (status 200): boom"}},
		{"error frame behind a hidden chunk", usageEvent + "data: {\"error\":{\"message\":\"boom\"}}\n\n", passage{"", tenFourThree, 0, "transient (status 200): boom"}},
		{"comments wait for data", ": hm\n\n: hm\n\n" + textEvent + ": hm\n\n" + doneEvent, passage{": hm\n\n: hm\n\n" + textEvent + ": hm\n\n" + doneEvent, llm.Usage{}, 3, eof}},
		{"comments, a hidden chunk, a bare end mark", ": hm\n\n" + usageEvent + ": hm\n\ndata: [DONE]", passage{": hm\n\n: hm\n\n" + doneEvent, tenFourThree, 0, eof}},
		{"comments and no more", ": hm\n\n", passage{"", llm.Usage{}, 0, "transient: the stream broke off: it ended without [DONE]"}},
		{"error that is empty", "data: {\"error\":\"\",\"choices\":[]}\n\n" + doneEvent, passage{"data: {\"error\":\"\",\"choices\":[]}\n\n" + doneEvent, llm.Usage{}, 0, eof}},
		{"error that is null", "data: {\"error\":null,\"choices\":[]}\n\n" + doneEvent, passage{"data: {\"error\":null,\"choices\":[]}\n\n" + doneEvent, llm.Usage{}, 0, eof}},
	} {
		for _, sizes := range [][]byte{nil, {0}, {1}, {40, 2}} {
			if diff := cmp.Diff(c.want, read(t, []byte(c.wire), sizes, false)); diff != "" {
				t.Errorf("I2: %s, cut by %v (-want +got):\n%s", c.name, sizes, diff)
			}
		}
	}
	if got := read(t, []byte(textEvent+usageEvent+doneEvent), nil, true); got.Forwarded != textEvent+usageEvent+doneEvent {
		t.Errorf("I2: the client asked for usage and gets %q", got.Forwarded)
	}
}

func TestI2ErrorFrameKinds(t *testing.T) {
	for frame, want := range map[string]llm.ErrorKind{
		`{"error":{"message":"x"}}`:                                       llm.KindTransient,
		`{"error":"out of memory"}`:                                       llm.KindTransient,
		`{"error":{"message":"x","code":"rate_limit_exceeded"}}`:          llm.KindThrottle,
		`{"error":{"message":"x","type":"BadRequestError","code":400}}`:   llm.KindInvalid,
		`{"error":{"message":"x","code":503}}`:                            llm.KindOverload,
		`{"object":"error","message":"x","type":"server_error"}`:          llm.KindTransient,
		`{"error":{"message":"x","code":"insufficient_quota","x":[1,2]}}`: llm.KindExhausted,
	} {
		c := client(t, Options{Transport: answers("text/event-stream", strings.NewReader(textEvent+"data: "+frame+"\n\n"))})
		a, err := c.Do(t.Context(), &llm.Call{Stream: true, Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		piece, err := a.Body.Next()
		if err != nil || !bytes.Contains(piece, []byte(frame)) {
			t.Errorf("%s: the frame was not forwarded: %q, %v", frame, piece, err)
		}
		_, err = a.Body.Next()
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != want || string(e.Body) != frame {
			t.Errorf("%s: %v, want kind %v with the frame as its body", frame, err, want)
		}
		a.Body.Close()
	}
}

func FuzzStreamCutting(f *testing.F) {
	f.Add([]byte(textEvent+usageEvent+doneEvent), []byte{0})
	f.Add([]byte(": c\r\n\r\n\n"+textEvent+"data: {\"error\":{}}\n\n"), []byte{3, 1})
	f.Add([]byte("data: {\"choices\":[{\"text\":\ndata: \"a\"}]}\r\n\ndata:[DONE]\n"), []byte{0, 7})
	f.Fuzz(func(t *testing.T, wire, sizes []byte) {
		for _, wantUsage := range []bool{false, true} {
			atOnce := read(t, wire, nil, wantUsage)
			if diff := cmp.Diff(atOnce, read(t, wire, sizes, wantUsage)); diff != "" {
				t.Fatalf("I2: the cuts %v change what comes of %q (-whole +cut):\n%s", sizes, wire, diff)
			}
			if wantUsage && !strings.HasPrefix(string(wire)+"\n\n", atOnce.Forwarded) && !strings.HasSuffix(atOnce.Forwarded, "[DONE]\n\n") {
				t.Fatalf("I3: %q was forwarded of %q", atOnce.Forwarded, wire)
			}
		}
	})
}

// TestI9SlowClientIsNotSilence: the provider answers at once each time it is
// read, and the client takes an hour over every piece.
func TestI9SlowClientIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := strings.Repeat(textEvent, 3) + doneEvent
		c := client(t, Options{ReadTimeout: time.Minute, Transport: answers("text/event-stream", &cuts{rest: []byte(wire), sizes: []byte{byte(len(textEvent) - 1)}})})
		a, err := c.Do(t.Context(), &llm.Call{Stream: true, Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		for {
			_, err := a.Body.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil || context.Cause(a.Body.(*stream).source.ctx) != nil {
				t.Fatalf("I9: the client's slowness was blamed on the provider: %v, context %v", err, context.Cause(a.Body.(*stream).source.ctx))
			}
			<-time.After(time.Hour)
		}
	})
}

// silent is a body that says nothing until its request ends.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }
func (s silent) Close() error             { return nil }

func TestI9SilenceEndsOnTime(t *testing.T) {
	hang := roundTrip(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("X-Hang") == "header" {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {r.Header.Get("X-Type")}}, Body: silent{r.Context()}}, nil
	})
	for _, c := range []struct {
		name   string
		header http.Header
		want   time.Duration
	}{
		{"before the header", http.Header{"X-Hang": {"header"}}, 5 * time.Second},
		{"in a stream", http.Header{"X-Type": {"text/event-stream"}}, 60 * time.Second},
		{"in a whole answer", http.Header{"X-Type": {"application/json"}}, 60 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			cl := client(t, Options{Transport: hang, FirstByteTimeout: 5 * time.Second, ReadTimeout: time.Minute})
			start := time.Now()
			a, err := cl.Do(t.Context(), &llm.Call{Header: c.header, Body: []byte(`{}`)})
			if err == nil {
				_, err = a.Body.Next()
				defer a.Body.Close()
			}
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.Kind != llm.KindTimeout || time.Since(start) != c.want {
				t.Errorf("I9: silence %s ended with %v after %v, want a timeout after %v", c.name, err, time.Since(start), c.want)
			}
		})
	}
}

// TestErrorUnderStatus200: some providers tell of a failure in a whole answer
// that calls itself a success. It is one only if nothing was generated.
func TestErrorUnderStatus200(t *testing.T) {
	for body, want := range map[string]llm.ErrorKind{
		`{"error":{"message":"busy","code":503}}`:                                            llm.KindOverload,
		`{"error":{"message":"x","code":400},"choices":[]}`:                                  llm.KindInvalid,
		`{"choices":[{"message":{"content":"half"}}],"error":{"message":"ran out of time"}}`: llm.KindNone,
		`{"choices":[],"error":null}`:                                                        llm.KindNone,
	} {
		c := client(t, Options{Transport: answers("application/json", strings.NewReader(body))})
		a, err := c.Do(t.Context(), &llm.Call{Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		piece, err := a.Body.Next()
		e, failed := errors.AsType[*llm.Error](err)
		if failed != (want != llm.KindNone) || failed && (e.Kind != want || string(e.Body) != body || piece != nil) || !failed && string(piece) != body {
			t.Errorf("%s: %q, %v; want kind %v", body, piece, err, want)
		}
		a.Body.Close()
	}
}
