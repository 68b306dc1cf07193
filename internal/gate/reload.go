package gate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/quota"
)

// Reconfigure changes the options of a gate in which requests wait and run. What
// is used of a quota, what breakers and estimates have learned and the places of
// all who wait stay. Upstreams and routes keep their indices for good: the new
// options list those of the old, removed ones marked as retired, then new ones.
// If it fails nothing has changed.
func (g *Gate) Reconfigure(now time.Time, o Options) error {
	if n := len(o.Upstreams); n > maxUpstreams {
		return fmt.Errorf("reconfigure: %d upstreams have had a name since the start, and one process knows at most %d: restart to forget those that are gone", n, maxUpstreams)
	}
	if err := errors.Join(o.Validate(), g.continues(o)); err != nil {
		return err
	}
	return g.configure(now, o)
}

// continues checks that indices keep their meaning.
func (g *Gate) continues(o Options) error {
	if len(o.Upstreams) < len(g.upstreams) || len(o.Routes) < len(g.routes) {
		return errors.New("reconfigure: upstreams and routes that are gone must be listed as retired")
	}
	for i := range g.upstreams {
		if name := g.upstreams[i].name; o.Upstreams[i].Name != name {
			return fmt.Errorf("reconfigure: upstreams[%d] was %s and cannot become %s", i, name, o.Upstreams[i].Name)
		}
	}
	return nil
}

// configure applies checked options.
func (g *Gate) configure(now time.Time, o Options) error {
	o.defaults()
	if err := g.setUpstreams(now, o.Upstreams); err != nil {
		return err
	}
	if err := g.setTenants(now, o.Tenants); err != nil {
		return err
	}
	before := g.options
	g.options, g.now = o, now
	g.runTasks(0)
	g.setRoutes(o.Routes)
	g.setPools()
	g.unweigh(before)
	g.setClasses(o.Classes)
	for _, e := range g.byArrival() {
		g.renew(now, e)
		g.rehome(e)
	}
	for _, p := range g.pools {
		p.dirty, p.resume = true, true
		p.waiting = p.queue.Len() == 0 // so that every quota is told
		p.saturate(now)
	}
	return nil
}

