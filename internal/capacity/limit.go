package capacity

import (
	"slices"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// limitKind is what sets a limit.
type limitKind uint8

const (
	quotaLimit  limitKind = iota // a window of an upstream
	seatLimit                    // of an upstream
	classLimit                   // a class's rate
	taskLimit                    // the bound on tasks
	tenantLimit                  // of a tenant's own: requests, tokens or seats
)

// Limit is one number of a configuration that may bind.
type Limit struct {
	Path string        `json:"path"` // in the configuration, such as upstreams.main.quota.tokens
	Max  int64         `json:"max"`
	Per  time.Duration `json:"-"` // 0 where requests at a time are counted

	Shadow bool `json:"shadow,omitempty"` // it is counted and holds nobody up, so it never binds

	kind   limitKind
	index  int // of the upstream, class or tenant
	window int // in its quota
	dim    quota.Dim
}

// Value is the limit as it is written in the configuration, such as 20/m.
func (l Limit) Value() string { return value(l.Max, l.Per) }

var units = map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}

func value(n int64, per time.Duration) string {
	text := strconv.FormatInt(n, 10)
	if per == 0 || per == 24*time.Hour { // a day is in the setting's name
		return text
	}
	if unit, known := units[per]; known {
		return text + "/" + unit
	}
	return text + "/" + per.String()
}

// words is what a limit counts, for a table.
func (l Limit) words() string {
	switch l.kind {
	case seatLimit:
		return "seats"
	case taskLimit:
		return "tasks"
	case classLimit:
		return "class rate"
	case tenantLimit:
		if l.Per == 0 {
			return "tenant seats"
		}
		return "tenant " + l.dim.String()
	case quotaLimit:
	}
	return l.dim.String()
}

// unlimited is a Max that never binds.
const unlimited = int64(1) << 44

// limitsOf lists what may bind the requests of a plan: the quotas of the route's
// upstreams, the rates of the classes in the mix, what its tenants may use, and the bound
// on tasks.
func limitsOf(o *Options) []Limit {
	var all []Limit
	g := &o.Gate
	for _, u := range g.Routes[o.Route].Upstreams {
		all = append(all, upstreamLimits(g, u)...)
	}
	for i := range g.Classes {
		c := &g.Classes[i]
		in := slices.ContainsFunc(o.Work.Mix, func(s Share) bool { return s.Class == c.Name && s.Part > 0 })
		if in && c.Rate.Max > 0 {
			all = append(all, Limit{Path: "classes." + string(c.Name) + ".rate", Max: int64(c.Rate.Max), Per: c.Rate.Per, kind: classLimit, index: i, Shadow: c.Rate.Shadow})
		}
	}
	for i := range g.Tenants {
		if slices.Contains(o.Work.Tenants, g.Tenants[i].Name) {
			all = append(all, tenantLimits(g, i)...)
		}
	}
	if g.Tasks > 0 && o.Work.Manner == Task {
		all = append(all, Limit{Path: "tasks.concurrency", Max: int64(g.Tasks), kind: taskLimit})
	}
	return all
}

var settings = [quota.NumDims]string{"requests", "input_tokens", "output_tokens", "tokens"}

func upstreamLimits(g *gate.Options, u int) []Limit {
	var all []Limit
	q := &g.Upstreams[u].Quota
	path := "upstreams." + g.Upstreams[u].Name + ".quota."
	for i, l := range q.Limits {
		per, name := l.Span, settings[l.Dim]
		if per == 0 {
			per = time.Minute
		}
		if per == 24*time.Hour {
			name += "_per_day"
		}
		all = append(all, Limit{Path: path + name, Max: l.Max, Per: per, kind: quotaLimit, index: u, window: i, dim: l.Dim, Shadow: l.Shadow})
	}
	if q.Seats > 0 {
		all = append(all, Limit{Path: path + "seats", Max: int64(q.Seats), kind: seatLimit, index: u, Shadow: q.SeatsShadow})
	}
	return all
}

func tenantLimits(g *gate.Options, tenant int) []Limit {
	var all []Limit
	t := &g.Tenants[tenant]
	path := "tenants." + t.Name + "."
	add := func(dim quota.Dim, r gate.Rate) {
		if r.Max > 0 {
			all = append(all, Limit{Path: path + settings[dim], Max: int64(r.Max), Per: r.Per, kind: tenantLimit, index: tenant, dim: dim, Shadow: r.Shadow})
		}
	}
	add(quota.Requests, t.Requests)
	add(quota.Total, t.Tokens)
	if t.Seats > 0 {
		all = append(all, Limit{Path: path + "seats", Max: int64(t.Seats), kind: tenantLimit, index: tenant})
	}
	return all
}

// withTenant is a tenant with one limit changed; 0 takes it away.
func (l Limit) withTenant(t gate.Tenant, to int) gate.Tenant {
	switch {
	case l.Per == 0:
		t.Seats = to
	case l.dim == quota.Total:
		t.Tokens.Max = to
	default:
		t.Requests.Max = to
	}
	return t
}

// with is the options with one limit changed; unlimited takes it away.
func (l Limit) with(o gate.Options, to int64) gate.Options {
	switch l.kind {
	case classLimit:
		o.Classes = slices.Clone(o.Classes)
		if o.Classes[l.index].Rate.Max = int(to); to >= unlimited {
			o.Classes[l.index].Rate.Max = 0
		}
	case tenantLimit:
		o.Tenants = slices.Clone(o.Tenants)
		o.Tenants[l.index] = l.withTenant(o.Tenants[l.index], int(to%unlimited))
	case taskLimit:
		if o.Tasks = int(to); to >= unlimited {
			o.Tasks = 0
		}
	case seatLimit:
		o.Upstreams = slices.Clone(o.Upstreams)
		if o.Upstreams[l.index].Quota.Seats = int(to); to >= unlimited {
			o.Upstreams[l.index].Quota.Seats = 0
		}
	case quotaLimit:
		o.Upstreams = slices.Clone(o.Upstreams)
		q := &o.Upstreams[l.index].Quota
		q.Limits = slices.Clone(q.Limits)
		w := &q.Limits[l.window]
		if w.Burst > 0 { // a bucket grows with its rate
			w.Burst = max(int64(float64(w.Burst)*float64(to)/float64(w.Max)), 1)
		}
		w.Max = to
	}
	return o
}

// knows reports whether the configuration has a class of that name.
func knows(g *gate.Options, name flow.Class) bool {
	return slices.ContainsFunc(g.Classes, func(c gate.Class) bool { return c.Name == name })
}
