package scenario

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/provider/sim"
	"github.com/millrace/millrace/internal/quota"
)

// saturated is one case of TestSaturation: users who ask for more than the judge allows.
type saturated struct {
	name   string
	window string // the judge's
	kind   quota.Kind
	burst  time.Duration // the judge's, and the gateway's if it is told
	told   bool
	blind  bool // the judge tells nothing in headers
	users  int
	tokens int
}

// TestSaturation: with every kind of window, and with requests or tokens binding, no user
// sees an error, the provider refuses nothing, and at least 97 % of the quota is used.
func TestSaturation(t *testing.T) {
	t.Parallel()
	for _, c := range []saturated{
		{name: "bucket, tokens bind, 40 users", window: "bucket", kind: quota.Bucket, burst: 6 * time.Second, told: true, users: 40, tokens: 6000},
		{name: "bucket, tokens bind, 200 users", window: "bucket", kind: quota.Bucket, burst: 6 * time.Second, told: true, users: 200, tokens: 6000},
		{name: "bucket, requests bind", window: "bucket", kind: quota.Bucket, burst: 6 * time.Second, told: true, users: 200, tokens: 500},
		{name: "sliding, tokens bind", window: "sliding", kind: quota.Sliding, users: 40, tokens: 6000},
		{name: "sliding, requests bind", window: "sliding", kind: quota.Sliding, users: 200, tokens: 500},
		{name: "fixed, tokens bind", window: "fixed", kind: quota.Fixed, users: 40, tokens: 6000},
		{name: "paced, tokens bind", window: "paced", kind: quota.Paced, users: 40, tokens: 6000},
		{name: "paced, requests bind", window: "paced", kind: quota.Paced, users: 200, tokens: 500},
		{name: "paced told, tokens bind", window: "paced", kind: quota.Paced, burst: time.Second, told: true, users: 40, tokens: 6000},
		{name: "paced told, tokens bind, 200 users", window: "paced", kind: quota.Paced, burst: time.Second, told: true, users: 200, tokens: 6000},
		{name: "paced told, no headers", window: "paced", kind: quota.Paced, burst: time.Second, told: true, blind: true, users: 200, tokens: 6000},
		{name: "paced told, requests bind", window: "paced", kind: quota.Paced, burst: time.Second, told: true, users: 200, tokens: 500},
		{name: "unknown bucket of 6 s, headers", window: "bucket", burst: 6 * time.Second, kind: quota.Paced, users: 200, tokens: 6000},
		{name: "unknown bucket of 1 s, headers", window: "bucket", burst: time.Second, kind: quota.Paced, users: 200, tokens: 6000},
		{name: "unknown bucket of 6 s, no headers", window: "bucket", burst: 6 * time.Second, kind: quota.Paced, blind: true, users: 200, tokens: 6000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, c.run)
		})
	}
}

func (c saturated) run(t *testing.T) {
	const requests, tokens = 600, 1_800_000
	s := newStack(t, sim.Options{
		Limits: sim.Limits{Requests: requests, Tokens: tokens, Seats: 15}, Window: c.window, Burst: c.burst,
		Latency: sim.Latency{Total: time.Second, Sigma: 0.2}, Output: 20, HideLimits: c.blind, HideRetryAfter: c.blind,
	}, c.limits(requests, tokens))
	r := s.run(t, load.Options{
		Users: c.users, Think: 3 * time.Second, Tokens: c.tokens, TokensSigma: 0.3,
		WarmUp: 61 * time.Second, Duration: 120 * time.Second,
	})
	use := r.Judge.Utilization()
	t.Logf("%d answers, %d errors, %d throttled, used %.1f %%, p95 %.1f s, Jain %.4f, %.4f attempts an answer",
		r.Answered, r.Errors, r.Judge.Final.Throttled, 100*use, r.Latency.P95/1000, r.Fairness.Jain, r.AttemptsPerAnswer)
	if r.Errors != 0 {
		t.Errorf("%d users saw an error: %v", r.Errors, r.Samples)
	}
	if n := r.Judge.Final.Throttled; n != 0 {
		t.Errorf("the provider refused %d requests: %v", n, r.Judge.Final.ThrottledBy)
	}
	if r.AttemptsPerAnswer > 1.02 {
		t.Errorf("%.3f attempts an answer", r.AttemptsPerAnswer)
	}
	if use < 0.97 {
		t.Errorf("used %.1f %% of what binds, want at least 97 %%", 100*use)
	}
	s.idle(t, r)
}

// limits are what the gateway is told.
func (c saturated) limits(requests, tokens int64) []quota.Limit {
	limits := minute(c.kind, requests, tokens)
	if c.told {
		for i := range limits {
			limits[i].Burst = limits[i].Max * int64(c.burst) / int64(time.Minute)
		}
	}
	return limits
}

// TestSeatsBind: where seats are what is scarce, they are all taken.
func TestSeatsBind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, sim.Options{
			Limits: sim.Limits{Requests: 600, Tokens: 1_800_000, Seats: 15}, Latency: sim.Latency{Total: 4 * time.Second, Sigma: 0.15},
		}, minute(quota.Paced, 600, 1_800_000))
		r := s.run(t, load.Options{Users: 40, Think: 3 * time.Second, Tokens: 500, WarmUp: 61 * time.Second, Duration: 120 * time.Second})
		use := r.AnswersPerSecond * 4 / 15
		t.Logf("%d answers, used %.1f %% of the seats", r.Answered, 100*use)
		if r.Errors != 0 || r.Judge.Final.Throttled != 0 || use < 0.97 {
			t.Errorf("%d errors %v, %d throttled %v, used %.1f %% of the seats", r.Errors, r.Samples, r.Judge.Final.Throttled, r.Judge.Final.ThrottledBy, 100*use)
		}
		s.idle(t, r)
	})
}

// TestFair: users who ask alike are served alike, measured until each has 20 answers.
func TestFair(t *testing.T) {
	t.Parallel()
	for name, users := range map[string]int{"40 users": 40, "200 users": 200} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, sim.Options{
					Limits: sim.Limits{Requests: 600, Tokens: 1_800_000, Seats: 15}, Latency: sim.Latency{Total: time.Second, Sigma: 0.2}, Output: 20,
				}, minute(quota.Paced, 600, 1_800_000))
				r := s.run(t, load.Options{Users: users, Think: 3 * time.Second, Tokens: 6000, TokensSigma: 0.3, WarmUp: 61 * time.Second, UntilAnswers: 20})
				t.Logf("Jain %.4f over %d users of %d to %d answers in %.0f s", r.Fairness.Jain, r.Fairness.Users, r.Fairness.LeastAnswers, r.Fairness.MostAnswers, r.Seconds)
				if r.Fairness.Jain < 0.98 || r.Fairness.LeastAnswers < 20 {
					t.Errorf("Jain %.4f, least answers %d", r.Fairness.Jain, r.Fairness.LeastAnswers)
				}
				if r.Errors != 0 || r.Judge.Final.Throttled != 0 {
					t.Errorf("%d errors, %d throttled", r.Errors, r.Judge.Final.Throttled)
				}
				s.idle(t, r)
			})
		})
	}
}
