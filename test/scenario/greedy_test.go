package scenario

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/quota"
)

// others runs users who wait, think and ask again, so often a minute where nothing
// makes them wait, one of them as the change says. It returns the p95 latency of the
// others in seconds.
func others(t *testing.T, users int, perMinute float64, change func(*load.Options)) float64 {
	t.Helper()
	p95 := 0.0
	synctest.Test(t, func(t *testing.T) {
		known := saturated{kind: quota.Bucket, burst: 6 * time.Second, told: true}
		s := newStack(t, office(), known.limits(600, 1_800_000))
		o := load.Options{
			Users: users, Think: time.Duration(60/perMinute*float64(time.Second)) - time.Second, Tokens: 6000, TokensSigma: 0.3,
			WarmUp: 61 * time.Second, Duration: 10 * time.Minute,
		}
		change(&o)
		r := s.run(t, o)
		if r.Errors != 0 || r.Judge.Final.Throttled != 0 {
			t.Errorf("%d errors, %d throttled", r.Errors, r.Judge.Final.Throttled)
		}
		p95 = r.Latency.P95
		if r.Others != nil {
			p95 = r.Others.P95
		}
		s.idle(t, r)
	})
	return p95 / 1000
}

// TestGreedy: who asks far more than his share slows those who keep to two thirds of
// theirs by at most 1.3 at p95.
func TestGreedy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		users  int
		greedy func(*load.Options)
	}{
		{"one of 10 runs 40 loops", 10, func(o *load.Options) { o.GreedyLoops = 40 }},
		{"one of 20 asks 10 times as often", 20, func(o *load.Options) { o.GreedyFactor = 10 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			share := 300 / float64(c.users) // requests of 6,000 tokens a minute
			with := others(t, c.users, share*2/3, c.greedy)
			without := others(t, c.users, share*2/3, func(o *load.Options) { o.Users-- })
			t.Logf("p95 of the others: %.2f s with him, %.2f s without: %.2fx", with, without, with/without)
			if with > 1.3*without {
				t.Errorf("p95 %.2f s, without him %.2f s", with, without)
			}
		})
	}
}

// TestGreedyBelowTheShare: he keeps 40 going, the others ask 16 times a minute each where
// 30 would be their share.
func TestGreedyBelowTheShare(t *testing.T) {
	p95 := others(t, 10, 16, func(o *load.Options) { o.GreedyLoops = 40 })
	t.Logf("p95 of the others: %.2f s", p95)
	if p95 > 2.6 {
		t.Errorf("p95 of the others %.2f s, want at most 2.6 s", p95)
	}
}
