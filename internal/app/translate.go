package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/endpoint"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/gateway"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/respcache"
	"github.com/millrace/millrace/internal/runner"
)

// admission returns the options of admission; start says how a quota begins that
// is new.
func (p *plan) admission(start func(u *config.Upstream) quota.Start) (admission.Options, error) {
	c := p.config
	o := admission.Options{MaxQueue: c.Limits.Queue, MaxFlow: c.Limits.QueuePerUser, Hold: c.Limits.Hold, Tasks: c.Tasks.Concurrency}
	for i, name := range p.slots.upstreams {
		u := p.upstreams[name]
		if u == nil {
			old := p.before.Upstreams[i]
			old.Retired = true
			o.Upstreams = append(o.Upstreams, old)
			continue
		}
		q, err := quotaOptions(u)
		if err != nil {
			return o, fmt.Errorf("upstream %s: %w", name, err)
		}
		q.Start = start(u)
		o.Upstreams = append(o.Upstreams, gate.Upstream{Name: name, Quota: q, Breaker: breakerOptions(u)})
	}
	for i, name := range p.slots.routes {
		o.Routes = append(o.Routes, p.gateRoute(i, name))
	}
	for _, name := range p.classes() {
		class := c.Classes[name]
		o.Classes = append(o.Classes, gate.Class{
			Name: flow.Class(name), Weight: class.Weight, MaxWait: class.MaxWait,
			Rate: gate.Rate{Max: int(class.Rate.Count), Per: class.Rate.Per, Even: class.Spacing == "even", Shadow: !class.Enforce},
		})
	}
	o.Tenants = tenants(c)
	if p.gateway(nil).Crowded() {
		o.MaxTenant = max(o.MaxQueue/2, 1) // a half is always left to the others
	}
	return o, nil
}

func (p *plan) gateRoute(i int, name string) gate.Route {
	if r := p.routes[name]; r != nil {
		return gate.Route{Upstreams: p.targets(r), Spill: r.OnFull == "spill", SpillAfter: r.SpillAfter}
	}
	if upstream, probe := strings.CutPrefix(name, probeRoute); probe && p.upstreams[upstream] != nil {
		return gate.Route{Upstreams: []int{p.slots.upstream(upstream)}}
	}
	old := p.before.Routes[i]
	old.Retired = true
	return old
}

// tenants are those with a weight or limits; keys of one tenant say the same.
func tenants(c *config.Config) []gate.Tenant {
	var all []gate.Tenant
	seen := make(map[string]bool)
	for i := range c.Keys {
		k := &c.Keys[i]
		if seen[k.Tenant] {
			continue
		}
		seen[k.Tenant] = true
		all = append(all, gate.Tenant{
			Name: k.Tenant, Weight: k.Weight, Seats: k.Seats,
			Requests: gate.Rate{Max: int(k.Requests.Count), Per: k.Requests.Per},
			Tokens:   gate.Rate{Max: int(k.Tokens.Count), Per: k.Tokens.Per},
		})
	}
	return all
}

func breakerOptions(u *config.Upstream) breaker.Options {
	return breaker.Options{
		Failures: u.Breaker.Failures, Ratio: u.Breaker.Ratio, Open: u.Breaker.Open,
		ProbeTimeout: max(u.Breaker.Open, u.Timeout.Connect+u.Timeout.FirstByte+u.Timeout.Read),
	}
}

func quotaOptions(u *config.Upstream) (quota.Options, error) {
	kind, err := quota.ParseKind(u.Quota.Window)
	if err != nil {
		return quota.Options{}, err
	}
	meter, known := quota.MeterFor(meterName(u))
	if !known {
		return quota.Options{}, fmt.Errorf("meter %q is unknown", meterName(u))
	}
	q := &u.Quota
	o := quota.Options{Seats: int(q.Seats), SeatsShadow: q.Watched("seats"), Meter: meter}
	for _, d := range []struct {
		dim  quota.Dim
		key  string
		rate config.Rate
		day  int64
	}{
		{quota.Requests, "requests", q.Requests, q.RequestsPerDay},
		{quota.Total, "tokens", q.Tokens, q.TokensPerDay},
		{quota.Input, "input_tokens", q.InputTokens, q.InputTokensPerDay},
		{quota.Output, "output_tokens", q.OutputTokens, q.OutputTokensPerDay},
	} {
		if d.rate.Count > 0 {
			l := limit(d.dim, d.rate, kind, u)
			l.Shadow = q.Watched(d.key)
			o.Limits = append(o.Limits, l)
		}
		if key := d.key + "_per_day"; d.day > 0 {
			o.Limits = append(o.Limits, quota.Limit{Dim: d.dim, Max: d.day, Span: 24 * time.Hour, Shadow: q.Watched(key)})
		}
	}
	return o, nil
}

