// Package admission lets goroutines wait at the gate: a lock, one timer and a
// channel per request around the state machine of package gate.
//
// # Model
//
// One gate decides for all upstreams, behind one lock and one
// timer. A request enters with Enter and holds a Ticket: Ready tells when it was
// granted an attempt or evicted, Settle ends the attempt, Again ends it and asks for
// another in the same place. Nothing polls: every event (an arrival, a settlement, a
// leave, the timer) steps the gate once, and the gate wakes exactly those that
// may run.
//
// # Invariants
//
//   - I1 Exactly once: of all Settle, Again and Leave calls on one grant the first
//     counts; the others change nothing.
//   - I2 No lost wake-up: while a request waits that time alone can help, the timer
//     is set for it.
//   - I3 No leak: when all tickets have ended nothing is outstanding, in any window or
//     seat, and no goroutine or timer is left after Close.
//   - I4 Groups are apart: a request never waits for the turn of one that can use none
//     of its upstreams, but for what both share: a class's rate, a tenant's limits, the
//     bound on tasks.
//   - I5 Operated: what an operator does takes effect before the call returns: those
//     whom it helps have been woken, and those whom it evicts told.
//
// # Concurrency
//
// All methods may be called from any goroutine. The controller's lock guards the gate and
// the tickets; it is never held while blocking or calling out.
//
// # Failure
//
// Enter returns a *Refusal that wraps a sentinel of package flow. Grant returns one
// when the request was evicted. Methods of a ticket that has ended do nothing.
//
// # Not here
//
// What decides (gate), what runs (dispatch), what clients are told (gateway).
package admission
