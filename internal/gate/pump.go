package gate

import (
	"time"

	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
)

// search is one look through the heads. Its fields are the answers of try.
type search struct {
	gate *Gate
	now  time.Time
	held uint64 // upstreams that an earlier head holds
	all  uint64 // upstreams that can have room at all
	want uint64 // upstreams that a head in the fair order waits for
	pick int    // where the head that can run goes

	first *entry // the first head that refill will help, and when
	fits  time.Time
}

// pump dispatches all that can run now and notes when more may.
func (g *Gate) pump(now time.Time) {
	g.wake = time.Time{}
	g.unblock(now)
	for g.queue.Len() > 0 {
		g.wake = time.Time{}
		g.rates(now)
		s := search{gate: g, now: now, all: g.open()}
		s.held = ^s.all
		it, spare := g.queue.Next(s.try), false
		if g.takeAway() && it == nil {
			continue // who stood behind a kept place is next
		}
		if it == nil {
			if g.accrue(&s) {
				continue
			}
			if it = s.spare(); it == nil {
				break
			}
			spare = true
		}
		if !g.dispatch(now, it.Owner.(*entry), s.pick, spare) {
			break
		}
	}
	g.saturate(now)
}

// accrue counts what has been saved up for the first blocked head as served, and
// reports whether that made others eligible. They may pass it: the fluid system
// would serve them meanwhile.
func (g *Gate) accrue(s *search) bool {
	e := s.first
	if e == nil || !e.item.Waiting() {
		return false
	}
	if g.queue.Accrue(&e.item, e.item.Cost-s.fits.Sub(s.now).Seconds()) {
		return true
	}
	if more, ok := g.queue.Accrual(); ok {
		g.wake = earlier(g.wake, s.now.Add(seconds(more)+time.Millisecond))
	}
	return false
}

// unblock puts parked heads back where an event or time may have helped them.
func (g *Gate) unblock(now time.Time) {
	if !g.resume && (g.unpark.IsZero() || g.unpark.After(now)) {
		return
	}
	g.resume, g.unpark = false, time.Time{}
	for i, e := range g.parked {
		if e.item.Waiting() {
			g.queue.Resume(&e.item)
		}
		g.parked[i] = nil
	}
	g.parked = g.parked[:0]
}

// rates takes the classes out of the order whose rate is used up, and puts them
// back when it is not.
func (g *Gate) rates(now time.Time) {
	for _, c := range g.limited {
		at := c.starts.at()
		blocked := at.After(now)
		g.queue.Stop(c.name, blocked)
		if waiting, _ := g.queue.Waiting(flow.Key{Class: c.name}); blocked && waiting > 0 {
			g.wake = earlier(g.wake, at)
		}
	}
}

// open is the set of upstreams with a free seat.
func (g *Gate) open() uint64 {
	set := uint64(0)
	for i := range g.upstreams {
		if used, most := g.upstreams[i].quota.Seats(); most == 0 || used < most {
			set |= 1 << i
		}
	}
	return set
}

// saturate tells the quotas whether anyone waits.
func (g *Gate) saturate(now time.Time) {
	if waiting := g.queue.Len() > 0; waiting != g.waiting {
		g.waiting = waiting
		for i := range g.upstreams {
			g.upstreams[i].quota.Saturate(now, waiting)
		}
	}
}

// try answers the fair queue whether a head can run, and where.
func (s *search) try(it *fairqueue.Item, overdue bool) fairqueue.Verdict {
	g, e := s.gate, it.Owner.(*entry)
	refill := uint64(0) // upstreams that time will open
	soonest := time.Time{}
	seats, leaves := false, false
	for _, u := range g.routes[e.ask.Route].Upstreams {
		bit := uint64(1) << u
		if (e.failed|e.tooLarge)&bit != 0 || !g.ready(s.now, u) {
			continue
		}
		refill |= bit
		if s.all&bit == 0 {
			seats, e.reason = true, flow.ReasonSeats
		} else if s.held&bit == 0 {
			at, why, kept := s.next(it, u, overdue)
			if !at.After(s.now) && !at.IsZero() {
				return s.run(e, u)
			}
			leaves = leaves || kept
			e.reason, soonest = why, earlier(soonest, at)
		} else {
			e.reason = flow.ReasonTurn
		}
		if !e.spill {
			break // in order of preference: later ones only after a failure
		}
	}
	if leaves {
		g.wake = earlier(g.wake, soonest)
		return fairqueue.Pass
	}
	return s.blocked(e, refill, soonest, overdue || seats)
}

// next is when a head fits an upstream, and why not now. A flow that keeps several
// requests going leaves something for those who do not, unless it is overdue; kept
// says that this alone is what it waits for.
func (s *search) next(it *fairqueue.Item, u int, overdue bool) (at time.Time, why flow.Reason, kept bool) {
	q, need := s.gate.upstreams[u].quota, s.gate.need(u, it.Owner.(*entry))
	at, why = q.Next(s.now, need)
	if it.Modest() || overdue || at.IsZero() || at.After(s.now) {
		return at, why, false
	}
	at, why = q.NextKeeping(s.now, need, keepForModest)
	return at, why, at.After(s.now)
}

