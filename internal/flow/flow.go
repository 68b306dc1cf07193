package flow

import (
	"errors"
	"fmt"
)

// Class is a kind of work with its own weight, rate and limits.
type Class string

// The classes every configuration has. Operators may add their own.
const (
	Chat     Class = "chat"
	Analysis Class = "analysis"
	Health   Class = "health"
	Batch    Class = "batch"
)

// Key identifies a flow: Tenant and User within Class.
type Key struct {
	Class  Class
	Tenant string
	User   string
}

// String returns class/tenant/user, for logs.
func (k Key) String() string { return string(k.Class) + "/" + k.Tenant + "/" + k.User }

// Outcome is how a request ended. Each request has exactly one.
type Outcome uint8

// The outcomes. OutcomeNone is the zero value: the request has not ended.
const (
	OutcomeNone         Outcome = iota
	OutcomeServed               // answered in full
	OutcomeFailed               // the upstream failed and no fallback helped
	OutcomeRejected             // the provider called the request itself wrong; its answer was passed on
	OutcomeCanceled             // the client left
	OutcomeRefused              // turned away before the queue
	OutcomeHoldExpired          // the hold ended before its turn came
	OutcomeEvicted              // taken out of the queue for another reason (drain, class removed)
	OutcomeDeadline             // its hard limit passed while it ran
	OutcomeCached               // answered from the response cache
	OutcomeCoalesced            // answered by another request's call
	OutcomeDisconnected         // the client left after the answer had begun
)

var outcomeNames = [...]string{
	"none", "served", "failed", "rejected", "canceled", "refused",
	"hold_expired", "evicted", "deadline", "cached", "coalesced", "disconnected",
}

// String returns the outcome as it appears in metrics and logs.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}

// Outcomes lists every outcome a request can end in (OutcomeNone excluded).
func Outcomes() []Outcome {
	all := make([]Outcome, 0, len(outcomeNames)-1)
	for i := 1; i < len(outcomeNames); i++ {
		all = append(all, Outcome(i))
	}
	return all
}

// The two families of reasons for which a request does not run.
var (
	ErrRefused = errors.New("refused")
	ErrEvicted = errors.New("evicted")
)

// The causes. Each wraps its family.
var (
	ErrQueueFull  = fmt.Errorf("%w: the queue is full", ErrRefused)
	ErrFlowFull   = fmt.Errorf("%w: this user has too many requests waiting", ErrRefused)
	ErrTooLong    = fmt.Errorf("%w: the wait would exceed what the client can be held", ErrRefused)
	ErrTooLarge   = fmt.Errorf("%w: the request is larger than the whole quota", ErrRefused)
	ErrDraining   = fmt.Errorf("%w: the gateway is shutting down", ErrRefused)
	ErrNoUpstream = fmt.Errorf("%w: no upstream can take this request", ErrRefused)
	ErrHold       = fmt.Errorf("%w: the hold ended before its turn came", ErrEvicted)
	ErrCanceled   = fmt.Errorf("%w: the client left", ErrEvicted)
	ErrReplaced   = fmt.Errorf("%w: a retry of the same request took its place", ErrEvicted)
	ErrRemoved    = fmt.Errorf("%w: an operator took it out of the queue", ErrEvicted)
	ErrDrained    = fmt.Errorf("%w: the gateway shut down", ErrEvicted)
)

// Reason says what a waiting request waits for.
type Reason string

// The reasons, as they appear in headers, comments and metrics.
const (
	ReasonNone     Reason = ""
	ReasonTurn     Reason = "turn"     // others are ahead in the fair order
	ReasonRequests Reason = "requests" // the upstream's request quota
	ReasonInput    Reason = "input"    // its input token quota
	ReasonOutput   Reason = "output"   // its output token quota
	ReasonTokens   Reason = "tokens"   // its total token quota
	ReasonSeats    Reason = "seats"    // its concurrency
	ReasonRate     Reason = "rate"     // the class's own rate
	ReasonBreaker  Reason = "breaker"  // every upstream's breaker is open
	ReasonRamp     Reason = "ramp"     // slow start after idle
	ReasonPaused   Reason = "paused"   // an operator has paused the class
	ReasonTasks    Reason = "tasks"    // the gateway's own bound on tasks at a time
	ReasonTenant   Reason = "tenant"   // the limits of the tenant's own
)
