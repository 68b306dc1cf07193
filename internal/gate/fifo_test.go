package gate

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// office is the upstream of the capacity tests: 1.8 million tokens and 600 requests a
// minute, 15 seats, buckets of six seconds.
var office = bucketed{rate: 30_000, burst: 180_000, requests: 600, requestBurst: 60, seats: 15}

// TestMeanWaitAgainstFIFO replays one recorded open trace through the gate and
// through a FIFO with the same windows: fairness must not cost waiting time.
func TestMeanWaitAgainstFIFO(t *testing.T) {
	for _, load := range []float64{0.95, 1.3} {
		replay := func(s *sim) []*job {
			d := newDraws(11)
			at := 0.0
			for at < 1800 {
				at += d.ExpFloat64() * 6000 / (office.rate * load)
				j := d.job(user(flow.Chat, d.IntN(20)), d.lognormal(6000, 0.6), 0)
				j.service = time.Second
				s.after(time.Duration(at*float64(time.Second)), func() { s.submit(j) })
			}
			s.run(2 * time.Hour)
			return s.started
		}
		ours, theirs := replay(newGated(t, office.options())), replay(newFIFO(t, office.options()))
		if len(ours) != len(theirs) {
			t.Fatalf("load %.2f: the gate served %d requests, the FIFO %d", load, len(ours), len(theirs))
		}
		a, b := mean(waits(ours, flow.Chat)), mean(waits(theirs, flow.Chat))
		t.Logf("load %.2f: mean wait %.2f s, FIFO %.2f s: %.3fx", load, a, b, a/b)
		if a > 1.05*b {
			t.Errorf("load %.2f: mean wait %.2f s, want at most 1.05 of FIFO's %.2f s", load, a, b)
		}
	}
}

// TestEqualUsersAgainstFIFO: among equal users in a closed loop a fair order has a
// longer tail than FIFO, but a bounded one.
func TestEqualUsersAgainstFIFO(t *testing.T) {
	for _, c := range []struct {
		users int
		bound float64
	}{{40, 1.6}, {200, 1.8}} {
		closed := func(s *sim) []float64 {
			d := newDraws(12)
			for i := range c.users {
				s.closed(d, 1, 3, func() *job {
					j := d.job(user(flow.Chat, i), d.lognormal(6000, 0.3), 0)
					j.service = d.service(1)
					return j
				})
			}
			s.run(20 * time.Minute)
			var latencies []float64
			for _, j := range s.ended {
				if j.arrived.Sub(epoch) > 2*time.Minute {
					latencies = append(latencies, j.latency())
				}
			}
			return latencies
		}
		a, b := quantile(closed(newGated(t, office.options())), 0.95), quantile(closed(newFIFO(t, office.options())), 0.95)
		t.Logf("%d users: p95 latency %.2f s, FIFO %.2f s: %.2fx", c.users, a, b, a/b)
		if a > c.bound*b {
			t.Errorf("%d users: p95 latency %.2f s, want at most %.1f of FIFO's %.2f s", c.users, a, c.bound, b)
		}
	}
}

// TestI4NewcomerAtHalfRate: for an hour the provider really serves at half the rate
// that is assumed. A newcomer must wait no longer than the fluid system would make
// it, and one request.
func TestI4NewcomerAtHalfRate(t *testing.T) {
	o := office.options()
	s, d := newGated(t, o), newDraws(13)
	for i := range 20 {
		s.closed(d, 3, 0, func() *job {
			j := d.job(user(flow.Chat, i), 6000, 0)
			j.service = 15 * 6000 / 15_000 * time.Second
			return j
		})
	}
	s.run(time.Hour)
	// 21 users share 2.5 requests a second: the fluid system finishes one request of
	// each in 8.4 s; one request more takes 6 s of a seat.
	const fluid, request = 21 / 2.5, 6.0
	longest := 0.0
	for i := range 20 {
		j := d.job(user("new", i), 6000, 0)
		j.flow.Class = flow.Chat
		s.submit(j)
		s.run(2*time.Minute + time.Duration(i)*77*time.Millisecond)
		if j.started.IsZero() {
			t.Fatalf("newcomer %d never ran", i)
		}
		longest = max(longest, j.wait())
	}
	t.Logf("newcomers waited at most %.1f s; fluid %.1f s and one request %.1f s", longest, fluid, request)
	if longest > fluid+request {
		t.Errorf("a newcomer waited %.1f s, want at most %.1f s", longest, fluid+request)
	}
}