// spare finds who may have an upstream for which no head in the fair order waits.
func (s *search) spare() *fairqueue.Item {
	g := s.gate
	if len(g.upstreams) == 1 {
		return nil
	}
	free := s.all &^ s.held &^ s.want & g.wanted(s.now)
	for free != 0 {
		it := g.queue.Spare(func(it *fairqueue.Item) bool {
			e := it.Owner.(*entry)
			return e.state == queued && g.prefers(s.now, e)&free != 0
		})
		if it == nil {
			return nil
		}
		e := it.Owner.(*entry)
		mine := g.prefers(s.now, e) & free
		for _, u := range g.routes[e.ask.Route].Upstreams {
			if mine&(1<<u) == 0 {
				continue
			}
			at, why := g.upstreams[u].quota.Next(s.now, g.need(u, e))
			if !at.After(s.now) && !at.IsZero() {
				s.pick = u
				return it
			}
			e.reason, g.wake = why, earlier(g.wake, at)
		}
		free &^= mine // it is the next there, and waits
	}
	return nil
}

// wanted is the set of upstreams to which routes with waiting requests lead.
func (g *Gate) wanted(now time.Time) uint64 {
	set := uint64(0)
	for r, n := range g.lines {
		if n > 0 {
			set |= g.prefers(now, &entry{ask: Ask{Route: r}, spill: g.routes[r].Spill})
		}
	}
	return set
}

// prefers is the set of upstreams that the entry may use now.
func (g *Gate) prefers(now time.Time, e *entry) uint64 {
	set := uint64(0)
	for _, u := range g.routes[e.ask.Route].Upstreams {
		if (e.failed|e.tooLarge)&(1<<u) != 0 || !g.ready(now, u) {
			continue
		}
		set |= 1 << u
		if !e.spill {
			break
		}
	}
	return set
}

// run answers that the head fits. A kept place has nobody to run for: it is taken
// out, to be first again when its client comes back.
func (s *search) run(e *entry, u int) fairqueue.Verdict {
	if e.state == kept {
		s.gate.turned = append(s.gate.turned, e)
		return fairqueue.Pass
	}
	s.pick = u
	return fairqueue.Run
}

// blocked answers for a head that cannot run now.
func (s *search) blocked(e *entry, refill uint64, soonest time.Time, hold bool) fairqueue.Verdict {
	g := s.gate
	if refill == 0 {
		e.reason = flow.ReasonBreaker
		g.parked = append(g.parked, e)
		for _, u := range g.routes[e.ask.Route].Upstreams {
			g.unpark = earlier(g.unpark, g.upstreams[u].breaker.NextProbe(s.now))
		}
		return fairqueue.Park
	}
	s.want |= refill
	g.wake = earlier(g.wake, soonest)
	if s.first == nil && !soonest.IsZero() {
		s.first, s.fits = e, soonest
	}
	if hold || !soonest.IsZero() && soonest.Sub(s.now) <= blockFor {
		s.held |= refill
	}
	if s.all&^s.held == 0 {
		return fairqueue.Stop
	}
	return fairqueue.Pass
}

// ready reports whether the breaker lets a request through.
func (g *Gate) ready(now time.Time, u int) bool { return g.upstreams[u].breaker.Ready(now) }

// primary is the upstream that the entry would use first, or -1.
func (g *Gate) primary(now time.Time, e *entry) int {
	for _, u := range g.routes[e.ask.Route].Upstreams {
		if (e.failed|e.tooLarge)&(1<<u) == 0 && g.ready(now, u) {
			return u
		}
	}
	return -1
}

// takeAway removes the kept places whose turn has come from the order, and reports
// whether there were any.
func (g *Gate) takeAway() bool {
	some := len(g.turned) > 0
	for i, e := range g.turned {
		if e.item.Waiting() {
			g.queue.Remove(&e.item)
			g.lines[e.ask.Route]--
			e.away = true
		}
		g.turned[i] = nil
	}
	g.turned = g.turned[:0]
	return some
}

// dispatch reserves all that the request takes and grants it; false if it cannot.
func (g *Gate) dispatch(now time.Time, e *entry, u int, spare bool) bool {
	up := &g.upstreams[u]
	need := g.need(u, e)
	r, ok := up.quota.Reserve(now, need)
	pass, allowed := up.breaker.Allow(now)
	if !ok || !allowed {
		// The search asked both a moment ago, and nothing has changed since: this is a
		// defect of theirs, and must neither stop the pool nor spin.
		if ok {
			up.quota.Cancel(now, r)
		}
		g.wake = earlier(g.wake, now.Add(time.Second))
		return false
	}
	wait := now.Sub(e.arrived)
	if wait > 0 {
		up.mix.learn(up.quota, e.reason)
	}
	if cost := g.costAt(e, u); cost > 0 {
		g.queue.Recost(&e.item, cost)
	}
	if spare {
		g.queue.DispatchSpare(&e.item)
	} else {
		g.queue.Dispatch(&e.item)
	}
	g.lines[e.ask.Route]--
	e.class.starts.add(now)
	g.due.remove(e)
	e.state, e.upstream, e.reserved, e.grant, e.pass, e.since = running, u, need, r, pass, now
	e.attempts++
	e.waited += wait
	if e.attempts == 1 && e.expected > 0 {
		e.class.quotes.learn(e.expected, wait.Seconds())
	}
	reason := e.reason
	if wait == 0 {
		reason = flow.ReasonNone
	}
	g.actions = append(g.actions, Action{Kind: Dispatch, ID: e.id, Grant: Grant{
		Upstream: u, Attempt: e.attempts, Waited: e.waited, Size: e.size,
		ETA: e.p50, ETAP90: e.p90, Reason: reason,
	}})
	return true
}
