package scenario

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/quota"
)

// TestUnknownBucket: the provider's bucket is smaller than the minute that the gateway is
// told, and no header says so. It is learned from a few refusals, which no user sees.
func TestUnknownBucket(t *testing.T) {
	t.Parallel()
	for name, burst := range map[string]time.Duration{"6 s": 6 * time.Second, "1 s": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				judge := office()
				judge.Window, judge.Burst, judge.HideLimits, judge.HideRetryAfter = "bucket", burst, true, true
				s := newStack(t, judge, minute(quota.Paced, 600, 1_800_000))
				r := s.run(t, load.Options{Users: 40, Think: 3 * time.Second, Tokens: 6000, TokensSigma: 0.3, Duration: 10 * time.Minute})
				books := r.Judge.Final
				t.Logf("%d answers, %d errors, throttled %v, first %v", r.Answered, r.Errors, books.Throttled, books.PerMinute)
				if r.Errors != 0 {
					t.Errorf("%d users saw an error: %v", r.Errors, r.Samples)
				}
				if len(books.PerMinute) > 0 && books.PerMinute[0] > int64(judge.Limits.Seats)+5 {
					t.Errorf("%d refusals in the first minute", books.PerMinute[0])
				}
				if 100*books.Throttled > books.Requests {
					t.Errorf("%d refusals of %d requests, more than 1 %%", books.Throttled, books.Requests)
				}
				s.idle(t, r)
			})
		})
	}
}
