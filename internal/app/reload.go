package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	c, err := a.bound(c)
	if err != nil {
		return err
	}
	a.mask.learn(c)
	old, providers := a.plan, a.providers
	next := newPlan(c, old.slots, a.options)
	var started stack
	if err := a.apply(next, &started); err != nil {
		return errors.Join(err, a.goBack(next, providers, &started))
	}
	if !started.empty() {
		a.undo.push(started.unwind)
	}
	for i, p := range providers {
		if a.providers[i] != p {
			p.retire()
		}
	}
	return nil
}

// bound is the configuration with the addresses on which this process listens. Who may
// ask what depends on them, and those of the file hold from the next start only.
func (a *App) bound(c *config.Config) (*config.Config, error) {
	was, here := a.plan.config, *c
	here.Listen, here.Admin.Listen, here.StateDir, here.Metrics = was.Listen, was.Admin.Listen, was.StateDir, was.Metrics
	if len(here.Keys) == 0 && !here.AllLoopback() {
		return nil, fmt.Errorf("keys: none are left, and this process still listens on %s, where anyone could spend the quota: restart it, or keep a key", was.Listen)
	}
	return &here, nil
}

// goBack puts the plan in force again, after the next one failed half-way. Slots that
// admission has learned of are for good, and so are the providers in them.
func (a *App) goBack(next *plan, providers []*provider, started *stack) error {
	slots, learned := a.plan.slots, len(a.options.Routes) > len(a.plan.slots.routes)
	if learned {
		slots = next.slots
	}
	a.providers = padded(providers, a.providers)
	err := a.apply(newPlan(a.plan.config, slots, a.options), started)
	if err != nil {
		err = fmt.Errorf("go back: %w", err)
	}
	if learned {
		a.undo.push(started.unwind)
		return err
	}
	return errors.Join(err, started.unwind())
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
	a.doubt(p)
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
		func() error { return a.name(p.classes(), p.slots.upstreams) },
		func() error { return a.dispatcher.Reconfigure(p.dispatch(), dispatchable(providers)) },
		func() error {
			unfit, err := a.admission.Reconfigure(options, a.saved)
			if err == nil {
				a.options, a.providers = options, providers
				a.settle(unfit, p)
			}
			return err
		},
		func() error { return a.runner.Reconfigure(p.runner()) },
		func() error {
			o := p.gateway(a.mounts(p, mounts(set)))
			if err := a.gateway.Reconfigure(o, newCatalog(p, listers(providers))); err != nil {
				return err
			}
			a.table.Store(&o)
			return a.shadow.Reconfigure(time.Now(), options, p.shadowed())
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
