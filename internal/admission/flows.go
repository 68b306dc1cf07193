package admission

import (
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// AppendKeys appends the flow of every request that waits or runs, in no order. It
// takes far less time than their states; whoever wants all of those asks
// AppendStates for some at a time, so that others get their turn.
func (c *Controller) AppendKeys(dst []flow.Key) []flow.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.AppendKeys(dst)
}

// AppendStates appends one state for each of the flows, as they stand in the queue. Of
// one that has ended nothing waits and nothing runs.
func (c *Controller) AppendStates(dst []gate.FlowState, keys []flow.Key) []gate.FlowState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.AppendStates(dst, time.Now(), keys)
}