// limit translates a rate; a burst given as time becomes what the rate refills
// in it, at least one.
func limit(dim quota.Dim, r config.Rate, kind quota.Kind, u *config.Upstream) quota.Limit {
	l := quota.Limit{Dim: dim, Max: r.Count, Span: r.Per, Kind: kind}
	if kind == quota.Slice {
		l.Slice = min(u.Quota.Slice, r.Per)
	}
	if u.Quota.Burst > 0 && (kind == quota.Bucket || kind == quota.Paced) {
		l.Burst = max(int64(float64(r.Count)*u.Quota.Burst.Seconds()/r.Per.Seconds()), 1)
	}
	return l
}

func (p *plan) dispatch() dispatch.Options {
	c := p.config
	o := dispatch.Options{Limits: map[flow.Class]dispatch.Limits{}, Cache: respcache.Options{Bytes: int64(c.Limits.Cache)}}
	for _, name := range p.slots.upstreams {
		u := dispatch.Upstream{Name: name}
		if now := p.upstreams[name]; now != nil {
			u.Model, u.Provider = now.Model, now.Provider
		}
		o.Upstreams = append(o.Upstreams, u)
	}
	for _, name := range p.slots.routes {
		if strings.HasPrefix(name, probeRoute) {
			name = "probe"
		}
		o.Routes = append(o.Routes, name)
	}
	for name, class := range c.Classes {
		if class.Hard > 0 || class.Soft > 0 {
			o.Limits[flow.Class(name)] = dispatch.Limits{Soft: class.Soft, Hard: class.Hard}
		}
	}
	return o
}

func (p *plan) gateway(mounts []gateway.Mount) gateway.Options {
	c := p.config
	o := gateway.Options{
		MaxBody: int64(c.Limits.MaxBody), Bodies: int64(c.Limits.Bodies), Hold: c.Limits.Hold, Mounts: mounts,
		TrustedProxies: c.Proxies(), Loopback: c.AllLoopback(),
		Connections: c.Limits.Connections, ConnectionsPerIP: c.Limits.ConnectionsPerIP,
	}
	if o.Loopback {
		o.ConnectionsPerIP = 0 // everybody has the same address
	}
	for _, name := range p.slots.routes {
		route := gateway.Route{Model: name}
		if r := p.routes[name]; r != nil {
			route = gateway.Route{
				Model: name, Class: flow.Class(r.Class), Hold: r.Hold,
				Coalesce: r.Coalesce, Cache: r.Cache, ShareUsers: r.Share == "tenant",
			}
		}
		o.Routes = append(o.Routes, route)
	}
	for i := range c.Routes {
		o.Order = append(o.Order, p.slots.route(c.Routes[i].Model))
	}
	for _, name := range p.classes() {
		o.Classes = append(o.Classes, gateway.Class{Name: flow.Class(name), Weight: c.Classes[name].Weight})
	}
	for i := range c.Keys {
		k := &c.Keys[i]
		o.Keys = append(o.Keys, gateway.Key{
			Name: k.Name, SHA256: k.SHA256, Tenant: k.Tenant, Role: roles[k.Role], Class: flow.Class(k.Class), Classes: classNames(k.Classes), Models: k.Models,
		})
	}
	return o
}

var roles = map[string]gateway.Role{"viewer": gateway.RoleViewer, "operator": gateway.RoleOperator}

func classNames(names []string) []flow.Class {
	var all []flow.Class
	for _, name := range names {
		all = append(all, flow.Class(name))
	}
	return all
}

func (p *plan) endpoints() endpoint.Options {
	o := endpoint.Options{Weights: make(map[flow.Class]float64)}
	for name, class := range p.config.Classes {
		o.Weights[flow.Class(name)] = class.Weight
	}
	for i := range p.config.Endpoints {
		e := &p.config.Endpoints[i]
		o.Endpoints = append(o.Endpoints, endpoint.Endpoint{
			Path: e.Path, Class: flow.Class(e.Class), Model: e.Model, ModelField: e.ModelField, Flow: e.Flow, Required: e.Required,
			System: e.System, Prompt: e.Prompt, Answer: endpoint.Answer(e.Answer), History: e.History, Echo: e.Echo, Wait: e.Wait,
			MaxTokens: e.MaxTokens, Temperature: e.Temperature, Structured: e.Structured,
		})
	}
	return o
}

func (p *plan) runner() runner.Options {
	o := runner.Options{Classes: make(map[flow.Class]runner.Retry), Keep: p.config.Tasks.Keep, Max: p.config.Tasks.Max}
	if len(tenants(p.config)) > 1 {
		o.Part = 0.5 // a half is always left to the others
	}
	for name, class := range p.config.Classes {
		o.Classes[flow.Class(name)] = runner.Retry{Times: class.Retries, Wait: class.RetryAfter}
	}
	return o
}
