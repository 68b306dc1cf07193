package gate

import (
	"math/bits"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
)

// search is one look through the heads. Its fields are the answers of try.
type search struct {
	gate *Gate
	pool *pool
	now  time.Time
	held uint64 // upstreams that an earlier head holds
	all  uint64 // upstreams that can have room at all
	want uint64 // upstreams that a head in the fair order waits for
	pick int    // where the head that can run goes

	first *entry // the first head that refill will help, and when
	fits  time.Time
	after int // heads that wait for an upstream
}

// pump dispatches all that can run now and notes when more may.
func (p *pool) pump(now time.Time) {
	p.dirty, p.wake = false, time.Time{}
	p.unblock(now)
	p.reprice(now)
	for p.queue.Len() > 0 {
		p.wake = time.Time{}
		p.rates(now)
		p.searches++
		s := search{gate: p.gate, pool: p, now: now, all: p.open()}
		s.held = ^s.all
		it, spare := p.queue.Next(s.try), false
		if p.takeAway() && it == nil {
			continue // who stood behind a kept place is next
		}
		if it == nil {
			if p.accrue(&s) || p.unshelve(&s) {
				continue
			}
			if it = s.spare(); it == nil {
				break
			}
			spare = true
		}
		if !p.dispatch(now, it.Owner.(*entry), s.pick, spare) {
			break
		}
	}
	p.saturate(now)
	if p.waiting {
		p.tell(now)
	}
}

// accrue counts what has been saved up for the first blocked head as served, and
// reports whether that made others eligible. They may pass it: the fluid system
// would serve them meanwhile.
func (p *pool) accrue(s *search) bool {
	e := s.first
	if e == nil || !e.item.Waiting() {
		return false
	}
	if p.queue.Accrue(&e.item, e.item.Cost-s.fits.Sub(s.now).Seconds()) {
		return true
	}
	if more, ok := p.queue.Accrual(); ok {
		p.wake = earlier(p.wake, s.now.Add(seconds(more)+time.Millisecond))
	}
	return false
}

// unshelve puts a few tasks back into the order that waited for others to end, as long
// as more may run and not many heads are known to wait for the upstreams.
func (p *pool) unshelve(s *search) bool {
	if s.after == 0 {
		p.back = 0 // whoever was put back is gone
	}
	most := maxAfter - max(s.after, p.back)
	if p.queue.Shelved() == 0 || p.gate.tasks >= p.gate.options.Tasks || most <= 0 {
		return false
	}
	p.putBack(most)
	return true
}

// putBack puts so many tasks back into the order. No more are than may soon run: whoever
// asks and waits would be told to stand behind all of them.
func (p *pool) putBack(most int) {
	before := p.queue.Shelved()
	p.queue.Unshelve(most)
	p.back += before - p.queue.Shelved()
}

// unblock puts parked heads back where an event or time may have helped them.
func (p *pool) unblock(now time.Time) {
	if !p.resume && (p.unpark.IsZero() || p.unpark.After(now)) {
		return
	}
	p.resume, p.unpark = false, time.Time{}
	for i, e := range p.parked {
		if e.item.Waiting() {
			p.queue.Resume(&e.item)
		}
		p.parked[i] = nil
	}
	p.parked = p.parked[:0]
	p.putBack(1)
	p.unhalt(now, nil)
}

// rates takes the classes out of the order whose rate is used up or that are paused,
// and puts them back when they are not.
func (p *pool) rates(now time.Time) {
	for _, c := range p.gate.limited {
		at := c.next()
		held := at.After(now)
		if c.held && !held {
			c.freed = now
		}
		c.held = held
		p.queue.Stop(c.name, held || c.paused)
		p.gate.turn(now, c, c.shut())
		if waiting, _ := p.queue.Waiting(flow.Key{Class: c.name}); held && waiting > 0 && !c.paused {
			p.wake = earlier(p.wake, at)
		}
	}
}

