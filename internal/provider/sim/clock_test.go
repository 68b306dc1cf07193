package sim

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lived is what a client saw of a provider and what that booked, all in the
// provider's time.
type lived struct {
	answers []string
	stats   Stats
}

// live sends the same requests, speed times as fast, to a provider whose time
// passes so.
func live(t *testing.T, o Options, speed float64) (l lived) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Speed = speed
		p := newProvider(t, o)
		begun := time.Now()
		for i := range 240 {
			due := time.Duration(float64(i) * float64(time.Second) / speed)
			<-time.After(time.Until(begun.Add(due)))
			start := time.Now()
			r := post(p, chatPath, chat("x", `"max_tokens":40`))
			took := time.Duration(float64(time.Since(start)) * speed)
			wait, _ := strconv.ParseFloat(r.Header().Get("Retry-After-Ms"), 64)
			if (r.Code == http.StatusTooManyRequests) != (wait > 0) {
				t.Fatalf("%d with retry-after-ms %v", r.Code, wait)
			}
			if seconds, _ := strconv.ParseFloat(r.Header().Get("Retry-After"), 64); wait > 0 && (seconds < wait/1000 || seconds > wait/1000+1) {
				t.Fatalf("Retry-After %v s, and %v ms", seconds, wait)
			}
			waits := time.Duration(wait*speed) * time.Millisecond // in steps of a millisecond of the machine's
			l.answers = append(l.answers, fmt.Sprintf("%d after %v, %s left, again in %v", r.Code, took.Round(time.Millisecond),
				r.Header().Get("X-Ratelimit-Remaining-Requests"), waits.Round(200*time.Millisecond)))
		}
		l.stats = p.Stats()
		l.stats.Elapsed, l.stats.Speed = Duration(time.Duration(l.stats.Elapsed).Round(time.Microsecond)), 0
		for i := range l.stats.Limits {
			l.stats.Limits[i].Utilization = float64(int(1e6 * l.stats.Limits[i].Utilization))
		}
	})
	return l
}

// TestI6SpeedChangesNothingElse: windows, latencies, fault scripts and books
// are those of a run at speed 1.
func TestI6SpeedChangesNothingElse(t *testing.T) {
	t.Parallel()
	for _, window := range Windows() {
		t.Run(window, func(t *testing.T) {
			t.Parallel()
			o := Options{
				Window: window, Limits: Limits{Requests: 36, DayRequests: 3000}, Latency: Latency{Total: 200 * time.Millisecond, Sigma: 0.2},
				Faults: []Fault{
					{Kind: FaultStatus, Status: 503, From: Duration(30 * time.Second), To: Duration(35500 * time.Millisecond)},
					{Kind: FaultQuota, Factor: 0.5, From: Duration(90*time.Second + time.Millisecond), To: Duration(150*time.Second + time.Millisecond)},
					{Kind: FaultLatency, Factor: 3, From: Duration(60*time.Second + time.Millisecond)},
				},
			}
			want, got := live(t, o, 1), live(t, o, 8)
			if diff := cmp.Diff(want.answers, got.answers); diff != "" {
				t.Errorf("answers at speed 8:\n%s", diff)
			}
			if diff := cmp.Diff(want.stats, got.stats); diff != "" {
				t.Errorf("books at speed 8:\n%s", diff)
			}
			if s := want.stats; s.Throttled < 60 || s.Answered < 60 || s.Statuses["503"] < 2 {
				t.Errorf("nothing to tell apart: %+v", s)
			}
		})
	}
}

// TestRealWaits: what a client must wait is told in its own time.
func TestRealWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := instant(t, Options{Speed: 60, Window: WindowSliding, Limits: Limits{Requests: 1}})
		post(p, chatPath, chat("x", ""))
		r := post(p, chatPath, chat("x", ""))
		h := r.Header()
		if h.Get("Retry-After") != "1" || h.Get("Retry-After-Ms") != "1000" || h.Get("X-Ratelimit-Reset-Requests") != "1s" || h.Get("X-Ratelimit-Limit-Requests") != "60" {
			t.Errorf("a minute at 60 times its speed: %v", h)
		}
		<-time.After(time.Second)
		if r := post(p, chatPath, chat("x", "")); r.Code != http.StatusOK {
			t.Errorf("refused after the wait: %s", r.Body)
		}
		if s := p.Stats(); s.Speed != 60 || time.Duration(s.Elapsed) != time.Minute {
			t.Errorf("the books are of %v at speed %v", s.Elapsed, s.Speed)
		}
	})
}
