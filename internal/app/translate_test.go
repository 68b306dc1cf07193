package app

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

func TestQuotaIsTranslatedWhole(t *testing.T) {
	u := &config.Upstream{Provider: config.ProviderOpenAI, BaseURL: "https://x.openai.azure.com/v1", Quota: config.Quota{
		Requests: config.Rate{Count: 60, Per: time.Minute}, Tokens: config.Rate{Count: 5, Per: time.Second},
		InputTokens: config.Rate{Count: 7, Per: time.Hour}, OutputTokens: config.Rate{Count: 8, Per: time.Minute},
		RequestsPerDay: 1, TokensPerDay: 2, InputTokensPerDay: 3, OutputTokensPerDay: 4, Seats: 9, Window: "bucket", Burst: 6 * time.Second,
		Enforce: true, Shadow: []string{"tokens", "output_tokens_per_day", "seats"},
	}}
	got, err := quotaOptions(u)
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	want := []quota.Limit{
		{Dim: quota.Requests, Max: 60, Span: time.Minute, Kind: quota.Bucket, Burst: 6},
		{Dim: quota.Requests, Max: 1, Span: day},
		{Dim: quota.Total, Max: 5, Span: time.Second, Kind: quota.Bucket, Burst: 30, Shadow: true},
		{Dim: quota.Total, Max: 2, Span: day},
		{Dim: quota.Input, Max: 7, Span: time.Hour, Kind: quota.Bucket, Burst: 1},
		{Dim: quota.Input, Max: 3, Span: day},
		{Dim: quota.Output, Max: 8, Span: time.Minute, Kind: quota.Bucket, Burst: 1},
		{Dim: quota.Output, Max: 4, Span: day, Shadow: true},
	}
	if diff := cmp.Diff(want, got.Limits); diff != "" {
		t.Error(diff)
	}
	if got.Seats != 9 || !got.SeatsShadow || got.Meter.Name != "azure" {
		t.Errorf("seats %d, watched %t, meter %s", got.Seats, got.SeatsShadow, got.Meter.Name)
	}
	u.Quota.Enforce = false
	if got, err = quotaOptions(u); err != nil || slices.ContainsFunc(got.Limits, func(l quota.Limit) bool { return !l.Shadow }) {
		t.Errorf("a quota that is not enforced: %+v, %v", got.Limits, err)
	}
}

func TestMeterFollowsTheHost(t *testing.T) {
	for base, want := range map[string]string{
		config.OpenAIBaseURL: "openai", "https://API.OpenAI.com/v1": "openai", "https://r.openai.azure.com/openai/v1": "azure",
		"http://127.0.0.1:8000/v1": quota.DefaultMeter, "https://api.openai.com.example.org/v1": quota.DefaultMeter,
	} {
		if got := meterName(&config.Upstream{Provider: config.ProviderOpenAI, BaseURL: base}); got != want {
			t.Errorf("%s: %s, want %s", base, got, want)
		}
	}
	if got := meterName(&config.Upstream{BaseURL: config.OpenAIBaseURL, Quota: config.Quota{Meter: "vllm"}}); got != "vllm" {
		t.Errorf("configured: %s", got)
	}
}

