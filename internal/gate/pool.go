package gate

import (
	"time"

	"github.com/millrace/millrace/internal/fairqueue"
)

// pool is a group of upstreams that routes connect, with the queue of all who
// want one of them. Requests of different pools never wait for each other, but
// where they share a class's rate, a tenant's quota or the bound on tasks.
type pool struct {
	gate    *Gate
	members uint64 // its upstreams
	queue   *fairqueue.Queue
	parked  []*entry // heads that only an event can help
	turned  []*entry // kept places whose turn came in the running search

	wake    time.Time // of the last search: when a blocked head will fit
	unpark  time.Time // when a parked head may be helped by time
	resume  bool      // an event may have helped a parked head
	dirty   bool      // something changed since the last search
	waiting bool      // what the quotas were last told
}

// touched reports whether a search may find something new.
func (p *pool) touched(now time.Time) bool {
	at := p.next()
	return p.dirty || p.resume || !at.IsZero() && !at.After(now)
}

// next is when time alone may change something here; the zero time means never.
func (p *pool) next() time.Time {
	if len(p.parked) == 0 {
		return p.wake
	}
	return earlier(p.wake, p.unpark)
}

// push puts an entry at the end of its flow's line.
func (p *pool) push(e *entry) {
	e.item.Owner = e
	p.queue.Push(e.ask.Flow, &e.item, 0)
	p.gate.lines[e.ask.Route]++
	p.dirty = true
}

// restore puts an entry that had left the queue at the head of its flow's line.
func (p *pool) restore(e *entry) {
	p.queue.Return(e.ask.Flow, &e.item)
	p.gate.lines[e.ask.Route]++
	p.dirty = true
}

// take takes a waiting entry out of the queue.
func (p *pool) take(e *entry) {
	p.queue.Remove(&e.item)
	p.gate.lines[e.ask.Route]--
	p.dirty = true
}
