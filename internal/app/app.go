package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/endpoint"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/gateway"
	"github.com/millrace/millrace/internal/inspect"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/sink/emf"
	"github.com/millrace/millrace/internal/sink/prom"
	"github.com/millrace/millrace/internal/sink/ring"
	"github.com/millrace/millrace/internal/store/memory"
)

// App is one gateway process.
type App struct {
	log      *slog.Logger
	mask     *mask // of log
	network  *network
	undo     stack
	listener net.Listener
	admin    net.Listener // nil where everything is on listener

	mu        sync.Mutex // held while a configuration is put in force
	plan      *plan
	options   admission.Options // in force
	providers []*provider       // by slot

	admission  *admission.Controller
	metrics    *prom.Sink
	emf        *emf.Sink // nil where none is wanted
	tally      *tally
	sink       event.Sink
	dispatcher *counted
	history    *memory.History
	runner     *runner.Runner
	endpoints  atomic.Pointer[endpoint.Set]
	ring       *ring.Ring
	meter      *console.Meter
	shadow     *console.Shadow
	console    *console.Console
	inspector  *inspect.Inspector
	rehearsal  *rehearsal
	table      atomic.Pointer[gateway.Options] // in force
	gateway    *gateway.Gateway

	ledger *ledger               // nil where no state is kept
	saved  map[string]gate.Saved // what the last run left of upstreams that have not come yet; nil for none
	opened []string              // breakers that an operator has opened in it, of such upstreams
	start  quota.Start           // of the upstreams that are not simulated here
}

// New builds a gateway from a checked configuration and binds its listeners.
// A nil log discards. The sinks are told of every request and attempt, beside the
// gateway's own. Call Run, or Close.
func New(c *config.Config, log *slog.Logger, sinks ...event.Sink) (*App, error) {
	n := sockets()
	if len(sinks) > 0 {
		n.sink = event.NewFanout(sinks...)
	}
	return newOn(n, c, log)
}

func newOn(n *network, c *config.Config, log *slog.Logger) (*App, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := newMask(log.Handler())
	m.learn(c)
	a := &App{log: slog.New(m), mask: m, network: n, plan: newPlan(c, slots{}, admission.Options{})}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.undo.unwind())
	}
	return a, nil
}