func TestRoutesAndClassesAreTranslated(t *testing.T) {
	c := load(t, "ANALYSIS_TASK_RATE_LIMIT=5/s")
	c.Upstreams = append(c.Upstreams, config.Upstream{Name: "b", Provider: config.ProviderSim, Model: "bm", Quota: config.Quota{Window: "slice", Slice: time.Second}})
	c.Routes = []config.Route{{Model: "x", Upstreams: []string{"b", "main"}, OnFull: "spill", SpillAfter: 3 * time.Second, Hold: time.Minute}, {Model: "*", Upstreams: []string{"b"}}}
	c.Classes["analysis"].Spacing = "even"
	p := newPlan(c, slots{}, admission.Options{})
	unknown := func(*config.Upstream) quota.Start { return quota.Unknown }
	o, err := p.admission(unknown)
	if err != nil {
		t.Fatal(err)
	}
	routes := []gate.Route{
		{Upstreams: []int{1, 0}, Spill: true, SpillAfter: 3 * time.Second},
		{Upstreams: []int{1}},
		{Upstreams: []int{0}},
		{Upstreams: []int{1}}, // the gateway's own questions
	}
	if diff := cmp.Diff(routes, o.Routes); diff != "" {
		t.Error(diff)
	}
	want := gate.Class{Name: "analysis", Weight: 3, MaxWait: 30 * time.Minute, Rate: gate.Rate{Max: 5, Per: time.Second, Even: true}}
	if diff := cmp.Diff(want, o.Classes[0]); diff != "" {
		t.Error(diff)
	}
	if o.Upstreams[0].Quota.Start != quota.Unknown || o.MaxQueue != c.Limits.Queue || o.Hold != c.Limits.Hold {
		t.Errorf("%+v", o)
	}
	g := p.gateway(nil)
	if g.Routes[0].Hold != time.Minute || !slices.Equal(g.Order, []int{0, 1}) {
		t.Error(g.Routes, g.Order)
	}
	if d := p.dispatch(); d.Limits["chat"].Hard != 120*time.Second || d.Limits["chat"].Soft != 90*time.Second || d.Upstreams[1].Model != "bm" {
		t.Errorf("%+v", d)
	}
	if i, ok := p.find("x"); !ok || i != 0 {
		t.Errorf("x goes to route %d, %t", i, ok)
	}

	// What the next configuration leaves out keeps its slot, and is retired.
	c = load(t)
	next := newPlan(c, p.slots, o)
	later, err := next.admission(unknown)
	if err != nil {
		t.Fatal(err)
	}
	if u := later.Upstreams; len(u) != 2 || u[0].Retired || !u[1].Retired || u[1].Name != "b" {
		t.Errorf("upstreams after the change: %+v", u)
	}
	retired := []bool{true, false, false, true}
	for i, r := range later.Routes {
		if r.Retired != retired[i] {
			t.Errorf("route %d (%q) is retired: %t", i, next.slots.routes[i], r.Retired)
		}
	}
	if g := next.gateway(nil); !slices.Equal(g.Order, []int{1}) {
		t.Errorf("order %v", g.Order)
	}
}

func TestKeysBecomeTenants(t *testing.T) {
	c := &config.Config{Keys: []config.Key{
		{Name: "a", Tenant: "team", Weight: 2, Requests: config.Rate{Count: 60, Per: time.Minute}, Seats: 3},
		{Name: "b", Tenant: "team", Weight: 2, Requests: config.Rate{Count: 60, Per: time.Minute}, Seats: 3},
		{Name: "c", Tenant: "c", Tokens: config.Rate{Count: 100, Per: time.Hour}},
	}}
	want := []gate.Tenant{
		{Name: "team", Weight: 2, Requests: gate.Rate{Max: 60, Per: time.Minute}, Seats: 3},
		{Name: "c", Tokens: gate.Rate{Max: 100, Per: time.Hour}},
	}
	if diff := cmp.Diff(want, tenants(c)); diff != "" {
		t.Error(diff)
	}
	desk := config.Key{Name: "d", Tenant: "d", Role: "operator"}
	for name, few := range map[string]struct {
		keys []config.Key
		want int
	}{
		"nobody": {nil, 0}, "one team": {c.Keys[:2], 0}, "one, and an operator": {append(c.Keys[:2:2], desk), 0}, "two": {c.Keys, 5},
	} {
		o, err := newPlan(&config.Config{Keys: few.keys, Limits: config.Limits{Queue: 10}}, slots{}, admission.Options{}).admission(nil)
		if err != nil || o.MaxTenant != few.want {
			t.Errorf("%s: one tenant may take %d of the queue, want %d: %v", name, o.MaxTenant, few.want, err)
		}
	}
}
