package app

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
)

// drain finishes what was accepted, up to limits.drain. The listener stays open
// as long, so that whoever asks is told that this replica is going.
func (a *App) drain(ctx context.Context) error {
	limit := a.current().config.Limits.Drain
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tasks := a.runner.Stats()
	a.log.Info("draining", "running", a.dispatcher.running(), "tasks", tasks.Waiting+tasks.Running+tasks.Scheduled, "limit", limit.String())
	a.gateway.Drain()
	a.console.Close()
	a.runner.Drain()
	if !a.finished(ctx) {
		a.log.Warn("the drain's limit passed; what still runs is ended", "running", a.dispatcher.running())
		a.admission.Close()
	}
	return a.gateway.Shutdown(ctx)
}

// finished reports whether all that was accepted ended before ctx did.
func (a *App) finished(ctx context.Context) bool {
	for _, idle := range []func() <-chan struct{}{a.runner.Idle, a.dispatcher.idle} {
		select {
		case <-idle():
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// serveAdmin serves operators, where they have a listener of their own; the
// function ends that.
func (a *App) serveAdmin() func() error {
	if a.admin == nil {
		return func() error { return nil }
	}
	server := &http.Server{Handler: a.gateway.Admin(), DisableGeneralOptionsHandler: true, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	served := serving(func() error { return server.Serve(a.admin) })
	return func() error {
		err := server.Close()
		return ignoring(err, <-served)
	}
}

// ignoring is the first of the errors that says more than that something ended.
func ignoring(all ...error) error {
	for _, err := range all {
		if err := ignore(err, net.ErrClosed); err != nil {
			return err
		}
	}
	return nil
}

// counted is a dispatcher that knows how many requests it runs.
type counted struct {
	*dispatch.Dispatcher

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
