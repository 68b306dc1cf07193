package gate

import (
	"sort"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// starts bounds the starts of a class to Rate.Max in any span of Rate.Per, and of a
// little more, by remembering the last Max of them.
type starts struct {
	per  time.Duration
	ring []time.Time // the last starts; ring[next] is the oldest
	next int
}

func newStarts(r Rate) *starts {
	if r.Max == 0 {
		return nil
	}
	per := r.Per + min(r.Per/60, time.Second) // as for quotas: a start may be counted sooner or later elsewhere
	if r.Even {
		return &starts{per: (per + time.Duration(r.Max) - 1) / time.Duration(r.Max), ring: make([]time.Time, 1)}
	}
	return &starts{per: per, ring: make([]time.Time, r.Max)}
}

// resize is the memory of another rate, which knows the same starts.
func (s *starts) resize(r Rate) *starts {
	next := newStarts(r)
	if s == nil || next == nil {
		return next
	}
	for i := range s.ring {
		if at := s.ring[(s.next+i)%len(s.ring)]; !at.IsZero() {
			next.add(at)
		}
	}
	return next
}

// at is when the next start is allowed; the zero time means at once.
func (s *starts) at() time.Time {
	if s == nil || s.ring[s.next].IsZero() {
		return time.Time{}
	}
	return s.ring[s.next].Add(s.per)
}

// after is the wait in seconds until the rate allows one more start than n, if all begin
// as soon as it allows. Starts that came at once come free at once.
func (s *starts) after(now time.Time, n int) float64 {
	most := len(s.ring)
	free := s.ring[(s.next+n%most)%most].Add(s.per)
	return max(free.Sub(now).Seconds(), 0) + float64(n/most)*s.per.Seconds()
}

// count is how many starts still count against the rate.
func (s *starts) count(now time.Time) int {
	if s == nil {
		return 0
	}
	n := len(s.ring)                             // those after the oldest that does not count
	return n - sort.Search(n, func(i int) bool { // oldest first
		at := s.ring[(s.next+i)%n]
		return !at.IsZero() && now.Sub(at) < s.per
	})
}

// next is when the class's rate allows the next start; the zero time means at once.
func (c *class) next() time.Time {
	if c.rate.Shadow {
		return time.Time{}
	}
	return c.starts.at()
}

// shut is what keeps the class from starting anything.
func (c *class) shut() flow.Reason {
	switch {
	case c.paused:
		return flow.ReasonPaused
	case c.held:
		return flow.ReasonRate
	}
	return flow.ReasonNone
}

// start notes that a request of the class starts.
func (c *class) start(now time.Time) {
	if c.rate.Shadow && c.starts.at().After(now) {
		c.exceeded++
	}
	c.starts.add(now)
}

func (s *starts) add(now time.Time) {
	if s == nil {
		return
	}
	s.ring[s.next] = now
	s.next = (s.next + 1) % len(s.ring)
}
