package app

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/breaker"
)

// cut takes the network away, or brings it back.
func (w *wires) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// TestI6ProbeAsksTheQuiet: an upstream that nobody uses is asked once in a while, as
// often as class health allows, and never if it has no rate.
func TestI6ProbeAsksTheQuiet(t *testing.T) {
	for _, c := range []struct {
		name        string
		environ     []string
		least, most int64
	}{
		{"once a minute", nil, 8, 10},
		{"no rate", []string{"OPENAI_BASE_URL=http://127.0.0.1:9/v1", "BEDROCK_MODEL_ID=m"}, 0, 0},
		{"twice an hour", []string{"HEALTH_TASK_RATE_LIMIT=2/h"}, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, c.environ...)
				<-time.After(10 * time.Minute)
				if n := b.tally.of("main").attempts; n < c.least || n > c.most {
					t.Errorf("%d questions in 10 minutes, want %d to %d", n, c.least, c.most)
				}
			})
		})
	}
}

// TestI6ProbeLeavesWhatIsTrippedByHand: no question waits in vain for an upstream that an
// operator holds open, and none is told as a hold that expired.
func TestI6ProbeLeavesWhatIsTrippedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		if err := b.admission.Trip("main"); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			<-time.After(5 * time.Second)
			if n := b.dispatcher.running(); n > 0 {
				t.Fatalf("%d questions wait for an upstream that was tripped by hand", n)
			}
		}
	})
}

// TestI6ProbeClosesTheBreaker: an upstream that is back is found by the gateway's own
// question, not by a user's request.
func TestI6ProbeClosesTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		state := func() breaker.State { return b.admission.Snapshot().Upstreams[0].Breaker.State }
		inside, stop := context.WithCancel(t.Context())
		defer stop()
		b.wires.cut(true)
		for range 12 { // directly: the network between user and gateway is down, too
			b.ask(inside, b.current(), "main")
			<-time.After(time.Minute)
			if state() != breaker.Closed {
				break
			}
		}
		if state() == breaker.Closed {
			t.Fatal("the breaker never opened")
		}
		b.wires.cut(false)
		<-time.After(3 * time.Minute)
		if state() != breaker.Closed {
			t.Errorf("the breaker is %v 3 minutes after the upstream came back, and nobody asked", state())
		}
		if status, answer, err := b.call(http.MethodPost, "/chat", map[string]string{"session_id": "u", "message": "Hello"}); err != nil || status != http.StatusOK {
			t.Errorf("the first user gets %d %v: %v", status, answer, err)
		}
	})
}

// TestProbesHaveStoriesOfTheirOwn: a story is found by its id, with all attempts of it.
func TestProbesHaveStoriesOfTheirOwn(t *testing.T) {
	now := time.Now()
	if a, b := probeID(now), probeID(now.Add(time.Minute)); a == b || len(a) > 64 {
		t.Errorf("%q and %q", a, b)
	}
}
