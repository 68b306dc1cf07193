package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/estimate"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/quota"
)

// Defaults of Options.
const (
	DefaultMaxQueue = 10_000
	DefaultMaxFlow  = 1_000
	DefaultHold     = 240 * time.Second
	DefaultAttempts = 6
)

// taskHold is the longest wait of a task whose class names none: it holds no client.
const taskHold = 24 * time.Hour

// blockFor is how soon a blocked head must fit to keep all others from passing it.
const blockFor = 500 * time.Millisecond

// keepForModest is how many seconds' refill the requests of flows that keep several
// going leave in the buckets, as far as these hold it. It costs no throughput, for the
// refill goes on; but somebody who asks one thing at a time then finds something there,
// as he would if nobody took all that is left over.
const keepForModest = 2.0

// soleRetries is how often a request is tried again on the only upstream it has left,
// after a failure that may pass: each time later, or when the provider says, but not
// after more than maxRetryAfter. The retry budget bounds them over all requests.
const (
	soleRetries   = 3
	maxRetryAfter = 30 * time.Second
)

// maxAfter is how many heads that wait for an upstream are enough: no more tasks are put
// back into the order then that waited for others to end.
const maxAfter = 16

// maxUpstreams is the number of upstreams a pool can hold: their sets are bit masks.
const maxUpstreams = 64

// Options describe a pool: upstreams that share routes.
type Options struct {
	Upstreams []Upstream
	Routes    []Route
	Classes   []Class
	Tenants   []Tenant         // those with a weight or limits of their own
	Tasks     int              // requests with Ask.Task that run at a time; 0 means unlimited
	MaxQueue  int              // requests waiting in all, beside tasks; 0 means DefaultMaxQueue
	MaxTenant int              // requests waiting per tenant, beside tasks; 0 means MaxQueue
	MaxFlow   int              // requests waiting per flow, beside tasks, which it does not bound; 0 means DefaultMaxFlow
	Hold      time.Duration    // longest wait of a request that names none and is no task; 0 means DefaultHold
	Attempts  int              // attempts per request, throttled ones included; 0 means DefaultAttempts
	Estimate  estimate.Options // how sizes are predicted
}

// Upstream is one endpoint, model and credential.
type Upstream struct {
	Name    string
	Quota   quota.Options
	Breaker breaker.Options
	Retired bool // removed from the configuration: it only finishes what runs there
}

// Route is an ordered list of upstreams, as indices into Options.Upstreams.
type Route struct {
	Upstreams []int
	// Spill lets a request use a later upstream while the first is full, once it has
	// waited, or is expected to wait, longer than SpillAfter. Without it later
	// upstreams serve only after a failure, or while the breakers before them are open.
	Spill      bool
	SpillAfter time.Duration
	Retired    bool // removed from the configuration: it only serves what waits there
}

// Class is a kind of work. Requests of an unknown class run with weight 1 and no
// rate.
type Class struct {
	Name    flow.Class
	Weight  float64 // share among classes; 0 means 1
	Rate    Rate
	MaxWait time.Duration // longest wait; 0 means Options.Hold, and a day for tasks
}

// Rate bounds the starts of a class: at most Max in any span of Per. The zero
// value bounds nothing.
type Rate struct {
	Max  int
	Per  time.Duration
	Even bool // one start every Per/Max, instead of up to Max at once
	// Shadow only watches: starts are counted as if it held, and those that it would
	// have delayed too, but it delays none.
	Shadow bool
}

func (o *Options) defaults() {
	if o.MaxQueue == 0 {
		o.MaxQueue = DefaultMaxQueue
	}
	if o.MaxFlow == 0 {
		o.MaxFlow = DefaultMaxFlow
	}
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if o.Attempts == 0 {
		o.Attempts = DefaultAttempts
	}
}

// Validate returns all that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	if n := len(o.Upstreams); n == 0 || n > maxUpstreams {
		errs = append(errs, fmt.Errorf("upstreams: %d given: name 1 to %d", n, maxUpstreams))
	}
	if len(o.Routes) == 0 {
		errs = append(errs, errors.New("routes: none given: name at least one"))
	}
	for i, r := range o.Routes {
		errs = append(errs, r.validate(i, len(o.Upstreams)))
	}
	for _, c := range o.Classes {
		errs = append(errs, c.validate())
	}
	for _, t := range o.Tenants {
		errs = append(errs, t.validate())
	}
	if o.MaxQueue < 0 || o.MaxTenant < 0 || o.MaxFlow < 0 || o.Tasks < 0 || o.Hold < 0 || o.Attempts < 0 {
		errs = append(errs, errors.New("queue bounds: must not be negative"))
	}
	return errors.Join(errs...)
}

func (r Route) validate(index, upstreams int) error {
	if len(r.Upstreams) == 0 {
		return fmt.Errorf("routes[%d].upstreams: none given: name at least one", index)
	}
	for _, u := range r.Upstreams {
		if u < 0 || u >= upstreams {
			return fmt.Errorf("routes[%d].upstreams: no upstream has index %d", index, u)
		}
	}
	if r.SpillAfter < 0 {
		return fmt.Errorf("routes[%d].spill_after: must not be negative", index)
	}
	return nil
}

func (c Class) validate() error {
	if c.Weight < 0 || c.MaxWait < 0 {
		return fmt.Errorf("classes.%s: weight and max_wait must not be negative", c.Name)
	}
	if c.Rate.Max < 0 || c.Rate.Max > 0 && c.Rate.Per <= 0 {
		return fmt.Errorf("classes.%s.rate: %d per %v: both must be positive", c.Name, c.Rate.Max, c.Rate.Per)
	}
	return nil
}
