package app

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
)

// Of the gateway's own questions to an upstream, which only a rate of class health
// asks for.
const (
	probeTick = 5 * time.Second
	idleFor   = time.Minute      // without an attempt an upstream is asked whether it still answers
	probeHold = 30 * time.Second // longest wait of a question
	probeMax  = 64 << 10         // bytes of its answer
)

// probe asks upstreams that nobody uses, or whose breaker is open, until ctx ends:
// so that a failure is found before a user finds it, and an upstream that is back
// need not be tried with a user's request. The rate of class health bounds it.
func (a *App) probe(ctx context.Context) {
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p := a.current()
		if health := p.config.Classes[string(flow.Health)]; health == nil || health.Rate.Count == 0 {
			continue
		}
		if name := a.quietest(p); name != "" {
			a.ask(ctx, p, name)
		}
	}
}

// quietest is the upstream that was asked least lately of those that need it;
// empty if none does.
func (a *App) quietest(p *plan) string {
	name, longest := "", time.Duration(0)
	s := a.admission.Snapshot()
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		if quiet := time.Since(a.tally.of(u.Name).last); needsProbe(u, quiet) && quiet > longest && probeModel(p, u.Name) != "" {
			name, longest = u.Name, quiet
		}
	}
	return name
}

func needsProbe(u *gate.UpstreamState, quiet time.Duration) bool {
	switch {
	case u.Retired || u.InUse > 0 || u.Breaker.Cause == breaker.CauseHand: // what is held open by hand no answer closes
		return false
	case u.Breaker.State == breaker.Closed:
		return quiet >= idleFor
	}
	return !time.Now().Before(u.Breaker.NextProbe) // an open one is left alone until then
}

// probeModel is a model's name to ask an upstream with; empty if none is known.
func probeModel(p *plan, upstream string) string {
	u := p.upstreams[upstream]
	switch {
	case u == nil:
		return ""
	case u.Model != "":
		return u.Model
	case u.Provider == config.ProviderSim:
		return "probe"
	}
	for i := range p.config.Routes {
		r := &p.config.Routes[i]
		for _, name := range r.Upstreams {
			if name == upstream && !strings.HasSuffix(r.Model, "*") {
				return r.Model
			}
		}
	}
	return ""
}

// probeID names a probe: no two alike, for stories and traces are kept by it.
func probeID(now time.Time) string { return "probe_" + strconv.FormatInt(now.UnixNano(), 36) }

// ask sends the smallest question there is, through the queue like any other.
func (a *App) ask(ctx context.Context, p *plan, upstream string) {
	model := probeModel(p, upstream)
	body, err := json.Marshal(map[string]any{
		"model": model, "max_tokens": 1, "messages": []map[string]string{{"role": "user", "content": "ping"}},
	})
	if err != nil {
		return // cannot be: these are strings and a number
	}
	now := time.Now()
	answer := dispatch.NewRecorder(probeMax, nil)
	outcome := a.dispatcher.Do(ctx, &dispatch.Request{
		ID: probeID(now), Arrived: now,
		Ask: admission.Ask{
			Route: p.slots.route(probeRoute + upstream), Model: model, Hold: now.Add(probeHold),
			Flow: flow.Key{Class: flow.Health, Tenant: "millrace", User: upstream},
			Size: llm.Size{TextBytes: 4, Messages: 1, MaxOutput: 1},
		},
		Call: llm.Call{Operation: llm.OpChat, Body: body},
	}, answer)
	a.log.Debug("probe", "upstream", upstream, "outcome", outcome.String())
}
