package gate

import (
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// keepFor is how long a place is kept beyond the Retry-After of the answer that
// ended the hold.
const keepFor = 10 * time.Second

// schedule sets the time at which the entry needs attention without any event: its
// hold ends, or it may use later upstreams.
func (g *Gate) schedule(e *entry) {
	at := e.ask.Hold
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
		case !e.ask.Hold.After(now):
			g.holdEnded(now, e)
		default: // it may spill from now on
			e.spill = true
			g.queue.Resume(&e.item)
			g.schedule(e)
		}
	}
}

// holdEnded evicts an entry whose client cannot be held any longer. If the client
// can be recognized when it asks again, its place is kept.
func (g *Gate) holdEnded(now time.Time, e *entry) {
	_, wait := g.expect(now, e)
	p50, p90 := e.class.quotes.quote(wait)
	retry := min(max(p50, time.Second), 59*time.Second)
	g.actions = append(g.actions, Action{Kind: Evict, ID: e.id, Refusal: &Refusal{
		Err: flow.ErrHold, RetryAfter: retry, ETA: p90, Reason: e.reason,
	}})
	name := placeName(&e.ask)
	if name == "" || g.places[name] != nil {
		g.remove(e)
		return
	}
	e.state, e.placeName = kept, name
	g.places[name] = e
	g.due.set(e, now.Add(retry+keepFor))
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
	if ask.Place == "" || len(g.places) == 0 || g.draining {
		return nil
	}
	ask.Flow.Class = g.class(ask.Flow.Class).name
	e := g.places[placeName(ask)]
	if e == nil || e.ask.Route != ask.Route {
		return nil
	}
	g.forget(e)
	e.id, e.state = id, queued
	e.ask.Hold = ask.Hold
	if bound := now.Add(g.options.Hold); e.ask.Hold.IsZero() || e.ask.Hold.After(bound) {
		e.ask.Hold = bound
	}
	g.entries[id] = e
	if e.away {
		e.away = false
		g.lines[e.ask.Route]++
		g.queue.Return(e.ask.Flow, &e.item)
	} else {
		g.queue.Resume(&e.item)
	}
	g.schedule(e)
	return e
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
