package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/internal/config"
)

// Reload puts another checked configuration in force while requests wait and run.
// Who waits keeps the place, what runs goes on with what it began with, and
// windows, breakers, metrics and tasks are kept. What needs a restart is named in
// the log and left as it is. If it fails, the old configuration stays in force.
func (a *App) Reload(c *config.Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if left := a.plan.config.Restart(c); len(left) > 0 {
		a.log.Warn("part of the new configuration takes effect at the next start only", "settings", strings.Join(left, ", "))
	}
	a.mask.learn(c)
	old, options, providers := a.plan, a.options, a.providers
	next := newPlan(c, old.slots, options)
	var started stack
	if err := a.apply(next, &started); err != nil {
		back := newPlan(old.config, next.slots, a.options)
		a.providers = padded(providers, a.providers)
		if failed := a.apply(back, &started); failed != nil {
			err = errors.Join(err, fmt.Errorf("go back: %w", failed))
		}
		return errors.Join(err, started.unwind())
	}
	a.undo.push(started.unwind)
	for i, p := range providers {
		if a.providers[i] != p {
			p.retire()
		}
	}
	return nil
}

// padded is the old providers, and the new ones of slots that are newer.
func padded(old, next []*provider) []*provider {
	if len(next) <= len(old) {
		return old
	}
	return append(slices.Clip(old), next[len(old):]...)
}

// apply hands the plan to every part, from the bottom up: names that a part above
// learns are known below.
func (a *App) apply(p *plan, started *stack) error {
	options, err := p.admission(a.startOf)
	if err != nil {
		return err
	}
	providers, err := a.newProviders(p, started)
	if err != nil {
		return err
	}
	set, err := a.newEndpoints(p)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return a.metrics.Name(p.classes(), p.slots.upstreams) },
		func() error { return a.dispatcher.Reconfigure(p.dispatch(), dispatchable(providers)) },
		func() error { return a.admission.Reconfigure(options) },
		func() error { a.options, a.providers = options, providers; return nil },
		func() error { return a.runner.Reconfigure(p.runner()) },
		func() error {
			return a.gateway.Reconfigure(p.gateway(mounts(set)), newCatalog(p, listers(providers)))
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	a.endpoints.Store(set)
	a.plan = p
	return nil
}
