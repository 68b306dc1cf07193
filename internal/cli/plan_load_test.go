package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/gateway"
	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/provider/openai"
	"github.com/millrace/millrace/internal/provider/sim"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/testkit"
)

// foretold is one workload, for the planner and for the load tester.
type foretold struct {
	plan capacity.Work
	load load.Options
	rate int64 // requests a minute; tokens are prompt times as many

	// Where another limit than the rate binds.
	most    int64         // tokens a minute for each request; 0 means prompt
	window  string        // of the rate; empty means sliding
	slice   time.Duration // of a window of that kind
	seats   int           // 0 means 15
	latency time.Duration // mean; 0 means a second
	class   gate.Rate
	tenants []gate.Tenant // users are dealt to these in turn, each with a key
}

// prompt is the mean of a request's tokens.
const prompt = 600

// TestPlanForetellsLoad: what the planner says is what the load tester then measures at a
// gateway in front of a simulated provider: use of each limit within 3 points, p95 wait
// within 15 % or half a second, whichever limit binds.
func TestPlanForetellsLoad(t *testing.T) {
	t.Parallel()
	conv, err := load.Synthesize(load.PresetConv, 1, 15*time.Minute, 0, 5)
	if err != nil {
		t.Fatal(err)
	}
	trace := make([]capacity.Arrival, len(conv))
	for i, r := range conv {
		trace[i] = capacity.Arrival{At: r.At, Input: r.Context, Output: r.Generated}
	}
	size := capacity.Size{Mean: prompt, Sigma: 0.3}
	// twice a minute of each user, at random
	paced := func(users int, w foretold) foretold {
		w.plan = capacity.Work{Rate: 2. / 60, Input: size, Output: capacity.Size{Mean: 20}}
		w.load = load.Options{Users: users, PacedRate: 2. / 60, Tokens: prompt, TokensSigma: 0.3, Ramp: 30 * time.Second}
		return w
	}
	even := func(w foretold) foretold {
		w.plan.Fixed, w.load.ThinkFixed = true, true
		return w
	}
	for name, w := range map[string]foretold{
		"calm":     even(paced(20, foretold{rate: 60})),
		"overload": paced(40, foretold{rate: 60}),
		"thinking": {
			plan: capacity.Work{Think: 5 * time.Second, Input: size}, load: load.Options{Users: 30, Think: 5 * time.Second, Tokens: prompt, TokensSigma: 0.3}, rate: 120,
		},
		"trace":  {plan: capacity.Work{Trace: trace, TraceUsers: 20}, load: load.Options{Trace: conv, TraceUsers: 20}, rate: 58, most: 6000},
		"seats":  paced(40, foretold{rate: 600, seats: 5, latency: 6 * time.Second}),
		"fixed":  paced(40, foretold{rate: 60, window: sim.WindowFixed}),
		"bucket": paced(40, foretold{rate: 60, window: sim.WindowBucket}),
		"slice":  paced(40, foretold{rate: 60, window: sim.WindowSlice, slice: 10 * time.Second}),
		"short":  paced(40, foretold{rate: 60, window: sim.WindowSlice, slice: 4 * time.Second}),
		"class":  paced(40, foretold{rate: 600, class: gate.Rate{Max: 60, Per: time.Minute}}),
		"even":   paced(40, foretold{rate: 600, class: gate.Rate{Max: 60, Per: time.Minute, Even: true}}),
		"tenant": even(paced(40, foretold{rate: 600, tenants: []gate.Tenant{
			{Name: "small", Requests: gate.Rate{Max: 30, Per: time.Minute}}, {Name: "free"},
		}})),
		"tokens of a tenant": paced(40, foretold{rate: 600, tenants: []gate.Tenant{{Name: "small", Tokens: gate.Rate{Max: 60 * prompt, Per: time.Minute}}}}),
		"seats of a tenant":  paced(40, foretold{rate: 600, latency: 6 * time.Second, tenants: []gate.Tenant{{Name: "small", Seats: 5}}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, w)
		})
	}
}

