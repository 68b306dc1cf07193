package gate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
)

// What an operator may do while requests wait and run. Each takes effect with the
// Step that must follow it.

// ErrUnknown says that there is no such upstream or class, or that nothing of the
// flow waits.
var ErrUnknown = errors.New("unknown")

// Trip opens an upstream's breaker until ResetUpstream or Reset closes it. What runs
// there goes on.
func (g *Gate) Trip(now time.Time, name string) error {
	u, err := g.upstream(name)
	if err != nil {
		return err
	}
	u.breaker.Trip(now)
	u.pool.dirty = true
	g.surprise(func(e *entry) bool { return e.pool == u.pool })
	return nil
}

// ResetUpstream closes an upstream's breaker and forgets what it has seen.
func (g *Gate) ResetUpstream(now time.Time, name string) error {
	u, err := g.upstream(name)
	if err != nil {
		return err
	}
	u.breaker.Reset(now)
	u.pool.resume = true
	return nil
}

func (g *Gate) upstream(name string) (*upstream, error) {
	for i := range g.upstreams {
		if u := &g.upstreams[i]; u.name == name && !u.options.Retired {
			return u, nil
		}
	}
	return nil, fmt.Errorf("%w: no upstream is called %q", ErrUnknown, name)
}

// Pause starts nothing of a class any more. Those that wait keep their places, and
// block nobody; their holds and deadlines go on.
func (g *Gate) Pause(name flow.Class) error { return g.setPaused(name, true) }

// Resume ends a Pause.
func (g *Gate) Resume(name flow.Class) error { return g.setPaused(name, false) }

func (g *Gate) setPaused(name flow.Class, paused bool) error {
	c := g.classes[name]
	if c == nil {
		return fmt.Errorf("%w: no class is called %q", ErrUnknown, name)
	}
	c.paused = paused
	if !slices.Contains(g.limited, c) {
		g.limited = append(g.limited, c)
	}
	for _, p := range g.pools {
		p.dirty = true
	}
	g.surprise(func(e *entry) bool { return paused && e.class == c })
	return nil
}

// surprise marks those who wait and match: their waits will say nothing about how
// waits are to be foreseen.
func (g *Gate) surprise(match func(*entry) bool) {
	for _, e := range g.entries {
		if e.state != running && match(e) {
			e.expected = 0
		}
	}
}

// MoveUp lets the head of a flow go next of its class, once, as soon as it fits. It is
// charged in full; see package fairqueue for what that does to the bound.
func (g *Gate) MoveUp(key flow.Key) error {
	found := false
	for _, p := range g.pools {
		if p.queue.Promote(key) {
			found, p.resume = true, true // its tenant may be halted for another's head, or it a task that is shelved
		}
	}
	if !found {
		return fmt.Errorf("%w: nothing of %s waits", ErrUnknown, key)
	}
	return nil
}

// Evict takes all that a flow has waiting out of the queue, and returns how many
// requests that were. They are evicted with flow.ErrRemoved by the next Step; what
// runs goes on.
func (g *Gate) Evict(now time.Time, key flow.Key) (int, error) {
	var list []*entry
	for _, p := range g.pools {
		p.queue.Each(key, func(it *fairqueue.Item) { list = append(list, it.Owner.(*entry)) })
	}
	n := 0
	for _, e := range list {
		if e.state == queued {
			n++
			e.refusal = &Refusal{Err: flow.ErrRemoved, Reason: e.reason}
		}
	}
	if n == 0 {
		return 0, fmt.Errorf("%w: nothing of %s waits", ErrUnknown, key)
	}
	for _, e := range list {
		g.due.set(e, now) // kept places, too
	}
	return n, nil
}
