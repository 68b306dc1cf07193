package gate

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/flow"
)

// TestI8LearnedLimit: when an answer tells of a limit far below the configured one, those
// who wait are told so, each his own time, and who cannot wait as long is turned away.
func TestI8LearnedLimit(t *testing.T) {
	o := single(1, perMinute(600))
	o.Hold = time.Hour
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 0)})
	var waiting []uint64
	for i := range 140 {
		id, _ := w.arrive(Ask{Flow: user(flow.Chat, i%20)})
		waiting = append(waiting, id)
	}
	header := map[string][]string{"X-Ratelimit-Limit-Requests": {"30"}, "X-Ratelimit-Remaining-Requests": {"29"}, "X-Ratelimit-Reset-Requests": {"2s"}}
	w.now = w.now.Add(time.Second)
	w.step(Event{Kind: Settle, ID: first, Result: Result{Sent: true, Limits: backoff.ReadLimits(w.now, header)}})
	w.pass(time.Second)
	if _, got := w.arrive(Ask{Flow: user(flow.Chat, 1), Hold: w.now.Add(30 * time.Second)}); len(got) != 1 || got[0].Kind != Refuse {
		t.Errorf("who can wait 30 s gets %+v", got)
	}
	last := 0
	for _, id := range waiting {
		s, waits := w.gate.Status(w.now, id)
		if !waits {
			continue
		}
		if mean := s.ETA / time.Duration(s.Position); s.Position > 20 && (mean < 1500*time.Millisecond || mean > 3*time.Second) {
			t.Errorf("place %d is told %v, at 30 a minute", s.Position, s.ETA)
		}
		last = max(last, s.Position)
	}
	if last < 130 {
		t.Errorf("the last place told is %d", last)
	}
}
