package gate

import (
	"math/bits"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// clock sums up for how long something was shut, by what shut it; ReasonNone while
// it is open.
type clock struct {
	sums  flow.Waits
	why   flow.Reason
	since time.Time
}

// turn says why it is shut from now on.
func (c *clock) turn(now time.Time, why flow.Reason) {
	if why != c.why {
		c.sums, c.why, c.since = c.read(now), why, now
	}
}

// read is what the clock shows.
func (c *clock) read(now time.Time) flow.Waits {
	if c.since.IsZero() {
		return flow.Waits{} // it was never shut, like most
	}
	sums := c.sums
	if c.why != flow.ReasonNone {
		sums.Add(c.why, now.Sub(c.since))
	}
	return sums
}

// of is the part of one reason.
func (c *clock) of(now time.Time, why flow.Reason) time.Duration {
	if c.since.IsZero() {
		return 0
	}
	sum := c.sums.Of(why)
	if c.why == why {
		sum += now.Sub(c.since)
	}
	return sum
}

// total is all of it.
func (c *clock) total(now time.Time) time.Duration {
	if c.since.IsZero() {
		return 0
	}
	sum := c.sums.Total()
	if c.why != flow.ReasonNone {
		sum += now.Sub(c.since)
	}
	return sum
}

// mark is what an entry's clocks showed when it joined the queue. What holds it up is
// asked from the outside in: its class, then its tenant, then the bound on tasks, then
// the upstream. The clocks of the tenant and of the tasks stand still while the class is
// shut, so that no time counts twice.
type mark struct {
	retry        time.Time     // until when a failure keeps it from the only upstream it has left
	at           time.Time     // zero: it stands in no queue
	rate, paused time.Duration // of the class
	tenant       time.Duration
	tasks        time.Duration
	upstream     int
	quota        flow.Waits
}

// turn turns the clock of a class.
func (g *Gate) turn(now time.Time, c *class, why flow.Reason) {
	switch was := c.clock.why; {
	case was == why:
		return
	case was == flow.ReasonNone:
		c.full = g.crammed(now, c)
	case why == flow.ReasonNone:
		c.fullFrom = g.taskClock.total(now)
	}
	c.clock.turn(now, why)
}

// crammed is for how long as many tasks ran as may while nothing kept the class from
// starting.
func (g *Gate) crammed(now time.Time, c *class) time.Duration {
	if c.clock.why != flow.ReasonNone {
		return c.full
	}
	return c.full + g.taskClock.total(now) - c.fullFrom
}

// open is the time on the clock of a tenant within the class.
func (c *class) open(now time.Time) time.Time {
	return now.Add(-c.clock.total(now))
}

// within is the clock of the tenant within a class.
func (t *tenant) within(c *class) *clock {
	if t.clocks == nil {
		t.clocks = make(map[flow.Class]*clock)
	}
	if t.clocks[c.name] == nil {
		t.clocks[c.name] = &clock{}
	}
	return t.clocks[c.name]
}

// mark reads the clocks for an entry that joins the queue.
func (g *Gate) mark(e *entry) {
	m, c := &e.mark, &e.class.clock
	m.at, m.retry = g.now, e.retryAt
	m.rate, m.paused = c.of(g.now, flow.ReasonRate), c.of(g.now, flow.ReasonPaused)
	m.tenant, m.tasks = e.tenant.stood(g.now, e.class), g.crammed(g.now, e.class)
	if m.upstream = g.primary(g.now, e); m.upstream < 0 {
		m.upstream = g.routes[e.ask.Route].Upstreams[0]
	}
	if !e.retryAt.IsZero() {
		m.upstream = e.upstream // there it will be tried again
	}
	m.quota = g.upstreams[m.upstream].clock.read(g.now)
}

// stood is for how long the tenant's own limits kept it out of a class's order.
func (t *tenant) stood(now time.Time, c *class) time.Duration {
	if t == nil {
		return 0
	}
	return t.within(c).total(c.open(now))
}

// runTasks counts tasks that start or end.
func (g *Gate) runTasks(by int) {
	g.tasks += by
	why := flow.ReasonNone
	if most := g.options.Tasks; most > 0 && g.tasks >= most {
		why = flow.ReasonTasks
	}
	g.taskClock.turn(g.now, why)
}

// shares is what an entry has waited for so far, in this waiting and those before.
func (g *Gate) shares(now time.Time, e *entry) flow.Waits {
	sum, m, left := e.waits, &e.mark, now.Sub(e.mark.at)
	if m.at.IsZero() || left <= 0 {
		return sum
	}
	take := func(why flow.Reason, d time.Duration) {
		if d = min(d, left); d > 0 {
			sum.Add(why, d)
			left -= d
		}
	}
	take(flow.ReasonRate, e.class.clock.of(now, flow.ReasonRate)-m.rate)
	take(flow.ReasonPaused, e.class.clock.of(now, flow.ReasonPaused)-m.paused)
	take(flow.ReasonTenant, e.tenant.stood(now, e.class)-m.tenant)
	if e.ask.Task {
		take(flow.ReasonTasks, g.crammed(now, e.class)-m.tasks)
	}
	if until := earlier(m.retry, now); until.After(m.at) && !m.retry.IsZero() {
		take(flow.ReasonBreaker, until.Sub(m.at))
	}
	quota := g.upstreams[m.upstream].clock.read(now)
	quota = quota.Minus(m.quota)
	if known := quota.Total(); known > left {
		quota = quota.Fit(left) // the rest passed while it was shut further out
	} else {
		quota.Add(flow.ReasonTurn, left-known)
	}
	return sum.Plus(quota)
}

// fold adds up what an entry has waited for that leaves the queue.
func (g *Gate) fold(e *entry) {
	if g.now.After(e.mark.at) {
		e.waits = g.shares(g.now, e)
	}
	e.mark.at = time.Time{}
}

// tell turns the clocks of the pool's upstreams to what its last search found.
func (p *pool) tell(now time.Time) {
	for left := p.members; left != 0; left &= left - 1 {
		u := bits.TrailingZeros64(left)
		up := &p.gate.upstreams[u]
		why := flow.ReasonNone
		switch {
		case !p.gate.ready(now, u):
			why = flow.ReasonBreaker
		case up.asked == p.searches:
			why = up.why
		}
		up.clock.turn(now, why)
	}
}

// keeps notes what keeps a head from an upstream: of the first, for it is next there.
func (s *search) keeps(u int, why flow.Reason) {
	if up := &s.gate.upstreams[u]; up.asked != s.pool.searches {
		up.asked, up.why = s.pool.searches, why
	}
}
