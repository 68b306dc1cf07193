package gate

import (
	"time"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/estimate"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// EventKind is what happened.
type EventKind uint8

// The events.
const (
	Wake    EventKind = iota // time passed
	Arrive                   // Event.Ask wants to run as Event.ID
	Leave                    // the request gives up its place
	Settle                   // its attempt ended with Event.Result: the request is over
	Again                    // its attempt failed with Event.Result, and it wants another
	Drain                    // newcomers are refused from now on
	Adjust                   // the request is Event.Ask's Flow's from now on, and held until its Hold
	Abandon                  // its client left without a word: a queued request's place is kept for a moment
	Began                    // the answer of its attempt has begun: a probe has succeeded
)

// Event is one input of the state machine.
type Event struct {
	Kind   EventKind
	ID     uint64
	Ask    *Ask   // of Arrive; of Adjust, where Flow and Hold count
	Result Result // of Settle and Again
}

// Ask is a request that wants to run.
type Ask struct {
	Route int // index into Options.Routes
	Flow  flow.Key
	Model string               // the client's name for the model, for predictions
	Kind  estimate.ContentKind // what the text is, for predictions
	Size  llm.Size             // Input and Output are filled by the gate
	Hold  time.Time            // the latest dispatch that still helps; zero: the class's or the pool's bound
	Place string               // names a kept place that is resumed, and kept if the hold ends; "" for none
	Retry bool                 // the client's own retry: it takes over an identical request of its flow that still waits
	Task  bool                 // counts against Options.Tasks while it runs, and not against MaxQueue and MaxFlow
}

// Result is how an attempt ended.
type Result struct {
	Kind       llm.ErrorKind // KindNone for an answer
	Sent       bool          // whether any of the request may have reached the upstream
	Usage      llm.Usage     // the provider's own; zero when it reported none
	Counted    int64         // bytes of generated text that passed
	RetryAfter time.Duration // the provider's hint; 0 for none
	Dims       quota.DimSet  // what a throttle was about; 0 when unknown
	Ramp       bool          // a throttle that asks for a slower increase
	Limits     []backoff.Limit
}

// ActionKind is what to do.
type ActionKind uint8

// The actions.
const (
	Dispatch ActionKind = iota // run it: Action.Grant
	Refuse                     // it does not enter the queue: Action.Refusal
	Evict                      // it leaves the queue: Action.Refusal
)

// Action is one output of the state machine.
type Action struct {
	Kind    ActionKind
	ID      uint64
	Grant   Grant
	Refusal *Refusal
}

// Grant is the right to make one attempt.
type Grant struct {
	Upstream int           // index into Options.Upstreams
	Attempt  int           // 1 for the first
	Waited   time.Duration // in the queue, all attempts together
	Size     llm.Size      // with the predictions
	ETA      time.Duration // p50 of the wait, quoted on arrival
	ETAP90   time.Duration
	Reason   flow.Reason // what it last waited for
	Waits    flow.Waits  // Waited, by what it was for
	Probe    bool        // it tests a half-open breaker, which wants to know when its answer begins
}

// Refusal says why a request does not run.
type Refusal struct {
	Err        error         // a sentinel of package flow
	RetryAfter time.Duration // when asking again makes sense; 0 for never
	ETA        time.Duration // p90 of the wait that was expected; 0 when unknown
	Reason     flow.Reason
	Detail     string     // the limit with its numbers, for people
	Waits      flow.Waits // of an eviction: what the request has waited for
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Detail != "" {
		return r.Err.Error() + ": " + r.Detail
	}
	return r.Err.Error()
}

// Unwrap returns the sentinel.
func (r *Refusal) Unwrap() error { return r.Err }

// Status is where a waiting request stands.
type Status struct {
	Position int // 1 is next
	ETA      time.Duration
	ETAP90   time.Duration
	Unknown  bool // when it will be its turn: ETA and ETAP90 are 0
	Reason   flow.Reason
	Waits    flow.Waits // so far, by what they were for; of Gate.Status alone
}