func compare(t *testing.T, w foretold) {
	t.Helper()
	g, judge := w.gate(), w.judge()
	o := capacity.Options{
		Gate: g, Hold: 240 * time.Second, Work: w.plan, Latency: []capacity.Latency{{Total: judge.Latency.Total, Sigma: judge.Latency.Sigma}},
		Users: []int{max(w.load.Users, 20)}, Duration: 15 * time.Minute, WarmUp: 2 * time.Minute, NoAdvice: true, Seed: 9,
	}
	for _, tenant := range w.tenants {
		o.Work.Tenants = append(o.Work.Tenants, tenant.Name)
	}
	if w.plan.Trace != nil {
		o.WarmUp = -1
	} else {
		w.load.WarmUp, w.load.Duration = 2*time.Minute, 15*time.Minute
	}
	report, err := capacity.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	said := report.Rows[0]
	w.load.Targets, w.load.Judge = []load.Target{{Name: "gateway", URL: "http://gateway/v1"}}, "http://judge"
	seen := measured(t, g, judge, w.load)
	p95 := seen.Wait.P95 / 1000
	t.Logf("p95 wait: said %.2f s, seen %.2f s; tokens a minute: said %.0f, seen %.0f; answers: said %d, seen %d",
		said.WaitP95, p95, said.Tokens, 60*float64(admitted(&seen, "tokens"))/seen.Seconds, said.Answered, seen.Answered)
	for _, limit := range seen.Judge.AtEnd.Limits {
		i := slices.IndexFunc(said.Use, func(u capacity.Use) bool { return u.What == limit.Name })
		if i < 0 {
			t.Errorf("the plan says nothing of %s", limit.Name)
		} else if math.Abs(said.Use[i].Used-limit.Utilization) > 0.03 {
			t.Errorf("the plan says %.3f of the %s are used, the judge says %.3f", said.Use[i].Used, limit.Name, limit.Utilization)
		}
	}
	if off := math.Abs(said.WaitP95 - p95); off > 0.5 && off > 0.15*p95 {
		t.Errorf("the plan says p95 wait %.2f s, measured are %.2f s", said.WaitP95, p95)
	}
	// The limits of classes and tenants are not on the judge's books, but what they let pass is.
	if tokens := 60 * float64(admitted(&seen, "tokens")) / seen.Seconds; math.Abs(said.Tokens-tokens) > 0.03*tokens {
		t.Errorf("the plan says %.0f tokens a minute, the judge admitted %.0f", said.Tokens, tokens)
	}
	if seen.Judge.Final.Throttled != 0 {
		t.Errorf("%d throttled", seen.Judge.Final.Throttled)
	}
}

func admitted(r *load.Result, name string) int64 {
	for _, l := range r.Judge.AtEnd.Limits {
		if l.Name == name {
			return l.Admitted
		}
	}
	return 0
}

func (w *foretold) tokens() int64 { return cmp.Or(w.most, prompt) * w.rate }

// gate is what stands before the judge, and knows what it allows.
func (w *foretold) gate() gate.Options {
	meter, _ := quota.MeterFor("openai")
	kind := quota.Sliding
	if w.window != "" {
		kind, _ = quota.ParseKind(w.window)
	}
	minute := func(dim quota.Dim, most int64) quota.Limit {
		l := quota.Limit{Dim: dim, Max: most, Span: time.Minute, Kind: kind, Slice: w.slice}
		if kind == quota.Bucket {
			l.Burst = most / 10
		}
		return l
	}
	return gate.Options{
		Upstreams: []gate.Upstream{{Name: "judge", Quota: quota.Options{
			Limits: []quota.Limit{minute(quota.Requests, w.rate), minute(quota.Total, w.tokens())}, Seats: cmp.Or(w.seats, 15), Meter: meter,
		}}},
		Routes: []gate.Route{{Upstreams: []int{0}}}, Classes: []gate.Class{{Name: flow.Chat, Rate: w.class}}, Tenants: w.tenants,
	}
}

