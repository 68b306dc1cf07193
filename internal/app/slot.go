package app

import (
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/config"
)

// probeRoute begins the names of the routes that lead to one upstream each, for
// the gateway's own questions. No client can name them: no model's name holds it.
const probeRoute = "\x00probe/"

// slots give every upstream and every route the index by which admission and
// dispatch know it for as long as the process runs. What a configuration no longer
// names keeps its slot, for requests that still wait or run there.
type slots struct {
	upstreams []string // names
	routes    []string // models and patterns, and a probe route for each upstream
}

// claim adds a slot for all that the configuration names and that has none yet.
func (s slots) claim(c *config.Config) slots {
	s.upstreams, s.routes = slices.Clone(s.upstreams), slices.Clone(s.routes)
	add := func(list *[]string, name string) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	for i := range c.Routes {
		add(&s.routes, c.Routes[i].Model)
	}
	for i := range c.Upstreams {
		add(&s.upstreams, c.Upstreams[i].Name)
		add(&s.routes, probeRoute+c.Upstreams[i].Name)
	}
	return s
}

func (s slots) upstream(name string) int { return slices.Index(s.upstreams, name) }
func (s slots) route(model string) int   { return slices.Index(s.routes, model) }

// plan is a configuration in the slots that it has been given.
type plan struct {
	config    *config.Config
	slots     slots
	upstreams map[string]*config.Upstream // by name
	routes    map[string]*config.Route    // by model
	before    admission.Options           // in force until now: what is retired goes on as it was
}

func newPlan(c *config.Config, s slots, before admission.Options) *plan {
	p := &plan{
		config: c, slots: s.claim(c), before: before,
		upstreams: make(map[string]*config.Upstream), routes: make(map[string]*config.Route),
	}
	for i := range c.Upstreams {
		p.upstreams[c.Upstreams[i].Name] = &c.Upstreams[i]
	}
	for i := range c.Routes {
		p.routes[c.Routes[i].Model] = &c.Routes[i]
	}
	return p
}

// classes are the names of the configured classes, sorted.
func (p *plan) classes() []string { return slices.Sorted(maps.Keys(p.config.Classes)) }

// find returns the slot of the route of a client's model name, as the gateway
// chooses it: the name's own, else the first pattern.
func (p *plan) find(model string) (int, bool) {
	if p.routes[model] != nil && !strings.HasSuffix(model, "*") {
		return p.slots.route(model), true
	}
	for i := range p.config.Routes {
		pattern := p.config.Routes[i].Model
		if stem, open := strings.CutSuffix(pattern, "*"); open && strings.HasPrefix(model, stem) {
			return p.slots.route(pattern), true
		}
	}
	return 0, false
}

// targets are the slots of a route's upstreams.
func (p *plan) targets(r *config.Route) []int {
	indexes := make([]int, 0, len(r.Upstreams))
	for _, name := range r.Upstreams {
		indexes = append(indexes, p.slots.upstream(name))
	}
	return indexes
}
