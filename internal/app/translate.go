package app

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/gateway"
	"github.com/millrace/millrace/internal/quota"
)

// admissionOptions says how each upstream's quota starts, by name.
func admissionOptions(c *config.Config, start func(u *config.Upstream) quota.Start) (admission.Options, error) {
	o := admission.Options{MaxQueue: c.Limits.Queue, MaxFlow: c.Limits.QueuePerUser, Hold: c.Limits.Hold}
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		q, err := quotaOptions(u)
		if err != nil {
			return o, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		q.Start = start(u)
		o.Upstreams = append(o.Upstreams, gate.Upstream{Name: u.Name, Quota: q, Breaker: breakerOptions(u)})
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		o.Routes = append(o.Routes, gate.Route{Upstreams: targets(c, r), Spill: r.OnFull == "spill", SpillAfter: r.SpillAfter})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		class := c.Classes[name]
		o.Classes = append(o.Classes, gate.Class{
			Name: flow.Class(name), Weight: class.Weight, MaxWait: class.MaxWait,
			Rate: gate.Rate{Max: int(class.Rate.Count), Per: class.Rate.Per, Even: class.Spacing == "even"},
		})
	}
	return o, nil
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
	o := quota.Options{Seats: int(u.Quota.Seats), Meter: meter}
	day := func(dim quota.Dim, count int64) {
		if count > 0 {
			o.Limits = append(o.Limits, quota.Limit{Dim: dim, Max: count, Span: 24 * time.Hour})
		}
	}
	rate := func(dim quota.Dim, r config.Rate) {
		if r.Count > 0 {
			o.Limits = append(o.Limits, limit(dim, r, kind, u))
		}
	}
	q := u.Quota
	rate(quota.Requests, q.Requests)
	rate(quota.Total, q.Tokens)
	rate(quota.Input, q.InputTokens)
	rate(quota.Output, q.OutputTokens)
	day(quota.Requests, q.RequestsPerDay)
	day(quota.Total, q.TokensPerDay)
	day(quota.Input, q.InputTokensPerDay)
	day(quota.Output, q.OutputTokensPerDay)
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

func targets(c *config.Config, r *config.Route) []int {
	indexes := make([]int, 0, len(r.Upstreams))
	for _, name := range r.Upstreams {
		indexes = append(indexes, slices.IndexFunc(c.Upstreams, func(u config.Upstream) bool { return u.Name == name }))
	}
	return indexes
}

func dispatchOptions(c *config.Config) dispatch.Options {
	o := dispatch.Options{Limits: map[flow.Class]dispatch.Limits{}}
	for _, u := range c.Upstreams {
		o.Upstreams = append(o.Upstreams, dispatch.Upstream{Name: u.Name, Model: u.Model})
	}
	for _, r := range c.Routes {
		o.Routes = append(o.Routes, r.Model)
	}
	for name, class := range c.Classes {
		if class.Hard > 0 {
			o.Limits[flow.Class(name)] = dispatch.Limits{Hard: class.Hard}
		}
	}
	return o
}

func gatewayOptions(c *config.Config) gateway.Options {
	o := gateway.Options{MaxBody: int64(c.Limits.MaxBody), Hold: c.Limits.Hold}
	for i := range c.Routes {
		r := &c.Routes[i]
		o.Routes = append(o.Routes, gateway.Route{Model: r.Model, Hold: r.Hold})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		o.Classes = append(o.Classes, gateway.Class{Name: flow.Class(name), Weight: c.Classes[name].Weight})
	}
	return o
}
