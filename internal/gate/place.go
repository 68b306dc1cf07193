package gate

import (
	"math"
	"time"

	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
)

// linger is how long the place of a client is kept that left without a word: as
// long as the SDKs wait before they ask again.
const linger = 3 * time.Second

// keepFor is how long a place is kept beyond the Retry-After of the answer that
// ended the hold.
const keepFor = 10 * time.Second

// schedule sets the time at which the entry needs attention without any event: its
// hold ends, or it may use later upstreams.
func (g *Gate) schedule(e *entry) {
	at := earlier(e.ask.Hold, e.retryAt)
	if route := g.routes[e.ask.Route]; route.Spill && !e.spill && len(route.Upstreams) > 1 {
		at = earlier(at, e.arrived.Add(route.SpillAfter))
	}
	g.due.set(e, at)
}

// expire handles all entries whose time has come.
func (g *Gate) expire(now time.Time) {
	for len(g.due) > 0 && !g.due[0].dueAt.After(now) {
		e := g.due[0]
		switch {
		case e.state == kept:
			g.remove(e)
		case e.refusal != nil:
			e.refusal.Waits = g.shares(now, e)
			g.actions = append(g.actions, Action{Kind: Evict, ID: e.id, Refusal: e.refusal})
			g.remove(e)
		case !e.ask.Hold.After(now):
			g.holdEnded(now, e)
		case !e.retryAt.IsZero() && !e.retryAt.After(now):
			e.failed, e.retryAt = e.failed&^(1<<e.upstream), time.Time{}
			g.forgive(e)
			e.pool.queue.Resume(&e.item)
			g.schedule(e)
		default: // it may spill from now on
			e.spill = true
			e.pool.queue.Resume(&e.item)
			g.schedule(e)
		}
		e.pool.dirty = true
	}
}

// holdEnded evicts an entry whose client cannot be held any longer. If the client
// can be recognized when it asks again, its place is kept.
func (g *Gate) holdEnded(now time.Time, e *entry) {
	_, wait, why := g.expect(now, e)
	p50, p90 := e.class.quotes.quote(wait)
	retry := min(max(p50, time.Second), 59*time.Second)
	if math.IsInf(wait, 1) {
		p90 = 0
	}
	g.actions = append(g.actions, Action{Kind: Evict, ID: e.id, Refusal: &Refusal{
		Err: flow.ErrHold, RetryAfter: retry, ETA: p90, Reason: why, Waits: g.shares(now, e),
	}})
	g.keep(e, now.Add(retry+keepFor))
}

// keep keeps the place of an entry whose client has gone, if it can be recognized
// when it asks again.
func (g *Gate) keep(e *entry, until time.Time) {
	name := placeName(&e.ask)
	if name == "" || g.places[name] != nil {
		g.remove(e)
		return
	}
	e.state, e.placeName = kept, name
	g.places[name] = e
	g.due.set(e, until)
}

// abandon ends the wait of a request whose client left without a word.
func (g *Gate) abandon(now time.Time, id uint64) {
	e := g.entries[id]
	if e == nil || e.state != queued {
		g.late++
		return
	}
	e.pool.dirty = true
	g.keep(e, now.Add(linger))
}

// adjust says whose request it is from now on, and until when it can be held. A
// flow that takes over a running one pays for it instead of the other.
func (g *Gate) adjust(now time.Time, id uint64, to *Ask) {
	e := g.entries[id]
	if e == nil || e.state == kept {
		g.late++
		return
	}
	if from := e.ask.Flow; from != to.Flow {
		g.pass(e, to.Flow)
	}
	e.ask.Hold = g.held(now, e, to.Hold)
	if e.state == queued {
		g.schedule(e)
	}
}

// pass makes an entry another flow's.
func (g *Gate) pass(e *entry, to flow.Key) {
	if e.state == running {
		e.ask.Flow = flow.Key{Class: e.class.name, Tenant: to.Tenant, User: to.User} // its class has counted the start
		if e.booked == e.pool.queue {
			e.booked.Transfer(&e.item, e.ask.Flow)
		}
		return
	}
	e.pool.take(e)
	e.ask.Flow = to
	g.belong(e)
	e.pool.push(e)
}

// placeName is the name under which a place is kept; "" if it cannot be.
func placeName(a *Ask) string {
	if a.Place == "" {
		return ""
	}
	return a.Flow.String() + "\x00" + a.Place
}

// adopt gives a kept place to the request that comes back for it.
func (g *Gate) adopt(now time.Time, id uint64, ask *Ask) *entry {
	if ask.Place == "" || g.draining || len(g.places) == 0 && !ask.Retry {
		return nil
	}
	ask.Flow.Class = g.class(ask.Flow.Class).name
	e := g.places[placeName(ask)]
	if e == nil && ask.Retry {
		e = g.twin(ask)
	}
	if e == nil || e.ask.Route != ask.Route {
		return nil
	}
	if e.state == queued {
		g.actions = append(g.actions, Action{Kind: Evict, ID: e.id, Refusal: &Refusal{Err: flow.ErrReplaced}})
	}
	g.forget(e)
	e.id, e.state, e.ask.Task = id, queued, ask.Task
	e.ask.Hold = g.held(now, e, ask.Hold)
	g.entries[id] = e
	if e.away {
		e.away = false
		e.pool.restore(e)
	} else {
		e.pool.queue.Resume(&e.item)
	}
	e.pool.dirty = true
	g.schedule(e)
	return e
}

// twin is the waiting request of the same flow and place: its client has given it
// up, or it would not ask again. Where several wait nobody knows whose client that is:
// none of them is, for the others' clients are still there.
func (g *Gate) twin(ask *Ask) *entry {
	if ask.Route < 0 || ask.Route >= len(g.homes) {
		return nil
	}
	var found *entry
	several := false
	g.homes[ask.Route].queue.Each(ask.Flow, func(it *fairqueue.Item) {
		if e := it.Owner.(*entry); e.state == queued && e.ask.Place == ask.Place {
			found, several = e, found != nil
		}
	})
	if several {
		return nil
	}
	return found
}

// dueHeap is a binary heap of entries by dueAt; each knows its place in it.
type dueHeap []*entry

func (h *dueHeap) set(e *entry, at time.Time) {
	e.dueAt = at
	if e.dueIndex < 0 {
		e.dueIndex = len(*h)
		*h = append(*h, e)
	}
	h.up(e.dueIndex)
	h.down(e.dueIndex)
}

func (h *dueHeap) remove(e *entry) {
	i, last := e.dueIndex, len(*h)-1
	if i < 0 {
		return
	}
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	e.dueIndex = -1
	if i != last {
		h.up(i)
		h.down(i)
	}
}

func (h dueHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].dueIndex, h[j].dueIndex = i, j
}

func (h dueHeap) up(i int) {
	for i > 0 && h[i].dueAt.Before(h[(i-1)/2].dueAt) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h dueHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].dueAt.Before(h[child].dueAt) {
			child++
		}
		if !h[child].dueAt.Before(h[i].dueAt) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
