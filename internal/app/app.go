package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/gateway"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/sink/prom"
)

// App is one gateway process.
type App struct {
	config     *config.Config
	log        *slog.Logger
	undo       stack
	listener   net.Listener
	admission  *admission.Controller
	sink       event.Sink
	dispatcher *counted
	gateway    *gateway.Gateway
	catalog    *catalog
	ledger     *ledger               // nil where no state is kept
	saved      map[string]gate.Saved // what the last run left; nil for none
	start      quota.Start           // of the upstreams that are not simulated here
}

// New builds a gateway from a checked configuration and binds its listener.
// A nil log discards. Call Run, or Close.
func New(c *config.Config, log *slog.Logger) (*App, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &App{config: c, log: log}
	a.warnIdle()
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.undo.unwind())
	}
	return a, nil
}

// warnIdle names settings that somebody made and nothing obeys yet.
func (a *App) warnIdle() {
	for _, name := range slices.Sorted(maps.Keys(a.config.Classes)) {
		path := "classes." + name + ".soft"
		if origin := a.config.Origin(path); a.config.Classes[name].Soft > 0 && origin.Layer != config.LayerDefault {
			a.log.Warn(path+" has no effect yet: only hard ends a request", "set_by", origin.String()) //nolint:sloglint // one line that says it all
		}
	}
}

// build goes from the bottom up; each step pushes what undoes it.
func (a *App) build() error {
	for _, step := range []func() error{a.listen, a.openState, a.buildControl, a.buildGateway} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// listen comes first: a port that is taken is the commonest failure, and must
// not use up the state.
func (a *App) listen() error {
	l, err := net.Listen("tcp", a.config.Listen) //nolint:noctx // it does not block
	if err != nil {
		return fmt.Errorf("listen (%s): %w", a.config.Origin("listen"), err)
	}
	a.listener = l
	a.undo.push(func() error { return ignore(l.Close(), net.ErrClosed) })
	return nil
}

// openState finds out how the quotas start. Where it fails the quotas start as
// if they had just been used up, which is slow but safe.
func (a *App) openState() error {
	a.start = quota.Unknown
	if a.config.Simulated {
		return nil // windows of a simulator that starts with us are empty
	}
	l, err := openLedger(a.config.StateDir, thisMachine)
	if err != nil {
		a.log.Warn("state cannot be kept: quotas start as if just used up, so the first requests wait until they have refilled",
			"why", err, "state_dir", a.config.StateDir)
		return nil
	}
	a.ledger = l
	a.undo.push(l.close)
	saved, fresh, err := l.take()
	switch {
	case err != nil:
		a.log.Warn("the last run left no state to resume from: quotas start as if just used up, so the first requests wait until they have refilled",
			"why", err, "state_dir", a.config.StateDir)
	case fresh:
		a.start = quota.Fresh
	default:
		a.saved = saved
	}
	return nil
}

// startOf is how an upstream's quota begins. One that will be restored begins
// fresh; what of it does not fit is taken as used up then.
func (a *App) startOf(u *config.Upstream) quota.Start {
	if _, left := a.saved[u.Name]; left || u.Provider == config.ProviderSim {
		return quota.Fresh
	}
	return a.start
}

// buildControl builds admission, the providers and dispatch over them.
func (a *App) buildControl() error {
	options, err := admissionOptions(a.config, a.startOf)
	if err != nil {
		return err
	}
	if a.admission, err = admission.New(options); err != nil {
		return err
	}
	a.undo.push(func() error { a.admission.Close(); return nil })
	a.restore()
	deps := dispatch.Deps{Admission: a.admission, Log: a.log}
	var listers []lister
	for i := range a.config.Upstreams {
		p, err := newProvider(&a.config.Upstreams[i], &a.undo, a.log)
		if err != nil {
			return err
		}
		deps.Providers, listers = append(deps.Providers, p), append(listers, p)
	}
	a.catalog = newCatalog(a.config, listers)
	metrics, err := prom.New(promOptions(a.config, a.admission))
	if err != nil {
		return err
	}
	a.sink = event.NewFanout(metrics, &logSink{a.log})
	deps.Sink = a.sink
	d, err := dispatch.New(dispatchOptions(a.config), deps)
	if err != nil {
		return err
	}
	a.dispatcher = &counted{Dispatcher: d, metrics: metrics.Handler()}
	return nil
}

// restore resumes what the last run left, but for simulators, which remember
// nothing.
func (a *App) restore() {
	for _, u := range a.config.Upstreams {
		if u.Provider == config.ProviderSim {
			delete(a.saved, u.Name)
		}
	}
	if len(a.saved) == 0 {
		return
	}
	if err := a.admission.Restore(a.saved); err != nil {
		a.log.Warn("part of the last run's state does not fit; those quotas start as if just used up", "error", err)
	}
}

func (a *App) buildGateway() (err error) {
	a.gateway, err = gateway.New(gatewayOptions(a.config), gateway.Deps{
		Dispatcher: a.dispatcher, Limits: a.admission, Catalog: a.catalog, Sink: a.sink, Metrics: a.dispatcher.metrics, Log: a.log,
	})
	return err
}

// Addr is where the data plane listens, as host:port.
func (a *App) Addr() string { return a.listener.Addr().String() }

// Run serves until ctx ends, drains and closes. It returns nil after a clean
// stop.
func (a *App) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- a.gateway.Serve(a.listener) }()
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve: %w", err), a.undo.unwind())
	case <-ctx.Done():
	}
	err := a.drain(context.WithoutCancel(ctx))
	return errors.Join(err, <-served, a.save(), a.undo.unwind())
}

// drain finishes what was accepted, up to limits.drain. The listener stays open
// as long, so that whoever asks is told that this replica is going.
func (a *App) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.config.Limits.Drain)
	defer cancel()
	a.log.Info("draining", "running", a.dispatcher.running(), "limit", a.config.Limits.Drain.String())
	a.gateway.Drain()
	select {
	case <-a.dispatcher.idle():
	case <-ctx.Done():
		a.log.Warn("the drain's limit passed; what still runs is ended", "running", a.dispatcher.running())
		a.admission.Close()
	}
	return a.gateway.Shutdown(ctx)
}

// save writes the state of a clean stop.
func (a *App) save() error {
	if a.ledger == nil {
		return nil
	}
	if err := a.ledger.save(a.admission.Save()); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// Close undoes New where Run was not called.
func (a *App) Close() error { return a.undo.unwind() }

// counted is a dispatcher that knows how many requests it runs.
type counted struct {
	*dispatch.Dispatcher
	metrics http.Handler

	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n falls to 0; nil until somebody waits
}

// Do implements gateway.Dispatcher.
func (c *counted) Do(ctx context.Context, req *dispatch.Request, reply dispatch.Reply) flow.Outcome {
	c.add(1)
	defer c.add(-1)
	return c.Dispatcher.Do(ctx, req, reply)
}

func (c *counted) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n += n; c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

func (c *counted) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// idle is closed once no request runs.
func (c *counted) idle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	none := make(chan struct{})
	if c.n == 0 {
		close(none)
	} else {
		c.none = none
	}
	return none
}