// judge is the simulated provider.
func (w *foretold) judge() sim.Options {
	return sim.Options{
		Limits: sim.Limits{Requests: w.rate, Tokens: w.tokens(), Seats: cmp.Or(w.seats, 15)},
		Window: cmp.Or(w.window, sim.WindowSliding), Slice: w.slice, Output: 20,
		Latency: sim.Latency{Total: cmp.Or(w.latency, time.Second), Sigma: 0.2},
	}
}

// measured puts the load on its targets, in virtual time: the simulated provider at
// http://judge, and a gateway in front of it at http://gateway.
func measured(t *testing.T, g gate.Options, provider sim.Options, o load.Options) (result load.Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hosts := map[string]*testkit.Listener{"judge": testkit.Listen(), "gateway": testkit.Listen()}
		transport := &http.Transport{MaxIdleConnsPerHost: 1000, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, _ := strings.Cut(address, ":")
			return hosts[host].Dial(ctx, network, address)
		}}
		judge, err := sim.New(provider)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: judge}
		go func() { _ = server.Serve(hosts["judge"]) }()
		control, front := wired(t, g, transport)
		go func() { _ = front.Serve(hosts["gateway"]) }()
		o.Model, o.Transport, o.Seed = "m", &dealt{g.Tenants, transport}, 1
		report, err := load.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		result = report.Targets[0]
		transport.CloseIdleConnections()
		if err := errors.Join(front.Shutdown(context.Background()), server.Close()); err != nil {
			t.Error(err)
		}
		control.Close()
	})
	return result
}

// wired is a gateway in front of the judge.
func wired(t *testing.T, g gate.Options, transport *http.Transport) (*admission.Controller, *gateway.Gateway) {
	t.Helper()
	control, err := admission.New(g)
	if err != nil {
		t.Fatal(err)
	}
	client, err := openai.New(openai.Options{BaseURL: "http://judge/v1", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	d, err := dispatch.New(dispatch.Options{Upstreams: []dispatch.Upstream{{Name: "judge"}}, Routes: []string{"*"}},
		dispatch.Deps{Admission: control, Providers: []dispatch.Provider{client}})
	if err != nil {
		t.Fatal(err)
	}
	front, err := gateway.New(gateway.Options{Routes: []gateway.Route{{Model: "*"}}, Keys: keys(g.Tenants)}, gateway.Deps{Dispatcher: d, Limits: control, Catalog: unlisted{}})
	if err != nil {
		t.Fatal(err)
	}
	return control, front
}

// keys are one for each tenant: its name.
func keys(tenants []gate.Tenant) (all []gateway.Key) {
	for _, t := range tenants {
		all = append(all, gateway.Key{Name: t.Name, Tenant: t.Name, SHA256: sha256.Sum256([]byte(t.Name))})
	}
	return all
}

// dealt deals the users to tenants in turn.
type dealt struct {
	tenants []gate.Tenant
	next    http.RoundTripper
}

var userNumber = regexp.MustCompile(`"user":"user-(\d+)"`)

func (k *dealt) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(k.tenants) == 0 || r.GetBody == nil {
		return k.next.RoundTrip(r)
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	start, err := io.ReadAll(io.LimitReader(body, 200))
	if err != nil {
		return nil, err
	}
	if found := userNumber.FindSubmatch(start); found != nil {
		user, _ := strconv.Atoi(string(found[1]))
		r.Header.Set("Authorization", "Bearer "+k.tenants[user%len(k.tenants)].Name)
	}
	return k.next.RoundTrip(r)
}

type unlisted struct{}

func (unlisted) Models(context.Context) []string { return nil }
