package app

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/load/trial"
)

var _ console.Loader = (*rehearsal)(nil)

// errGoing refuses a rehearsal that would outlive the gateway.
var errGoing = errors.New("this gateway is going down")

// rehearsal puts users on a scratch gateway: one of the configuration in force,
// with simulators of the same quotas in place of the providers, so that nothing is
// sent to anybody and nothing is taken from the quotas of the real one.
type rehearsal struct {
	a *App

	mu     sync.Mutex
	trial  *trial.Trial  // the latest; before the first one that never runs
	ended  chan struct{} // closed when nothing of it is left
	closed bool
}

func newRehearsal(a *App) (*rehearsal, error) {
	idle, err := trial.New(trial.Options{URL: "http://127.0.0.1/v1"})
	if err != nil {
		return nil, err
	}
	r := &rehearsal{a: a, trial: idle, ended: make(chan struct{})}
	close(r.ended)
	return r, nil
}

// StartJSON implements console.Loader.
func (r *rehearsal) StartJSON(parameters []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return errGoing
	case !r.over():
		return trial.ErrRunning
	}
	scratch, err := newScratch(r.a)
	if err != nil {
		return err
	}
	next, err := trial.New(trial.Options{URL: "http://" + scratch.app.Addr() + "/v1", Judge: scratch.judge(), Model: scratch.model(), Transport: r.a.network.transport})
	if err == nil {
		if err = next.StartJSON(parameters); err != nil {
			next.Close()
		}
	}
	if err != nil {
		scratch.close()
		return err
	}
	ended := make(chan struct{})
	r.trial, r.ended = next, ended
	go func() {
		defer close(ended)
		next.Wait()
		scratch.close()
	}()
	return nil
}

// over reports whether nothing of the latest run is left.
func (r *rehearsal) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func (r *rehearsal) latest() *trial.Trial {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trial
}

// Busy implements console.Loader.
func (r *rehearsal) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.over()
}

// State implements console.Loader.
func (r *rehearsal) State() any { return r.latest().State() }

// Stop implements console.Loader.
func (r *rehearsal) Stop() { r.latest().Stop() }

// WriteHTML implements console.Loader.
func (r *rehearsal) WriteHTML(w io.Writer) error { return r.latest().WriteHTML(w) }

// close ends what runs and waits for it.
func (r *rehearsal) close() error {
	r.mu.Lock()
	r.closed = true
	ended := r.ended
	r.trial.Close()
	r.mu.Unlock()
	<-ended
	return nil
}

// scratch is a second gateway.
type scratch struct {
	app    *App
	halt   context.CancelFunc
	served chan struct{}
}

func newScratch(a *App) (*scratch, error) {
	n := *a.network
	n.sink = nil
	on, err := newOn(&n, simulated(a.current().config), nil)
	if err != nil {
		return nil, err
	}
	ctx, halt := context.WithCancel(context.Background())
	s := &scratch{app: on, halt: halt, served: make(chan struct{})}
	go func() {
		defer close(s.served)
		_ = on.Run(ctx) // whatever ends it early is what the users of the run see
	}()
	return s, nil
}

// simulated is a configuration with all quotas, classes, routes and endpoints of c,
// that is reached from this machine alone and reaches nobody.
func simulated(c *config.Config) *config.Config {
	s := *c
	s.Listen, s.Simulated = "127.0.0.1:0", true
	s.Keys, s.TrustedProxies, s.Metrics = nil, nil, config.Metrics{}
	s.Limits.Drain = time.Second
	s.Upstreams = slices.Clone(c.Upstreams)
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		u.Provider, u.BaseURL, u.APIKey = config.ProviderSim, "", config.Secret{}
	}
	return &s
}

// judge is the address of the simulator's books; empty where there are several.
func (s *scratch) judge() string {
	if len(s.app.providers) != 1 {
		return ""
	}
	return "http://" + s.app.providers[0].simulator.address
}

// model is a name that has a route.
func (s *scratch) model() string {
	return strings.ReplaceAll(s.app.plan.config.Routes[0].Model, "*", "any")
}

func (s *scratch) close() {
	s.halt()
	<-s.served
}
