package console

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// Bounds of a Shadow.
const (
	maxPending = 1 << 16         // requests that are not judged yet; one more and the earliest is
	lagPeriod  = 5 * time.Minute // the longest request of this and the last period is the lag
	lagMargin  = time.Second
)

// Shadow counts the 429s that the queue has avoided: the same arrivals go to the
// same quotas without a queue, and each that does not fit when it arrives is
// refused there and takes nothing. One that was refused there and answered here
// was avoided. It runs once at its route's first upstream, for as long as it ran
// here, and uses what it used here; nobody asks again. A paced limit is taken as
// the most lenient one there is: at most Max in any Span, with no burst.
//
// A request is judged when all that arrived before it have ended, which is taken
// to be so once the longest of the last five to ten minutes has passed. It
// implements event.Sink. Use NewShadow.
type Shadow struct {
	mu      sync.Mutex
	routes  map[string]int // first upstream by the name of the route
	quotas  []shadowQuota
	pending arrivals
	ends    endings
	clock   time.Time // of the simulation; never goes back
	lag     [2]time.Duration
	period  int64
	day     int64
	avoided int64 // today
}

// shadowQuota is one upstream without a queue.
type shadowQuota struct {
	quota *quota.Quota
	meter quota.Meter
}

// NewShadow returns a Shadow of the upstreams and routes of o; names are those of
// the routes as records tell them, by the same index; empty for one to leave out.
func NewShadow(now time.Time, o gate.Options, names []string) (*Shadow, error) {
	s := &Shadow{clock: now}
	return s, s.Reconfigure(now, o, names)
}

// Reconfigure changes the upstreams and routes. Their quotas begin unused. If it
// fails nothing has changed.
func (s *Shadow) Reconfigure(now time.Time, o gate.Options, names []string) error {
	var faults []error
	quotas := make([]shadowQuota, len(o.Upstreams))
	for i := range o.Upstreams {
		u := &o.Upstreams[i]
		q, err := quota.New(now, lenient(u.Quota))
		if err != nil {
			faults = append(faults, fmt.Errorf("console: shadow of upstream %s: %w", u.Name, err))
		}
		quotas[i] = shadowQuota{q, u.Quota.Meter}
	}
	routes := make(map[string]int)
	for i, r := range o.Routes {
		if i >= len(names) || len(r.Upstreams) == 0 || r.Upstreams[0] < 0 || r.Upstreams[0] >= len(quotas) {
			faults = append(faults, fmt.Errorf("console: shadow of route %d: it needs a name and an upstream that exists", i))
		} else if !r.Retired && names[i] != "" {
			routes[names[i]] = r.Upstreams[0]
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quotas, s.routes, s.ends, s.pending = quotas, routes, nil, nil
	if now.After(s.clock) {
		s.clock = now
	}
	return nil
}

// lenient is a quota as a provider enforces it at its most lenient.
func lenient(o quota.Options) quota.Options {
	o.Limits, o.Start, o.Ramp = slices.Clone(o.Limits), quota.Fresh, quota.Ramp{}
	for i := range o.Limits {
		if l := &o.Limits[i]; l.Kind == quota.Paced {
			l.Kind, l.Burst = quota.Sliding, 0
		}
	}
	return o
}

// arrival is a request as far as it is judged.
type arrival struct {
	at       time.Time
	run      time.Duration // without its wait
	upstream int
	need     quota.Amount
	answered bool
}

// Attempt implements event.Sink.
func (s *Shadow) Attempt(*event.Attempt) {}

// Record implements event.Sink.
func (s *Shadow) Record(r *event.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	upstream, known := s.routes[r.Route]
	if !known {
		return // it never came to a route
	}
	end := r.Arrived.Add(r.Total)
	if period := end.UnixNano() / int64(lagPeriod); period > s.period {
		s.lag[1], s.lag[0] = s.lag[0], 0
		if period > s.period+1 {
			s.lag[1] = 0
		}
		s.period = period
	}
	s.lag[0] = max(s.lag[0], r.Total)
	meter := s.quotas[upstream].meter
	need := meter.Charge(r.Estimated)
	if !r.Used.IsZero() {
		need = meter.Actual(need, r.Used, r.Estimated)
	}
	heap.Push(&s.pending, arrival{r.Arrived, max(r.Total-r.Queued, 0), upstream, need, answered(r.Outcome)})
	if len(s.pending) > maxPending {
		first, _ := heap.Pop(&s.pending).(arrival)
		s.judge(&first)
	}
	s.advance(end)
}

// Avoided is how many 429s were avoided since midnight UTC.
func (s *Shadow) Avoided(now time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now)
	s.turn(now)
	return s.avoided
}

// advance judges all that arrived before the lag.
func (s *Shadow) advance(now time.Time) {
	until := now.Add(-max(s.lag[0], s.lag[1]) - lagMargin)
	for len(s.pending) > 0 && s.pending[0].at.Before(until) {
		first, _ := heap.Pop(&s.pending).(arrival)
		s.judge(&first)
	}
}

// judge sends one request without a queue.
func (s *Shadow) judge(a *arrival) {
	if a.at.After(s.clock) {
		s.clock = a.at
	}
	for len(s.ends) > 0 && !s.ends[0].at.After(s.clock) {
		e, _ := heap.Pop(&s.ends).(ending)
		e.quota.Settle(e.at, e.held, e.need)
	}
	q := s.quotas[a.upstream].quota
	held, fits := q.Reserve(s.clock, a.need)
	if fits {
		heap.Push(&s.ends, ending{s.clock.Add(a.run), q, held, a.need})
		return
	}
	if a.answered {
		s.turn(a.at)
		s.avoided++
	}
}

// turn begins a new day if it is one.
func (s *Shadow) turn(at time.Time) {
	if day := at.Unix() / (24 * 60 * 60); day > s.day {
		s.day, s.avoided = day, 0
	}
}

// ending is the end of a request that runs without a queue.
type ending struct {
	at    time.Time
	quota *quota.Quota
	held  quota.Reservation
	need  quota.Amount
}

// arrivals are a heap by time.
type arrivals []arrival

func (h arrivals) Len() int           { return len(h) }
func (h arrivals) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h arrivals) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *arrivals) Push(x any) {
	a, _ := x.(arrival)
	*h = append(*h, a)
}

// Pop implements heap.Interface.
func (h *arrivals) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// endings are a heap by time.
type endings []ending

func (h endings) Len() int           { return len(h) }
func (h endings) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h endings) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *endings) Push(x any) {
	e, _ := x.(ending)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *endings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