// open is the set of upstreams with a free seat.
func (p *pool) open() uint64 {
	set := uint64(0)
	for left := p.members; left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		if used, most := p.gate.upstreams[i].quota.Seats(); most == 0 || used < most {
			set |= 1 << i
		}
	}
	return set
}

// saturate tells the quotas whether anyone waits.
func (p *pool) saturate(now time.Time) {
	if waiting := p.queue.Len() > 0; waiting != p.waiting {
		p.waiting = waiting
		for left := p.members; left != 0; left &= left - 1 {
			p.gate.upstreams[bits.TrailingZeros64(left)].quota.Saturate(now, waiting)
		}
	}
}

// try answers the fair queue whether a head can run, and where.
func (s *search) try(it *fairqueue.Item, overdue bool) fairqueue.Verdict {
	g, e := s.gate, it.Owner.(*entry)
	if g.tasksFull(e) {
		e.reason = flow.ReasonTasks
		s.pool.back = 0
		return fairqueue.Shelve
	}
	if at, held := e.tenant.next(s.now, e); held {
		return s.halt(e, at)
	}
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
			s.keeps(u, e.reason)
		} else if s.held&bit == 0 {
			at, why, kept := s.next(it, u, overdue)
			if !at.After(s.now) && !at.IsZero() {
				return s.run(e, u)
			}
			leaves = leaves || kept
			e.reason, soonest = why, earlier(soonest, at)
			s.keeps(u, why)
		} else {
			e.reason = flow.ReasonTurn
		}
		if !e.spill {
			break // in order of preference: later ones only after a failure
		}
	}
	if leaves {
		s.pool.wake = earlier(s.pool.wake, soonest)
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
	g, p := s.gate, s.pool
	if bits.OnesCount64(p.members) == 1 {
		return nil
	}
	free := s.all &^ s.held &^ s.want & p.wanted(s.now)
	for free != 0 {
		it := p.queue.Spare(func(it *fairqueue.Item) bool {
			e := it.Owner.(*entry)
			_, held := e.tenant.next(s.now, e)
			return e.state == queued && !held && !g.tasksFull(e) && g.prefers(s.now, e)&free != 0
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
			e.reason, p.wake = why, earlier(p.wake, at)
		}
		free &^= mine // it is the next there, and waits
	}
	return nil
}

// wanted is the set of upstreams to which routes with waiting requests lead.
func (p *pool) wanted(now time.Time) uint64 {
	g, set := p.gate, uint64(0)
	for r, n := range g.lines {
		if n > 0 && g.homes[r] == p {
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
		s.pool.turned = append(s.pool.turned, e)
		return fairqueue.Pass
	}
	s.pick = u
	return fairqueue.Run
}

// blocked answers for a head that cannot run now.
func (s *search) blocked(e *entry, refill uint64, soonest time.Time, hold bool) fairqueue.Verdict {
	g := s.gate
	if refill == 0 {
		at := time.Time{}
		for _, u := range g.routes[e.ask.Route].Upstreams {
			at = earlier(at, g.upstreams[u].breaker.NextProbe(s.now))
		}
		return s.park(e, at, flow.ReasonBreaker)
	}
	s.after++
	s.want |= refill
	s.pool.wake = earlier(s.pool.wake, soonest)
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

// park takes a head out of the order that only an event can help, or the time at.
func (s *search) park(e *entry, at time.Time, why flow.Reason) fairqueue.Verdict {
	p := s.pool
	e.reason = why
	if len(p.parked) > 2*p.queue.Len()+64 { // most of them have left by themselves
		p.parked = slices.DeleteFunc(p.parked, func(e *entry) bool { return !e.item.Waiting() })
	}
	p.parked = append(p.parked, e)
	p.unpark = earlier(p.unpark, at)
	return fairqueue.Park
}

// halt takes a tenant of the class out of the order, whose next request is beyond the
// tenant's own quota.
func (s *search) halt(e *entry, at time.Time) fairqueue.Verdict {
	p := s.pool
	if e.ask.Task {
		p.back = 0 // the others of its tenant stand still with it
	}
	e.tenant.within(e.class).turn(e.class.open(s.now), flow.ReasonTenant)
	p.halted = append(p.halted, halted{e.tenant, e.class.name, e})
	p.unpark = earlier(p.unpark, at)
	return fairqueue.ParkTenant
}

// unhalt puts what was halted of a tenant, or of all if it is nil, back into the order.
func (p *pool) unhalt(now time.Time, t *tenant) {
	p.halted = slices.DeleteFunc(p.halted, func(h halted) bool {
		if t != nil && h.tenant != t {
			return false
		}
		h.tenant.freed, p.dirty = now, true
		if !p.gate.halts(p, h) {
			h.tenant.within(h.head.class).turn(h.head.class.open(now), flow.ReasonNone)
		}
		p.queue.StopTenant(h.class, h.tenant.options.Name, false)
		return true
	})
}

// halts reports whether another pool keeps the same tenant of the same class waiting.
func (g *Gate) halts(but *pool, h halted) bool {
	return slices.ContainsFunc(g.pools, func(p *pool) bool {
		return p != but && slices.ContainsFunc(p.halted, func(o halted) bool { return o.tenant == h.tenant && o.class == h.class })
	})
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
func (p *pool) takeAway() bool {
	some := len(p.turned) > 0
	for i, e := range p.turned {
		if e.item.Waiting() {
			p.take(e)
			e.away = true
		}
		p.turned[i] = nil
	}
	p.turned = p.turned[:0]
	return some
}

// dispatch reserves all that the request takes and grants it; false if it cannot.
func (p *pool) dispatch(now time.Time, e *entry, u int, spare bool) bool {
	g := p.gate
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
		p.wake = earlier(p.wake, now.Add(time.Second))
		return false
	}
	wait := now.Sub(e.arrived)
	if wait > 0 {
		up.mix.learn(up.quota, e.reason)
	}
	if cost := g.costAt(e, u); cost > 0 {
		p.queue.Recost(&e.item, cost)
	}
	if spare {
		p.queue.DispatchSpare(&e.item)
	} else {
		p.queue.Dispatch(&e.item)
	}
	g.count(e, -1)
	e.class.start(now)
	e.tenant.reserve(now, e)
	if e.ask.Task {
		g.runTasks(1)
		p.back = max(p.back-1, 0)
	}
	g.due.remove(e)
	e.run = len(g.runs)
	g.runs = append(g.runs, e)
	e.state, e.upstream, e.reserved, e.grant, e.pass, e.since = running, u, need, r, pass, now
	e.booked = p.queue
	e.attempts++
	e.waited += wait
	e.waits = e.waits.Fit(e.waited) // while a kept place was away no clock was read; what is told of it stands
	if e.attempts == 1 && e.expected > 0 {
		e.class.quotes.learn(e.expected, wait.Seconds())
	}
	g.grant(e, wait)
	return true
}

// grant tells that the request may run now.
func (g *Gate) grant(e *entry, wait time.Duration) {
	reason := e.reason
	switch {
	case wait == 0:
		reason = flow.ReasonNone
	case e.class.freed.Equal(e.since): // it starts at the very moment at which the rate allows it
		reason = flow.ReasonRate
	case e.tenant.freedAt(e.since):
		reason = flow.ReasonTenant
	}
	g.actions = append(g.actions, Action{Kind: Dispatch, ID: e.id, Grant: Grant{
		Upstream: e.upstream, Attempt: e.attempts, Waited: e.waited, Size: e.size,
		ETA: e.p50, ETAP90: e.p90, Reason: reason, Waits: e.waits, Probe: e.pass.Probe(),
	}})
}
