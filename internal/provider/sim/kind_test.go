package sim

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestJudgeIsNotKind: users who send as they like, 6,000 tokens and 1 s a
// request with 3 s to think, get the errors a provider would give them, and
// the quota itself is still used.
func TestJudgeIsNotKind(t *testing.T) {
	t.Parallel()
	for users, share := range map[int]float64{10: 0, 40: 0.4, 200: 0.8} {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(t, Options{
				Limits:  Limits{Requests: 600, Tokens: 1_800_000, Seats: 15},
				Latency: Latency{Total: time.Second, Sigma: 0.3},
			})
			body := chat("x", `"max_tokens":6000`)
			var wg sync.WaitGroup
			for u := range users {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(u), 0))
					for start := time.Now(); time.Since(start) < time.Minute; {
						<-time.After(time.Duration(rng.ExpFloat64() * float64(3*time.Second)))
						post(p, chatPath, body)
					}
				})
			}
			wg.Wait()
			s := p.Stats()
			got := float64(s.Throttled) / float64(s.Requests)
			t.Logf("%d users: %.2f throttled %v, %d answered", users, got, s.By, s.Answered)
			if got < share || users == 10 && got > 0.1 {
				t.Errorf("%d users: %.2f throttled, want at least %.2f", users, got, share)
			}
			if s.Statuses["429"] != s.Throttled || s.Answered < 100 || s.Statuses["200"] != s.Answered || s.Limits[1].WorstRatio > 1.1 {
				t.Errorf("%d users: stats %+v", users, s)
			}
		})
	}
}
