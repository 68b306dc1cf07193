package gate

import (
	"slices"
	"time"

	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
)

// pool is a group of upstreams that routes connect, with the queue of all who
// want one of them. Requests of different pools never wait for each other, but
// where they share a class's rate, a tenant's quota or the bound on tasks.
type pool struct {
	gate    *Gate
	members uint64 // its upstreams
	queue   *fairqueue.Queue
	parked  []*entry // heads that only an event can help
	halted  []halted // tenants that their own quota keeps waiting
	turned  []*entry // kept places whose turn came in the running search

	searches int // looks through the heads so far
	back     int // tasks put back into the order, and not seen since, at most

	checked time.Time // when the prices of those who wait were last looked at
	wake    time.Time // of the last search: when a blocked head will fit
	unpark  time.Time // when a parked head may be helped by time
	resume  bool      // an event may have helped a parked head
	dirty   bool      // something changed since the last search
	waiting bool      // what the quotas were last told
}

// halted is a tenant within a class, and the head that did not fit.
type halted struct {
	tenant *tenant
	class  flow.Class
	head   *entry
}

// touched reports whether a search may find something new.
func (p *pool) touched(now time.Time) bool {
	at := p.next()
	return p.dirty || p.resume || !at.IsZero() && !at.After(now)
}

// next is when time alone may change something here; the zero time means never.
func (p *pool) next() time.Time {
	if len(p.parked)+len(p.halted) == 0 {
		return p.wake
	}
	return earlier(p.wake, p.unpark)
}

// push puts an entry at the end of its flow's line.
func (p *pool) push(e *entry) {
	e.item.Owner = e
	p.queue.Push(e.ask.Flow, &e.item, e.rank())
	p.gate.count(e, 1)
	p.dirty = true
}

// rank orders the requests of one flow: who asks and waits goes before his own tasks,
// which would else hold him up where no more of them may run.
func (e *entry) rank() int64 {
	if e.ask.Task {
		return 1
	}
	return 0
}

// restore puts an entry that had left the queue at the head of its flow's line.
func (p *pool) restore(e *entry) {
	p.queue.Return(e.ask.Flow, &e.item)
	p.gate.count(e, 1)
	p.dirty = true
}

// take takes a waiting entry out of the queue. Those whom it halted may fit where it
// did not.
func (p *pool) take(e *entry) {
	p.queue.Remove(&e.item)
	if e.ask.Task {
		p.back = max(p.back-1, 0)
	}
	p.gate.count(e, -1)
	p.dirty = true
	p.resume = p.resume || slices.ContainsFunc(p.halted, func(h halted) bool { return h.head == e })
}

// line counts who waits for something that all groups of upstreams share.
type line struct{ waiting, arrived int }

// join gives a newcomer its number.
func (l *line) join() int {
	l.arrived++
	return l.arrived
}

// before is how many of those that wait came before the number.
func (l *line) before(number int) int { return max(l.waiting-1-(l.arrived-number), 0) }

// count notes that an entry joins a queue, or leaves it.
func (g *Gate) count(e *entry, by int) {
	g.lines[e.ask.Route] += by
	if tenant := e.ask.Flow.Tenant; e.ask.Task {
		g.taskLine.waiting += by
		if g.own[e.ask.Flow] += by; g.own[e.ask.Flow] == 0 {
			delete(g.own, e.ask.Flow)
		}
	} else if g.crowds[tenant] += by; g.crowds[tenant] == 0 {
		delete(g.crowds, tenant)
	}
	if e.tenant != nil {
		e.tenant.line.waiting += by
	}
	if by > 0 {
		e.class.join(e)
		g.mark(e)
	} else if by < 0 {
		g.fold(e)
		e.class.part(e)
	}
}

// join puts an entry into the class's line, by arrival.
func (c *class) join(e *entry) {
	at := c.before(e)
	c.near = e
	e.older, e.newer = at, c.first
	if at != nil {
		e.newer, at.newer = at.newer, e
	} else {
		c.first = e
	}
	if e.newer != nil {
		e.newer.older = e
	} else {
		c.last = e
	}
}

// before is after whom an entry belongs: almost always the last, or next to the one that
// joined before it.
func (c *class) before(e *entry) *entry {
	at := c.last
	if c.near != nil && at.arrived.After(e.arrived) {
		at = c.near
		for at.newer != nil && !at.newer.arrived.After(e.arrived) {
			at = at.newer
		}
	}
	for at != nil && at.arrived.After(e.arrived) {
		at = at.older
	}
	return at
}

// part takes an entry out of the class's line.
func (c *class) part(e *entry) {
	if c.near == e {
		c.near = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		c.first = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		c.last = e.older
	}
	e.older, e.newer = nil, nil
}
