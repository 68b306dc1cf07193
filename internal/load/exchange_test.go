package load

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// farewell answers when its client leaves.
type farewell struct{ stream bool }

// RoundTrip implements http.RoundTripper.
func (f farewell) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	header, body := http.Header{"Millrace-Queue-Wait-Ms": {"5"}}, ""
	if f.stream {
		header.Set("Content-Type", "text/event-stream")
		body = "data: [DONE]\n\n"
	}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// TestI3FarewellIsNoAnswer: an answer that crosses our leaving is none.
func TestI3FarewellIsNoAnswer(t *testing.T) {
	for _, stream := range []float64{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			_, o := start(t, answer)
			o.Transport, o.StreamShare, o.Think, o.Duration = farewell{stream > 0}, stream, time.Second, time.Minute
			o.Mischief.Cancel = 1
			report, err := Run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if r := report.Targets[0]; r.Answered != 0 || r.Errors != 0 || r.Canceled < 20 || r.Wait.Count != 0 {
				t.Errorf("%d answered, %d errors, %d canceled, %d waits", r.Answered, r.Errors, r.Canceled, r.Wait.Count)
			}
		})
	}
}

// TestBaseWithoutPath: whatever a base URL ends in, what is asked is a path.
func TestBaseWithoutPath(t *testing.T) {
	for base, want := range map[string]string{
		"http://x": "/chat/completions", "http://x/": "/chat/completions", "http://x/v1": "/v1/chat/completions", "http://x/a/v1/": "/a/v1/chat/completions",
	} {
		o := Options{Model: "m", Tokens: 1, Mix: []Part{{Path: chatCompletions}, {Path: "/chat"}}}
		c, err := newComposer(&o, Target{URL: base}, lorem(10))
		if err != nil {
			t.Fatal(err)
		}
		beside := strings.TrimSuffix(strings.TrimSuffix(want, "/chat/completions"), "/v1") + "/chat"
		if got := c.routes[0].url.Path; got != want || c.routes[1].url.Path != beside {
			t.Errorf("%s: %s and %s, want %s and %s", base, got, c.routes[1].url.Path, want, beside)
		}
	}
}
