package admission

import (
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// What an operator may do. Each takes effect before it returns, and wakes those that it
// helps. The errors wrap gate.ErrUnknown.

// Trip opens an upstream's breaker, until it is reset by hand. What runs there goes on.
func (c *Controller) Trip(upstream string) error {
	return c.operate(func(g *gate.Gate, now time.Time) error { return g.Trip(now, upstream) })
}

// ResetUpstream closes an upstream's breaker and forgets what it has seen.
func (c *Controller) ResetUpstream(upstream string) error {
	return c.operate(func(g *gate.Gate, now time.Time) error { return g.ResetUpstream(now, upstream) })
}

// Pause starts nothing of a class any more, until Resume. Those that wait keep their
// places.
func (c *Controller) Pause(class flow.Class) error {
	return c.operate(func(g *gate.Gate, _ time.Time) error { return g.Pause(class) })
}

// Resume ends a Pause.
func (c *Controller) Resume(class flow.Class) error {
	return c.operate(func(g *gate.Gate, _ time.Time) error { return g.Resume(class) })
}

// MoveUp lets the first waiting request of a flow go next of its class, once, as soon as
// it fits.
func (c *Controller) MoveUp(key flow.Key) error {
	return c.operate(func(g *gate.Gate, _ time.Time) error { return g.MoveUp(key) })
}

// Evict takes all that a flow has waiting out of the queue, and returns how many
// requests that were. They end with flow.ErrRemoved; what runs goes on.
func (c *Controller) Evict(key flow.Key) (n int, err error) {
	err = c.operate(func(g *gate.Gate, now time.Time) (err error) {
		n, err = g.Evict(now, key)
		return err
	})
	return n, err
}

// operate changes the gate, and hands out what follows from that.
func (c *Controller) operate(change func(*gate.Gate, time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := change(c.gate, time.Now()); err != nil {
		return err
	}
	c.step(gate.Event{Kind: gate.Wake})
	return nil
}