// setUpstreams makes the new upstreams first, for that can fail, and then changes
// those that are there.
func (g *Gate) setUpstreams(now time.Time, list []Upstream) error {
	next := slices.Clone(g.upstreams)
	for i, u := range list {
		if i < len(next) {
			continue
		}
		q, err := quota.New(now, u.Quota)
		if err != nil {
			return fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		next = append(next, upstream{name: u.Name, quota: q, breaker: breaker.New(u.Breaker), meter: u.Quota.Meter, options: u})
	}
	for i := range g.upstreams {
		if err := list[i].Quota.Validate(); err != nil {
			return fmt.Errorf("upstream %s: %w", list[i].Name, err)
		}
	}
	for i := range g.upstreams {
		up, u := &next[i], list[i]
		_ = up.quota.Reconfigure(now, u.Quota) // validated above
		up.breaker.Reconfigure(u.Breaker)
		up.meter, up.options = u.Quota.Meter, u
	}
	g.upstreams = next
	return nil
}

func (g *Gate) setTenants(now time.Time, list []Tenant) error {
	next := make(map[string]*tenant)
	for _, t := range list {
		o, limited := t.quota()
		if !limited {
			continue
		}
		old := g.tenants[t.Name]
		if old == nil {
			q, err := quota.New(now, o)
			if err != nil {
				return fmt.Errorf("tenant %s: %w", t.Name, err)
			}
			old = &tenant{quota: q, meter: o.Meter}
		} else if err := old.quota.Reconfigure(now, o); err != nil {
			return fmt.Errorf("tenant %s: %w", t.Name, err)
		}
		old.options = t
		next[t.Name] = old
	}
	g.tenants = next
	return nil
}

// setRoutes takes over the routes. A retired one on which nothing waits or runs
// connects nothing any more.
func (g *Gate) setRoutes(list []Route) {
	used := make([]bool, len(list))
	for _, e := range g.entries {
		used[e.ask.Route] = true
	}
	g.routes = slices.Clone(list)
	for i := range g.routes {
		if r := &g.routes[i]; r.Retired && !used[i] {
			r.Upstreams = r.Upstreams[:1]
		}
	}
	g.lines = append(g.lines, make([]int, len(list)-len(g.lines))...)
}

// setPools groups the upstreams that routes connect. A group goes on with the pool
// of its first upstream, and so with the order of those who wait there.
func (g *Gate) setPools() {
	taken := make(map[*pool]bool)
	g.pools = g.pools[:0:0]
	for _, members := range components(len(g.upstreams), g.routes) {
		var p *pool
		for i := range g.upstreams {
			if old := g.upstreams[i].pool; members&(1<<i) != 0 && old != nil && !taken[old] {
				p = old
				break
			}
		}
		if p == nil {
			p = &pool{gate: g, queue: fairqueue.New(fairqueue.Options{Deadlines: true})}
		}
		taken[p] = true
		p.members = members
		g.pools = append(g.pools, p)
	}
	for _, p := range g.pools {
		for i := range g.upstreams {
			if p.members&(1<<i) != 0 {
				g.upstreams[i].pool = p
			}
		}
	}
	g.homes = make([]*pool, len(g.routes))
	for i, r := range g.routes {
		g.homes[i] = g.upstreams[r.Upstreams[0]].pool
	}
}

// components are the sets of upstreams that routes connect, as bit masks.
func components(n int, routes []Route) []uint64 {
	sets := make([]uint64, n)
	for i := range sets {
		sets[i] = 1 << i
	}
	for _, r := range routes {
		union := uint64(0)
		for _, u := range r.Upstreams {
			union |= sets[u]
		}
		for i := range sets {
			if union&(1<<i) != 0 {
				sets[i] = union
			}
		}
	}
	var all []uint64
	for _, set := range sets {
		if !slices.Contains(all, set) {
			all = append(all, set)
		}
	}
	return all
}

// setClasses takes over classes and weights. What a class has learned of its waits
// stays, and so do the starts that its rate remembers.
func (g *Gate) setClasses(list []Class) {
	old := g.classes
	g.classes, g.limited = make(map[flow.Class]*class), nil
	if !slices.ContainsFunc(list, func(c Class) bool { return c.Name == flow.Chat }) {
		list = append(slices.Clone(list), Class{Name: flow.Chat})
	}
	for _, c := range list {
		k := old[c.Name]
		if k == nil {
			k = g.gone[c.Name]
		}
		if k == nil {
			k = &class{name: c.Name, quotes: newCalibration()}
		}
		k.maxWait = c.MaxWait
		if k.rate != c.Rate || k.starts == nil {
			k.rate, k.starts = c.Rate, k.starts.resize(c.Rate)
		}
		g.classes[c.Name] = k
		if k.starts != nil || k.paused {
			g.limited = append(g.limited, k)
		}
		g.weigh(c)
	}
	for name, k := range old {
		if now := g.classes[name]; now == nil || now.starts == nil && !now.paused {
			g.unstop(name)
			g.turn(g.now, k, flow.ReasonNone)
		}
	}
	g.remember(old)
}

// remember keeps the classes that are gone, in case they come back with their starts;
// those of the configuration before, no more.
func (g *Gate) remember(old map[flow.Class]*class) {
	g.gone = make(map[flow.Class]*class)
	for name, k := range old {
		if g.classes[name] == nil {
			g.gone[name] = k
		}
	}
}

// weigh sets the weights of a class and of the tenants within it, everywhere.
func (g *Gate) weigh(c Class) {
	for _, p := range g.pools {
		p.queue.Weigh(c.Name, "", c.Weight)
		for _, t := range g.options.Tenants {
			p.queue.Weigh(c.Name, t.Name, t.Weight)
		}
	}
}

// unweigh takes back the weights that only the options before these gave.
func (g *Gate) unweigh(before Options) {
	for _, c := range slices.Concat(before.Classes, []Class{{Name: flow.Chat}}) {
		kept := c.Name == flow.Chat || slices.ContainsFunc(g.options.Classes, func(k Class) bool { return k.Name == c.Name })
		for _, p := range g.pools {
			for _, t := range before.Tenants {
				if !kept || !slices.ContainsFunc(g.options.Tenants, func(k Tenant) bool { return k.Name == t.Name }) {
					p.queue.Weigh(c.Name, t.Name, 1)
				}
			}
			if !kept {
				p.queue.Weigh(c.Name, "", 1)
			}
		}
	}
}

// unstop lets a class run that has no rate any more.
func (g *Gate) unstop(name flow.Class) {
	for _, p := range g.pools {
		p.queue.Stop(name, false)
	}
}

// byArrival are all entries, in the order of their arrival.
func (g *Gate) byArrival() []*entry {
	all := make([]*entry, 0, len(g.entries))
	for _, e := range g.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int {
		if c := a.arrived.Compare(b.arrived); c != 0 {
			return c
		}
		return cmp.Compare(a.id, b.id)
	})
	return all
}

// renew brings an entry in line with the limits in force: its class's and tenant's,
// its route's, and whether any upstream can still hold it. What can run nowhere any
// more is evicted by the next Step: waiting on, it would in the end hold up all behind
// it. What runs is settled where it was reserved.
func (g *Gate) renew(now time.Time, e *entry) {
	if c := g.classes[e.ask.Flow.Class]; c != nil && c != e.class { // else it goes on in the class that is gone
		g.count(e, -e.stands())
		e.class = c
		g.count(e, e.stands())
	}
	if e.state == running {
		return
	}
	if now := g.tenants[e.ask.Flow.Tenant]; now != e.tenant {
		g.count(e, -e.stands())
		g.belong(e)
		g.count(e, e.stands())
	}
	e.spill = e.spill && g.routes[e.ask.Route].Spill
	e.refusal = g.measure(e)
	if e.retryAt.IsZero() {
		g.forgive(e)
	}
	switch {
	case e.refusal != nil:
		g.due.set(e, now)
	case e.state == queued:
		g.schedule(e)
	}
}

// forgive gives an entry that has failed at all that could hold it another chance there:
// where it was to go on is no longer of its route.
func (g *Gate) forgive(e *entry) {
	if !slices.ContainsFunc(g.routes[e.ask.Route].Upstreams, func(u int) bool { return (e.failed|e.tooLarge)&(1<<u) == 0 }) {
		e.failed = 0
	}
}

// rehome moves an entry to the pool of its route, if that has changed.
func (g *Gate) rehome(e *entry) {
	home := g.homes[e.ask.Route]
	if e.pool == home {
		return
	}
	if e.state != running && !e.away {
		e.pool.take(e)
		home.push(e)
	}
	e.pool = home
}

// Reset closes all breakers and returns how many were not closed. The next Step
// looks at those who waited for one.
func (g *Gate) Reset(now time.Time) int {
	n := 0
	for i := range g.upstreams {
		u := &g.upstreams[i]
		if u.breaker.State(now) != breaker.Closed {
			u.breaker.Reset(now)
			u.pool.resume = true
			n++
		}
	}
	return n
}
