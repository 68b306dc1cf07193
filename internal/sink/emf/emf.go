package emf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// Defaults of Options.
const (
	DefaultNamespace = "Millrace"
	DefaultInterval  = time.Minute
)

const (
	other    = "other"
	maxNames = 101 // of classes, and of upstreams; one of each is "other"
)

// Options say what is told.
type Options struct {
	Namespace string        // of CloudWatch; empty = "Millrace"
	Interval  time.Duration // between two batches, 1 s to 1 h; 0 = 60 s
	Classes   []string      // of the configuration, at most 100; every other one is "other"
	Upstreams []string      // of the configuration, at most 100; every other one is "other"
	Snapshot  func() State  // read at each batch; nil for none
}

func (o *Options) validate() error {
	var faults []error
	if o.Interval < 0 || o.Interval > 0 && o.Interval < time.Second || o.Interval > time.Hour {
		faults = append(faults, fmt.Errorf("emf: interval %v is not between 1s and 1h; CloudWatch keeps one figure a minute", o.Interval))
	}
	if len(o.Namespace) > 255 {
		faults = append(faults, fmt.Errorf("emf: namespace of %d bytes; CloudWatch takes at most 255", len(o.Namespace)))
	}
	return errors.Join(append(faults, bounded("classes", o.Classes), bounded("upstreams", o.Upstreams))...)
}

func bounded(what string, names []string) error {
	if len(names) < maxNames {
		return nil
	}
	return fmt.Errorf("emf: %d %s would be dimensions, each of which CloudWatch charges for; configure at most %d", len(names), what, maxNames-1)
}

// State is how the gateway stands at a moment.
type State struct {
	Waiting   map[string]int // requests in the queue, by class
	Upstreams []Upstream
}

// Upstream is one of a State.
type Upstream struct {
	Name      string
	Seats     int64 // most requests in flight; 0 is no limit
	SeatsUsed int64
	Open      bool // its breaker is not closed
	Windows   []Window
}

// Window is one limit of an upstream's quota.
type Window struct {
	Limit      string // requests, tokens, input or output
	Span       string // such as 1m
	Configured int64
	Learned    int64 // Configured, lowered by what the upstream said or refused
	Used       int64 // in the span that ends now
	Reserved   int64 // for requests in flight
}

// Deps are what a Sink writes to.
type Deps struct {
	Out io.Writer    // each batch is one Write of whole lines
	Log *slog.Logger // nil discards
}

// Sink counts records and attempts. Use New, and Run it.
type Sink struct {
	options Options
	deps    Deps
	names   atomic.Pointer[names]

	unrouted atomic.Int64 // requests that came to no route

	mu     sync.Mutex // held by who makes new names, or a batch
	buffer bytes.Buffer
}

var _ event.Sink = (*Sink)(nil)

// names are the counts by the names of the configuration. They are never changed,
// but replaced as a whole.
type names struct {
	classes   map[flow.Class]*class
	upstreams map[string]*upstream
}

// class counts the requests of one class.
type class struct {
	outcomes [16]atomic.Int64 // by flow.Outcome
	seen429  atomic.Int64
	wait     histogram
}

// upstream counts the attempts at one upstream.
type upstream struct{ attempts, throttles, faults, input, output atomic.Int64 }

// New returns a Sink, or everything that is wrong with o and d, joined.
func New(o Options, d Deps) (*Sink, error) {
	err := o.validate()
	if d.Out == nil {
		err = errors.Join(err, errors.New("emf: nowhere to write to: pass Out in Deps"))
	}
	if err != nil {
		return nil, err
	}
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{options: o, deps: d}
	s.names.Store(&names{
		classes:   map[flow.Class]*class{other: {}},
		upstreams: map[string]*upstream{other: {}},
	})
	return s, s.Name(o.Classes, o.Upstreams)
}

// Name makes dimensions of more classes and upstreams: those of a configuration
// that was loaded later. Names beyond 100 count as "other". It fails on more than
// that at once, and then changes nothing.
func (s *Sink) Name(classes, upstreams []string) error {
	if err := errors.Join(bounded("classes", classes), bounded("upstreams", upstreams)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.names.Load()
	s.names.Store(&names{classes: grown(old.classes, classes), upstreams: grown(old.upstreams, upstreams)})
	return nil
}

// grown is old and what is new of the names.
func grown[K ~string, V any](old map[K]*V, names []string) map[K]*V {
	all := make(map[K]*V, len(old)+len(names))
	maps.Copy(all, old)
	for _, name := range names {
		if all[K(name)] == nil && len(all) < maxNames {
			all[K(name)] = new(V)
		}
	}
	return all
}

// Record implements event.Sink.
func (s *Sink) Record(r *event.Record) {
	if r.Stray != event.StrayNone {
		s.unrouted.Add(1)
		return // who scans the gateway is no demand
	}
	named := s.names.Load().classes
	c := named[r.Key.Class]
	if c == nil {
		c = named[other]
	}
	if i := int(r.Outcome); i < len(c.outcomes) {
		c.outcomes[i].Add(1)
	}
	if r.Status == 429 {
		c.seen429.Add(1)
	}
	if r.Attempts > 0 {
		c.wait.observe(r.Queued)
	}
}

// Attempt implements event.Sink.
func (s *Sink) Attempt(a *event.Attempt) {
	named := s.names.Load().upstreams
	u := named[a.Upstream]
	if u == nil {
		u = named[other]
	}
	u.attempts.Add(1)
	switch {
	case a.Kind == llm.KindThrottle:
		u.throttles.Add(1)
	case a.Kind.Faulty():
		u.faults.Add(1)
	}
	u.input.Add(max(a.Used.Prompt(), 0))
	u.output.Add(max(a.Used.Output, 0))
}

// Run writes a batch once an interval, and a last one when ctx ends.
func (s *Sink) Run(ctx context.Context) {
	tick := time.NewTicker(s.options.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush(time.Now())
			return
		case <-tick.C:
			s.flush(time.Now())
		}
	}
}

// flush writes a batch and begins the next one.
func (s *Sink) flush(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buffer.Reset()
	s.batch(now)
	if _, err := s.deps.Out.Write(s.buffer.Bytes()); err != nil {
		s.deps.Log.Error("metrics for CloudWatch could not be written; those of this interval are lost", "error", err)
	}
}

// snapshot reads the state; one that panics is empty.
func (s *Sink) snapshot() (state State) {
	if s.options.Snapshot == nil {
		return State{}
	}
	defer func() {
		if p := recover(); p != nil {
			s.deps.Log.Error("panic in a snapshot for CloudWatch", "panic", fmt.Sprint(p))
			state = State{}
		}
	}()
	return s.options.Snapshot()
}
