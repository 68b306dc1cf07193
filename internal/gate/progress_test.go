package gate

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// TestI6Progress: whatever alone keeps a request waiting, Wake names the time at which
// it ends, and the step at that time dispatches it.
func TestI6Progress(t *testing.T) {
	bucket := func(dim quota.Dim, most, burst int64) []quota.Limit {
		return []quota.Limit{{Dim: dim, Max: most, Kind: quota.Bucket, Burst: burst}}
	}
	for _, c := range []struct {
		name   string
		change func(*Options)
		result Result // of the request before
		least  time.Duration
		most   time.Duration
	}{
		{"requests", func(o *Options) { o.Upstreams[0].Quota.Limits = bucket(quota.Requests, 30, 1) }, Result{Sent: true}, time.Second, 3 * time.Second},
		{"tokens", func(o *Options) { o.Upstreams[0].Quota.Limits = bucket(quota.Total, 6000, 1200) }, Result{Sent: true}, 5 * time.Second, 13 * time.Second},
		{"class rate", func(o *Options) { o.Classes = []Class{{Name: flow.Chat, Rate: Rate{Max: 1, Per: time.Minute}}} }, Result{Sent: true}, time.Minute, 61 * time.Second},
		{"even class rate", func(o *Options) {
			o.Classes = []Class{{Name: flow.Chat, Rate: Rate{Max: 20, Per: time.Minute, Even: true}}}
		}, Result{Sent: true}, 3 * time.Second, 3100 * time.Millisecond},
		{"breaker", func(o *Options) { o.Upstreams[0].Breaker = breaker.Options{Failures: 1, Open: 20 * time.Second} }, Result{Sent: true, Kind: llm.KindTransient}, 20 * time.Second, 20 * time.Second},
		{"Retry-After", func(*Options) {}, Result{Sent: true, Kind: llm.KindThrottle, RetryAfter: 7 * time.Second}, 7 * time.Second, 8 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Upstreams: []Upstream{{Name: "a", Quota: quota.Options{Meter: exact()}}}, Routes: []Route{{Upstreams: []int{0}}}}
			c.change(&o)
			g, err := New(epoch, o)
			if err != nil {
				t.Fatal(err)
			}
			ask := &Ask{Flow: user(flow.Chat, 1), Size: llm.Size{TextBytes: 4000}}
			if got := g.Step(epoch, Event{Kind: Arrive, ID: 1, Ask: ask}); len(got) != 1 || got[0].Kind != Dispatch {
				t.Fatalf("the first request: %+v", got)
			}
			g.Step(epoch, Event{Kind: Settle, ID: 1, Result: c.result})
			if got := g.Step(epoch, Event{Kind: Arrive, ID: 2, Ask: ask}); len(got) != 0 {
				t.Fatalf("the second request does not wait: %+v", got)
			}
			now := epoch
			for range 10 {
				wake := g.Wake()
				if !wake.After(now) {
					t.Fatalf("Wake is %v, it is %v already", wake.Sub(epoch), now.Sub(epoch))
				}
				now = wake
				if got := g.Step(now, Event{}); len(got) == 1 && got[0].Kind == Dispatch {
					break
				}
			}
			if waited := now.Sub(epoch); waited < c.least || waited > c.most {
				t.Errorf("dispatched after %v, want %v to %v", waited, c.least, c.most)
			}
		})
	}
}

// TestI5ClassRate: of 60 requests at once, as many start in any minute as the rate
// allows, and not one fewer; another class passes meanwhile.
func TestI5ClassRate(t *testing.T) {
	const most = 20
	o := Options{
		Upstreams: []Upstream{{Name: "a", Quota: quota.Options{Meter: exact()}}}, Routes: []Route{{Upstreams: []int{0}}},
		Classes: []Class{{Name: flow.Chat}, {Name: flow.Analysis, Rate: Rate{Max: most, Per: time.Minute}}},
	}
	s := newGated(t, o)
	for i := range 60 {
		s.after(time.Duration(i)*100*time.Millisecond, func() {
			s.submit(&job{flow: user(flow.Analysis, i%5), tokens: 10, actual: 10, service: time.Second})
		})
	}
	s.after(30*time.Second, func() { s.submit(&job{flow: user(flow.Chat, 1), tokens: 10, actual: 10}) })
	s.run(10 * time.Minute)
	var starts []time.Time
	for _, j := range s.started {
		if j.flow.Class == flow.Chat {
			if j.wait() > 0 {
				t.Errorf("chat waited %.1f s behind a class at its rate", j.wait())
			}
			continue
		}
		starts = append(starts, j.started)
		if n := within(starts, j.started, time.Minute); n > most {
			t.Fatalf("%d starts in a minute, the rate allows %d", n, most)
		}
	}
	if last := starts[len(starts)-1].Sub(epoch); len(starts) != 60 || last > 2*time.Minute+6*time.Second {
		t.Errorf("%d requests started, the last after %v; want 60 within 2m6s", len(starts), last)
	}
}
