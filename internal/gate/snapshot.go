package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/quota"
)

// Snapshot is the state of a gate at one moment.
type Snapshot struct {
	Upstreams   []UpstreamState
	Classes     map[flow.Class]int // requests waiting
	ByClass     []ClassState       // every class, by name
	Waiting     int
	Running     int
	Flows       int   // users with something waiting or running
	Tasks       int   // that run
	Outstanding int   // attempts granted and not settled
	Late        int64 // events for requests that had ended
}

// UpstreamState is what the gate knows of one upstream.
type UpstreamState struct {
	Name    string
	Windows []quota.State
	Seats   int // 0 for unlimited
	InUse   int
	// SeatsShadow says that Seats only watches; SeatsExceeded calls were beyond it.
	SeatsShadow   bool
	SeatsExceeded int64
	Outstanding   int // reservations not settled
	Breaker       breaker.Snapshot
	Retired       bool // removed from the configuration; it finishes what runs there
}

// Limit is one limit of an upstream as clients are told of it.
type Limit struct {
	Dim       quota.Dim
	Max       int64         // per Span
	Span      time.Duration // of the window
	Remaining int64
	Reset     time.Duration // until all of it is free
}

// Saved is what survives a restart.
type Saved struct {
	Quota   quota.Saved   `json:"quota"`
	Breaker breaker.Saved `json:"breaker"`
}

// onlyRunning is how many users have something running and nothing waiting.
func (g *Gate) onlyRunning() int {
	users := make(map[flow.Key]struct{}, len(g.runs))
	for _, e := range g.runs {
		waits := false
		for _, p := range g.pools {
			_, n := p.queue.Waiting(e.ask.Flow)
			waits = waits || n > 0
		}
		if !waits {
			users[e.ask.Flow] = struct{}{}
		}
	}
	return len(users)
}

// Snapshot copies the state.
func (g *Gate) Snapshot(now time.Time) Snapshot {
	s := Snapshot{Classes: make(map[flow.Class]int), Tasks: g.tasks, Late: g.late}
	for _, p := range g.pools {
		s.Waiting += p.queue.Len()
		s.Flows += p.queue.Waiters()
		for name := range g.classes {
			n, _ := p.queue.Waiting(flow.Key{Class: name})
			s.Classes[name] += n
		}
	}
	s.Flows += g.onlyRunning()
	for _, e := range g.places {
		if !e.away { // nobody waits there
			s.Waiting--
			if _, known := s.Classes[e.class.name]; known { // not of a class that is gone
				s.Classes[e.class.name]--
			}
		}
	}
	for i := range g.upstreams {
		u := &g.upstreams[i]
		used, most := u.quota.Seats()
		watched, exceeded := u.quota.ShadowSeats()
		s.Outstanding += u.quota.Outstanding()
		s.Upstreams = append(s.Upstreams, UpstreamState{
			Name: u.name, Windows: u.quota.Snapshot(now), Seats: max(most, watched), InUse: used,
			SeatsShadow: watched > 0, SeatsExceeded: exceeded,
			Outstanding: u.quota.Outstanding(), Breaker: u.breaker.Snapshot(now), Retired: u.options.Retired,
		})
	}
	s.Running = len(g.runs)
	s.ByClass = g.byClass(now, s.Classes)
	return s
}

// AppendLimits appends the limits of a route's first upstream that are enforced.
func (g *Gate) AppendLimits(dst []Limit, now time.Time, route int) []Limit {
	if route < 0 || route >= len(g.routes) {
		return dst
	}
	q := g.upstreams[g.routes[route].Upstreams[0]].quota
	for _, w := range q.Snapshot(now) {
		if w.Shadow {
			continue
		}
		dst = append(dst, Limit{Dim: w.Dim, Max: w.Learned, Span: w.Span, Remaining: w.Free, Reset: max(w.Full.Sub(now), 0)})
	}
	return dst
}

// Ready reports whether any upstream's breaker lets requests through.
func (g *Gate) Ready(now time.Time) bool {
	for u := range g.upstreams {
		if !g.upstreams[u].options.Retired && g.ready(now, u) {
			return true
		}
	}
	return false
}

// Save adds what survives a restart, by upstream name.
func (g *Gate) Save(now time.Time, into map[string]Saved) {
	for i := range g.upstreams {
		u := &g.upstreams[i]
		into[u.name] = Saved{Quota: u.quota.Save(now), Breaker: u.breaker.Save()}
	}
}

// Restore resumes from what Save added, where it fits.
func (g *Gate) Restore(now time.Time, saved map[string]Saved) error {
	var errs []error
	for i := range g.upstreams {
		u := &g.upstreams[i]
		s, ok := saved[u.name]
		if !ok {
			continue
		}
		if err := u.quota.Restore(now, s.Quota); err != nil {
			errs = append(errs, fmt.Errorf("upstream %s: %w", u.name, err))
			continue
		}
		u.breaker.Restore(now, s.Breaker)
	}
	return errors.Join(errs...)
}
