package scenario

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/provider/sim"
	"github.com/millrace/millrace/internal/quota"
)

// TestRude: users who leave and hang up, and a provider that fails and hangs, cost the
// others nothing: no error, at most a tenth more attempts, and books that agree.
func TestRude(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge := office()
		judge.Limits.Seats += 2 // a provider notices a hang-up a moment after its seat was given to the next
		judge.Faults = []sim.Fault{{Kind: sim.FaultStatus, Status: 500, Probability: 0.03}, {Kind: sim.FaultHang, Probability: 0.01}}
		s := newStack(t, judge, minute(quota.Paced, 600, 1_800_000))
		r := s.run(t, load.Options{
			Users: 40, Think: 3 * time.Second, Tokens: 3000, TokensSigma: 0.3, StreamShare: 0.5, Duration: 10 * time.Minute,
			Mischief: load.Mischief{Cancel: 0.15, Disconnect: 0.14},
		})
		books := r.Judge.Final
		attempts := float64(books.Requests) / float64(r.Started)
		t.Logf("%d answers, %d canceled, %d hung up, %d errors, %.3f attempts a request; the judge: %d requests, %d faulted, %d aborted, %d throttled",
			r.Answered, r.Canceled, r.Disconnected, r.ErrorsBehaved, attempts, books.Requests, books.Faulted, books.Aborted, books.Throttled)
		if r.ErrorsBehaved != 0 {
			t.Errorf("%d users saw an error: %v", r.ErrorsBehaved, r.Samples)
		}
		if attempts > 1.1 {
			t.Errorf("%.3f attempts a request", attempts)
		}
		if books.Throttled != 0 {
			t.Errorf("the provider refused %d: %v", books.Throttled, books.ThrottledBy)
		}
		s.idle(t, r)
	})
}
