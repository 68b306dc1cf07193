package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// Defaults of Options.
const (
	DefaultPatience = 5 * time.Second
	DefaultRhythm   = 10 * time.Second
)

// ErrHardLimit ends a request that ran longer than its class allows.
var ErrHardLimit = errors.New("the hard limit of its class passed")

// Options describe what requests may run on and for how long.
type Options struct {
	Upstreams []Upstream            // by the index that grants name
	Routes    []string              // names for records, by the index that requests name
	Limits    map[flow.Class]Limits // of a class; a class without an entry has none
	Retry     backoff.BudgetOptions // zero: 10 % of the requests of a minute, and 10
	Patience  time.Duration         // until a waiting stream is first told where it stands; 0 = 5 s
	Rhythm    time.Duration         // between two such notes; 0 = 10 s
}

// Upstream is what dispatch needs to know of an upstream.
type Upstream struct {
	Name  string
	Model string // the upstream's name for the model; empty keeps the client's
}

// Limits bound the work of a class. Zero fields bound nothing.
type Limits struct {
	FirstByte time.Duration // of one attempt, until its answer's first piece
	Hard      time.Duration // from the first dispatch to the end
}

// Provider makes one attempt at one upstream. A failed attempt is an
// *llm.Error. An error with a method Sent() bool in its chain says whether the
// request may have reached the upstream; without one it is taken to have. The
// context ends the whole exchange, the answer's Body included; once Do failed,
// or Body is closed, nobody reads Call.Body any more.
type Provider interface {
	Do(ctx context.Context, c *llm.Call) (*llm.Answer, error)
}

// Deps are the collaborators of a Dispatcher.
type Deps struct {
	Admission *admission.Controller
	Providers []Provider   // as many as Options.Upstreams
	Sink      event.Sink   // nil drops all events
	Log       *slog.Logger // nil discards; only panics are logged
}

// Dispatcher runs requests. Its methods are safe for concurrent use.
type Dispatcher struct {
	options Options
	deps    Deps

	mu     sync.Mutex
	budget *backoff.Budget
}

// New returns a Dispatcher, or everything that is wrong with o and d, joined.
func New(o Options, d Deps) (*Dispatcher, error) {
	if err := validate(&o, &d); err != nil {
		return nil, err
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Rhythm == 0 {
		o.Rhythm = DefaultRhythm
	}
	if d.Sink == nil {
		d.Sink = event.NewFanout()
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Dispatcher{options: o, deps: d, budget: backoff.NewBudget(o.Retry)}, nil
}

func validate(o *Options, d *Deps) error {
	var faults []error
	if d.Admission == nil {
		faults = append(faults, errors.New("dispatch: no admission controller: pass one in Deps"))
	}
	if len(o.Upstreams) == 0 || len(o.Upstreams) != len(d.Providers) {
		faults = append(faults, fmt.Errorf("dispatch: %d upstreams but %d providers: give each upstream its provider",
			len(o.Upstreams), len(d.Providers)))
	}
	for i, p := range d.Providers {
		if p == nil {
			faults = append(faults, fmt.Errorf("dispatch: providers[%d] is nil: give each upstream its provider", i))
		}
	}
	for class, l := range o.Limits {
		if l.FirstByte < 0 || l.Hard < 0 {
			faults = append(faults, fmt.Errorf("dispatch: limits of class %q are negative: use 0 for none", class))
		}
	}
	if o.Patience < 0 || o.Rhythm < 0 {
		faults = append(faults, errors.New("dispatch: patience and rhythm must not be negative: use 0 for the defaults"))
	}
	return errors.Join(append(faults, o.Retry.Validate())...)
}

// Request is one request, ready to be queued.
type Request struct {
	ID      string
	Ask     admission.Ask
	Call    llm.Call // Model is set by the upstream that is granted
	Arrived time.Time
}

// Reply is the client's side of a request. Its methods are never called at the
// same time; End is the last, and is called exactly once.
type Reply interface {
	// Queued tells a streaming client where it stands. A position of 0 means
	// that the request is running. An error means that the client is gone.
	Queued(s admission.Status) error
	// Begin starts the answer.
	Begin(a *llm.Answer, m *Meta)
	// Write hands over the next piece of the answer, to be passed on at once. An
	// error means that the client is gone.
	Write(p []byte) error
	// End ends the answer, or tells the client why there is none or no more of
	// it. It returns the HTTP status the client was given; 0 for none.
	End(err error, m *Meta) int
}

// Meta is what the client may know about how its request went so far.
type Meta struct {
	Upstream string // of the current or last attempt; empty if none was made
	Attempts int
	Waited   time.Duration    // in the queue, all attempts together
	Entry    admission.Status // where it stood when it entered; zero if it had not to wait
}

// Do runs a request to its end and returns how it ended. It returns soon after
// ctx is canceled. It never panics.
func (d *Dispatcher) Do(ctx context.Context, req *Request, reply Reply) flow.Outcome {
	r := &run{d: d, req: req, reply: reply, ctx: ctx}
	outcome, err := r.serve()
	return r.finish(outcome, err)
}

func (d *Dispatcher) count(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.budget.Request(now)
}

func (d *Dispatcher) allow(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.budget.Allow(now)
}
