package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

func TestChatJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := build(t, 4, echo)
		client := w.serve(t)
		resp := post(t, client, "/v1/chat/completions", chatBody)
		if got := readAll(t, resp); got != answerText || resp.StatusCode != 200 {
			t.Errorf("%d %q", resp.StatusCode, got)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json", "X-Request-Id": "up-1", "Millrace-Upstream": "main",
			"Millrace-Attempts": "1", "Millrace-Class": "chat", "Millrace-Queue-Wait-Ms": "0", "Set-Cookie": "", "Openai-Organization": "",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

func TestChatStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := build(t, 4, func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
			return streamAnswer(ctx, time.Second, "data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"), nil
		})
		client := w.serve(t)
		start := time.Now()
		resp := post(t, client, "/v1/chat/completions", streamBody)
		if since := time.Since(start); since != time.Second {
			t.Errorf("header after %v", since)
		}
		if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
			t.Errorf("Content-Type %q", got)
		}
		if got := readAll(t, resp); got != "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n" {
			t.Errorf("%q", got)
		}
	})
}

// A stream waits in the queue: nothing for 5 s, then comments, then its answer.
// Where nobody knows how long the wait is, nobody says so.
func TestQueuedWithoutATime(t *testing.T) {
	s := admission.Status{Position: 2, Unknown: true, Reason: flow.ReasonPaused}
	if got, want := string(appendComment(nil, s)), ": queued position=2 reason=paused\n\n"; got != want {
		t.Errorf("comment %q, want %q", got, want)
	}
	h := http.Header{}
	new(values).tell(h, &dispatch.Meta{Entry: s}, flow.Chat)
	if h[hPosition] == nil || h[hETA] != nil {
		t.Errorf("headers %v", h)
	}
}

func TestQueuedStreamIsHeldWithComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := build(t, 1, func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
			if !c.Stream { // the one before: it takes the seat for 40 s
				<-time.After(40 * time.Second)
			}
			return echo(ctx, c)
		})
		client := w.serve(t)
		first := make(chan int)
		go func() {
			resp := post(t, client, "/v1/chat/completions", chatBody)
			readAll(t, resp)
			first <- resp.StatusCode
		}()
		synctest.Wait()
		start := time.Now()
		resp := post(t, client, "/v1/chat/completions", streamBody)
		if since := time.Since(start); since != 5*time.Second {
			t.Errorf("header after %v, want 5s", since)
		}
		got := readAll(t, resp)
		if since := time.Since(start); since != 40*time.Second {
			t.Errorf("answered after %v", since)
		}
		if n := strings.Count(got, ": queued position=1 eta="); n != 4 {
			t.Errorf("%d comments, want 4 (at 5, 15, 25, 35 s): %q", n, got)
		}
		if !strings.HasSuffix(got, "data: {\"a\":1}\n\ndata: [DONE]\n\n") {
			t.Errorf("%q", got)
		}
		if resp.Header.Get("Millrace-Queue-Position") != "1" || resp.Header.Get("Millrace-Queue-Reason") == "" {
			t.Errorf("headers %v", resp.Header)
		}
		if status := <-first; status != http.StatusOK {
			t.Errorf("first: %d", status)
		}
		if got := w.records.outcomes(); len(got) != 2 || got[0] != flow.OutcomeServed || got[1] != flow.OutcomeServed {
			t.Errorf("outcomes %v", got)
		}
	})
}
