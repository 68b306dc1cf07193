package app

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long a list of an upstream's models is believed, and how soon one that could
// not be read is asked for again.
const (
	catalogFresh = 5 * time.Minute
	catalogRetry = 10 * time.Second
)

// lister is a provider that knows the names of its models.
type lister interface {
	Models(ctx context.Context) ([]string, error)
}

// catalog answers which models a client can name. Where a pattern routes to an
// upstream without a model of its own, that upstream is asked.
type catalog struct {
	fixed   []string // from the configuration
	sources []lister

	turn  chan struct{} // holds one: the right to ask them, for whoever waits for the list
	mu    sync.Mutex
	asked []string
	until time.Time
}

// newCatalog reads the configuration's routes. providers are by slot.
func newCatalog(p *plan, providers []lister) *catalog {
	k := &catalog{turn: make(chan struct{}, 1)}
	open := make(map[int]bool)
	for i := range p.config.Routes {
		r := &p.config.Routes[i]
		if !strings.HasSuffix(r.Model, "*") {
			k.fixed = append(k.fixed, r.Model)
			continue
		}
		for _, u := range p.targets(r) {
			if name := p.upstreams[p.slots.upstreams[u]].Model; name != "" {
				k.fixed = append(k.fixed, name)
			} else if !open[u] {
				open[u] = true
				k.sources = append(k.sources, providers[u])
			}
		}
	}
	return k
}

// Models implements gateway.Catalog. An upstream that does not answer is left out.
func (k *catalog) Models(ctx context.Context) []string {
	asked, fresh := k.known()
	if !fresh && len(k.sources) > 0 {
		asked = k.refresh(ctx)
	}
	var all []string
	for _, name := range slices.Concat(k.fixed, asked) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// known is the list that was read last, and whether it is still believed.
func (k *catalog) known() (names []string, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked, time.Now().Before(k.until)
}

// refresh asks the upstreams, once for all who want to know, and to the end although
// the one in whose turn that is may leave.
func (k *catalog) refresh(ctx context.Context) []string {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
	}
	if names, fresh := k.known(); fresh || ctx.Err() != nil {
		return names
	}
	ctx = context.WithoutCancel(ctx) // each answer has a bound of its own
	var names []string
	keep := catalogFresh
	for _, source := range k.sources {
		some, err := source.Models(ctx)
		if err != nil {
			keep = catalogRetry
			continue
		}
		names = append(names, some...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(names) == 0 {
		names = k.asked // what was known is better than nothing
	}
	k.asked, k.until = names, time.Now().Add(keep)
	return names
}
