package ring

import (
	"sync"

	"github.com/millrace/millrace/internal/event"
)

// maxSize bounds the memory: about 500 bytes for each record and attempt.
const maxSize = 1 << 20

// Options says how much is kept.
type Options struct {
	Size int // records, and as many attempts, at most 1,048,576; 0 or less = 1,024
}

// Ring keeps the latest records. Use New.
type Ring struct {
	mu       sync.Mutex
	records  circle[event.Record]
	attempts circle[event.Attempt]
	byID     map[string]uint64 // number of the latest record with this id
}

var _ event.Sink = (*Ring)(nil)

// New returns an empty ring.
func New(o Options) *Ring {
	size := o.Size
	if size <= 0 {
		size = 1024
	}
	size = min(size, maxSize)
	return &Ring{
		records:  circle[event.Record]{limit: size},
		attempts: circle[event.Attempt]{limit: size},
		byID:     make(map[string]uint64),
	}
}

// Record implements event.Sink.
func (r *Ring) Record(rec *event.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, number, full := r.records.oldest(); full && r.byID[old.ID] == number {
		delete(r.byID, old.ID)
	}
	r.byID[rec.ID] = r.records.push(*rec)
}

// Attempt implements event.Sink.
func (r *Ring) Attempt(a *event.Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts.push(*a)
}

// Get returns the latest record with this id, if it is still held.
func (r *Ring) Get(id string) (event.Record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number, ok := r.byID[id]
	if !ok {
		return event.Record{}, false
	}
	return *r.records.at(number), true
}

// Attempts returns the attempts of a request that are still held, oldest first.
// It looks through all of them.
func (r *Ring) Attempts(id string) []event.Attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []event.Attempt
	for n := r.attempts.first(); n < r.attempts.pushed; n++ {
		if a := r.attempts.at(n); a.Request == id {
			found = append(found, *a)
		}
	}
	return found
}

// Recent returns at most n records, latest first.
func (r *Ring) Recent(n int) []event.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(max(n, 0), r.records.len())
	out := make([]event.Record, n)
	for i := range out {
		out[i] = *r.records.at(r.records.pushed - 1 - uint64(i))
	}
	return out
}

// RecentOf returns at most n records of a tenant, latest first. It looks through
// all of them if it must.
func (r *Ring) RecentOf(tenant string, n int) []event.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]event.Record, 0, min(max(n, 0), r.records.len()))
	for number := r.records.pushed; number > r.records.first() && len(out) < n; number-- {
		if rec := r.records.at(number - 1); rec.Key.Tenant == tenant {
			out = append(out, *rec)
		}
	}
	return out
}

// Len is how many records are held.
func (r *Ring) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records.len()
}

// circle holds the last limit items, numbered from 0 as they were pushed.
type circle[T any] struct {
	limit  int
	items  []T // grows to limit
	pushed uint64
}

func (c *circle[T]) len() int { return len(c.items) }

// first is the number of the oldest item held.
func (c *circle[T]) first() uint64 { return c.pushed - uint64(len(c.items)) }

// at returns the item with a number that is held.
func (c *circle[T]) at(number uint64) *T { return &c.items[number%uint64(c.limit)] }

// oldest returns the item that the next push replaces; full is false if there
// is still room.
func (c *circle[T]) oldest() (item *T, number uint64, full bool) {
	if len(c.items) < c.limit {
		return nil, 0, false
	}
	return c.at(c.first()), c.first(), true
}

// push adds an item and returns its number.
func (c *circle[T]) push(item T) uint64 {
	if len(c.items) < c.limit {
		c.items = append(c.items, item)
	} else {
		*c.at(c.pushed) = item
	}
	c.pushed++
	return c.pushed - 1
}
