package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/coalesce"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/respcache"
)

// Defaults of Options.
const (
	DefaultPatience = 5 * time.Second
	DefaultRhythm   = 10 * time.Second
)

// The limits of a class that end a request that runs.
var (
	// ErrHardLimit ends a request that ran longer than its class allows.
	ErrHardLimit = errors.New("the hard limit of its class passed")
	// ErrSoftLimit ends a request that asked for it at the soft limit of its class.
	ErrSoftLimit = errors.New("the soft limit of its class passed")
)

// Options describe what requests may run on and for how long.
type Options struct {
	Upstreams []Upstream            // by the index that grants name
	Routes    []string              // names for records, by the index that requests name
	Limits    map[flow.Class]Limits // of a class; a class without an entry has none
	Retry     backoff.BudgetOptions // zero: 10 % of the requests of a minute, and 10
	Patience  time.Duration         // until a waiting stream is first told where it stands; 0 = 5 s
	Rhythm    time.Duration         // between two such notes; 0 = 10 s
	Cache     respcache.Options     // answers that are kept; zero keeps none
	Share     coalesce.Options      // bounds of shared calls; zero: the defaults
}

// Upstream is what dispatch needs to know of an upstream.
type Upstream struct {
	Name     string
	Provider string // the protocol that it speaks, for records
	Model    string // the upstream's name for the model; empty keeps the client's
}

// Limits bound the work of a class. Zero fields bound nothing.
type Limits struct {
	Soft time.Duration // from the first dispatch to the end, of requests that ask for it
	Hard time.Duration // from the first dispatch to the end
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
	deps   Deps // Providers excluded: they are in the table
	table  atomic.Pointer[table]
	shared shared
	live   live

	mu     sync.Mutex
	budget *backoff.Budget
}

// table is what Reconfigure swaps. It is never changed.
type table struct {
	Options
	providers []Provider
}

func newTable(o Options, providers []Provider) *table {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Rhythm == 0 {
		o.Rhythm = DefaultRhythm
	}
	return &table{o, slices.Clone(providers)}
}

// New returns a Dispatcher, or everything that is wrong with o and d, joined.
func New(o Options, d Deps) (*Dispatcher, error) {
	if err := validate(&o, &d); err != nil {
		return nil, err
	}
	if d.Sink == nil {
		d.Sink = event.NewFanout()
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	t := newTable(o, d.Providers)
	d.Providers = nil
	x := &Dispatcher{deps: d, budget: backoff.NewBudget(o.Retry)}
	x.table.Store(t)
	x.shared.cache, x.shared.book = respcache.New(o.Cache), coalesce.New[*call](o.Share)
	return x, nil
}

func validate(o *Options, d *Deps) error {
	var faults []error
	if d.Admission == nil {
		faults = append(faults, errors.New("dispatch: no admission controller: pass one in Deps"))
	}
	return errors.Join(append(faults, o.validate(d.Providers))...)
}

// validate returns everything that is wrong with o and the providers, joined.
func (o *Options) validate(providers []Provider) error {
	var faults []error
	if len(o.Upstreams) == 0 || len(o.Upstreams) != len(providers) {
		faults = append(faults, fmt.Errorf("dispatch: %d upstreams but %d providers: give each upstream its provider",
			len(o.Upstreams), len(providers)))
	}
	for i, p := range providers {
		if p == nil {
			faults = append(faults, fmt.Errorf("dispatch: providers[%d] is nil: give each upstream its provider", i))
		}
	}
	for class, l := range o.Limits {
		if l.Soft < 0 || l.Hard < 0 {
			faults = append(faults, fmt.Errorf("dispatch: limits of class %q are negative: use 0 for none", class))
		}
	}
	if o.Patience < 0 || o.Rhythm < 0 {
		faults = append(faults, errors.New("dispatch: patience and rhythm must not be negative: use 0 for the defaults"))
	}
	return errors.Join(append(faults, o.Retry.Validate(), o.Cache.Validate(), o.Share.Validate())...)
}

// Request is one request, ready to be queued.
type Request struct {
	ID      string
	Ask     admission.Ask
	Call    llm.Call // Model is set by the upstream that is granted
	Arrived time.Time

	Soft     bool          // the soft limit of its class ends it; what was written until then stands
	Share    flow.ShareKey // requests with the same key share one call; zero: it runs alone
	Cache    flow.ShareKey // names its answer in the cache; zero: it is neither looked up nor stored
	CacheFor time.Duration // how long its answer is stored; 0 = not
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
	Reason   flow.Reason      // what it last waited for; ReasonNone if it had not to wait
	Cache    string           // CacheHit, CacheMiss or CacheCoalesced; empty where neither was asked for
}

// The values of Meta.Cache.
const (
	CacheHit       = "hit"       // answered from the cache
	CacheMiss      = "miss"      // looked up in vain
	CacheCoalesced = "coalesced" // answered by the call of another request
)

// Do runs a request to its end and returns how it ended. It returns soon after
// ctx is canceled. It never panics.
func (d *Dispatcher) Do(ctx context.Context, req *Request, reply Reply) flow.Outcome {
	r := &run{d: d, req: req, reply: reply, ctx: ctx}
	d.live.enter(r)
	defer d.live.leave(r)
	if l, ok := reply.(listener); ok {
		r.eager = l.listens()
	}
	var outcome flow.Outcome
	var err error
	if req.Share.IsZero() && req.Cache.IsZero() {
		outcome, err = r.serve()
	} else {
		outcome, err = r.share()
	}
	return r.finish(outcome, err)
}

// Reconfigure swaps the upstreams, routes, limits and bounds for later attempts.
// Attempts under way go on with what they have, and the retry budget and what is in
// the cache are kept; Options.Retry is not looked at. The index of an upstream or
// route must mean the same as before. It returns everything that is wrong, joined,
// and then changes nothing.
func (d *Dispatcher) Reconfigure(o Options, providers []Provider) error {
	if err := o.validate(providers); err != nil {
		return err
	}
	d.table.Store(newTable(o, providers))
	d.shared.mu.Lock()
	defer d.shared.mu.Unlock()
	d.shared.cache.Resize(o.Cache)
	d.shared.book.Configure(o.Share)
	return nil
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
