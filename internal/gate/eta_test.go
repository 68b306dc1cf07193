package gate

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// TestI8Honest: in correlated waits, with two sizes of requests, service times that
// vary, and a load that changes, the quoted p90 holds for 87 to 93 of 100 requests that
// had to wait.
func TestI8Honest(t *testing.T) {
	for _, c := range []struct {
		name  string
		loads []float64 // each for half an hour
	}{
		{"steady", []float64{0.97, 0.97, 0.97, 0.97}},
		{"waves", []float64{0.9, 1.2, 0.7, 1.15, 0.8, 1.1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := office.options()
			o.Upstreams[0].Quota.Meter = exact()
			s, d := newGated(t, o), newDraws(21)
			quoted := make(map[*job]time.Duration)
			s.watch = func(j *job) {
				if j.started.IsZero() || !j.ended.IsZero() {
					return
				}
				e := s.server.(*gated).gate.entries[j.id]
				if e.expected > 0 {
					quoted[j] = e.p90
				}
			}
			at := 0.0
			for i, load := range c.loads {
				for end := float64(i+1) * 1800; at < end; {
					tokens := 2000.0
					if d.Float64() < 0.2 {
						tokens = 15_000
					}
					at += d.ExpFloat64() * (0.8*2000 + 0.2*15_000) / (office.rate * load)
					j := d.job(user(flow.Chat, d.IntN(20)), tokens, 0.25)
					j.service = d.service(1)
					s.after(time.Duration(at*float64(time.Second)), func() { s.submit(j) })
				}
			}
			s.run(time.Duration(len(c.loads)) * 40 * time.Minute)
			held := 0
			for j, p90 := range quoted {
				if j.wait() <= p90.Seconds() {
					held++
				}
			}
			share := float64(held) / float64(len(quoted))
			t.Logf("p90 held for %.1f %% of %d that waited (of %d)", 100*share, len(quoted), len(s.started))
			if share < 0.87 || share > 0.93 {
				t.Errorf("p90 held for %.1f %%, want 87 to 93", 100*share)
			}
		})
	}
}