// build goes from the bottom up; each step pushes what undoes it.
func (a *App) build() error {
	for _, step := range []func() error{a.listen, a.openState, a.buildControl, a.buildTasks, a.buildConsole, a.buildGateway} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// listen comes first: a port that is taken is the commonest failure, and must
// not use up the state.
func (a *App) listen() (err error) {
	c := a.plan.config
	if a.listener, err = a.bind(c, "listen", c.Listen); err != nil || c.AllLoopback() {
		return err
	}
	a.admin, err = a.bind(c, "admin.listen", c.Admin.Listen)
	return err
}

func (a *App) bind(c *config.Config, key, address string) (net.Listener, error) {
	l, err := a.network.listen(address)
	if err != nil {
		return nil, fmt.Errorf("%s (%s): %w", key, c.Origin(key), err)
	}
	a.undo.push(func() error { return ignore(l.Close(), net.ErrClosed) })
	return l, nil
}

// openState finds out how the quotas start. Where it fails the quotas start as
// if they had just been used up, which is slow but safe.
func (a *App) openState() error {
	a.start = quota.Unknown
	c := a.plan.config
	if c.Simulated {
		return nil // windows of a simulator that starts with us are empty
	}
	l, err := openLedger(c.StateDir, thisMachine)
	if err != nil {
		a.log.Warn("state cannot be kept: quotas start as if just used up, so the first requests wait until they have refilled",
			"why", err, "state_dir", c.StateDir)
		return nil
	}
	a.ledger = l
	a.undo.push(l.close)
	saved, fresh, err := l.take()
	a.opened = slices.Clone(l.byHand)
	switch {
	case err != nil:
		a.log.Warn("the last run left no state to resume from: quotas start as if just used up, so the first requests wait until they have refilled",
			"why", err, "state_dir", c.StateDir)
	case fresh:
		a.start = quota.Fresh
	default:
		a.saved = saved
	}
	return nil
}

// startOf is how an upstream's quota begins, and each limit that a reload adds to it.
// One that will be restored begins fresh; what of it does not fit is taken as used up
// then.
func (a *App) startOf(u *config.Upstream) quota.Start {
	if i := a.plan.slots.upstream(u.Name); i >= 0 && i < len(a.options.Upstreams) {
		return a.options.Upstreams[i].Quota.Start // it has begun
	}
	if _, left := a.saved[u.Name]; left || u.Provider == config.ProviderSim {
		return quota.Fresh
	}
	return a.start
}

// buildControl builds admission, the providers and dispatch over them.
func (a *App) buildControl() (err error) {
	p := a.plan
	a.doubt(p)
	if a.options, err = p.admission(a.startOf); err != nil {
		return err
	}
	if a.admission, err = admission.New(a.options); err != nil {
		return err
	}
	a.undo.push(func() error { a.admission.Close(); return nil })
	a.settle(a.admission.Restore(a.saved), p)
	if a.providers, err = a.newProviders(p, &a.undo); err != nil {
		return err
	}
	if err := a.buildSinks(p); err != nil {
		return err
	}
	d, err := dispatch.New(p.dispatch(), dispatch.Deps{Admission: a.admission, Providers: dispatchable(a.providers), Sink: a.sink, Log: a.log})
	if err != nil {
		return err
	}
	a.dispatcher = &counted{Dispatcher: d}
	return nil
}

// newProviders are the providers of a plan by slot. Those that still do are used
// again; what is started is undone by the stack.
func (a *App) newProviders(p *plan, undo *stack) ([]*provider, error) {
	all := make([]*provider, len(p.slots.upstreams))
	for i, name := range p.slots.upstreams {
		u := p.upstreams[name]
		if i < len(a.providers) && (u == nil || a.providers[i].serves(u)) {
			all[i] = a.providers[i]
			continue
		}
		made, err := a.network.newProvider(u, undo, a.log)
		if err != nil {
			return nil, err
		}
		all[i] = made
	}
	return all, nil
}

func dispatchable(all []*provider) []dispatch.Provider {
	list := make([]dispatch.Provider, len(all))
	for i, p := range all {
		list[i] = p
	}
	return list
}

// doubt drops what the last run left once it can no longer be believed, and of
// simulators, which remember nothing.
func (a *App) doubt(p *plan) {
	if len(a.saved) > 0 && a.ledger.taken.sane(a.ledger.machine()) != nil {
		a.saved = nil
	}
	for _, u := range p.upstreams {
		if u.Provider == config.ProviderSim {
			delete(a.saved, u.Name)
		}
	}
}

// settle ends what is to be done for upstreams that are new in a plan, after they have
// resumed: each does so once, and what an operator has opened is open.
func (a *App) settle(unfit error, p *plan) {
	if unfit != nil {
		a.log.Warn("part of the last run's state does not fit; those quotas start as if just used up", "error", unfit)
	}
	for _, name := range p.slots.upstreams {
		delete(a.saved, name)
	}
	a.opened = slices.DeleteFunc(a.opened, func(name string) bool {
		known := a.admission.Trip(name) == nil
		if known {
			a.log.Warn("an operator has opened this breaker, and it stays open until one closes it", "upstream", name)
		}
		return known
	})
}

// Addr is where the data plane listens, as host:port.
func (a *App) Addr() string { return a.listener.Addr().String() }

// AdminAddr is where operators are served, as host:port.
func (a *App) AdminAddr() string {
	if a.admin == nil {
		return a.Addr()
	}
	return a.admin.Addr().String()
}

// save writes the state of a clean stop.
func (a *App) save() error {
	if a.ledger == nil {
		return nil
	}
	if err := a.ledger.save(a.admission.Save); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// trip opens an upstream's breaker by hand.
func (a *App) trip(upstream string) error { return a.byHand(a.admission.Trip(upstream)) }

// untrip closes it.
func (a *App) untrip(upstream string) error { return a.byHand(a.admission.ResetUpstream(upstream)) }

// untripAll closes all breakers and returns how many were not closed.
func (a *App) untripAll() int {
	n := a.admission.Reset()
	_ = a.byHand(nil)
	return n
}

// byHand notes at once what an operator has done to a breaker, unless that failed: a
// gateway that is killed writes nothing.
func (a *App) byHand(failed error) error {
	if failed != nil || a.ledger == nil {
		return failed
	}
	if err := a.ledger.note(a.admission.Save); err != nil {
		a.log.Warn("what was done to a breaker by hand is forgotten if this process is killed", "why", err)
	}
	return nil
}

// Close undoes New where Run was not called.
func (a *App) Close() error { return a.undo.unwind() }

// current is the configuration in force.
func (a *App) current() *plan {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.plan
}

// serving runs f in a goroutine of its own; what it returns is sent.
func serving(f func() error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	return ended
}

var errServe = errors.New("serve")

// Run serves until ctx ends, drains and closes. It returns nil after a clean
// stop.
func (a *App) Run(ctx context.Context) error {
	operators := a.serveAdmin()
	probes, halt := context.WithCancel(ctx)
	probing := make(chan struct{})
	go func() { defer close(probing); a.probe(probes) }()
	exports, hush := context.WithCancel(context.WithoutCancel(ctx))
	exporting := make(chan struct{})
	go func() { defer close(exporting); a.export(exports) }()
	served := serving(func() error { return a.gateway.Serve(a.listener) })
	var failed error
	select {
	case err := <-served:
		failed = fmt.Errorf("%w: %w", errServe, err)
		halt()
	case <-ctx.Done():
		halt()
		failed = errors.Join(a.drain(context.WithoutCancel(ctx)), <-served, a.save())
	}
	<-probing
	hush()
	<-exporting
	return errors.Join(failed, operators(), a.undo.unwind())
}
