package cli

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
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
	rate int64 // requests a minute; tokens are 6,000 times as many
}

// TestPlanForetellsLoad: what the planner says is what the load tester then measures at a
// gateway in front of a simulated provider: use of the quota within 3 points, p95 wait
// within 15 % or half a second.
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
	size := capacity.Size{Mean: 6000, Sigma: 0.3}
	for name, w := range map[string]foretold{
		"calm": {
			capacity.Work{Rate: 2. / 60, Fixed: true, Input: size},
			load.Options{Users: 20, PacedRate: 2. / 60, ThinkFixed: true, Tokens: 6000, TokensSigma: 0.3, Ramp: 30 * time.Second},
			60,
		},
		"overload": {
			capacity.Work{Rate: 2. / 60, Input: size}, load.Options{Users: 40, PacedRate: 2. / 60, Tokens: 6000, TokensSigma: 0.3, Ramp: 30 * time.Second}, 60,
		},
		"thinking": {
			capacity.Work{Think: 5 * time.Second, Input: size}, load.Options{Users: 30, Think: 5 * time.Second, Tokens: 6000, TokensSigma: 0.3}, 120,
		},
		"trace": {capacity.Work{Trace: trace, TraceUsers: 20}, load.Options{Trace: conv, TraceUsers: 20}, 58},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, w)
		})
	}
}

func compare(t *testing.T, w foretold) {
	t.Helper()
	meter, _ := quota.MeterFor("openai")
	minute := func(dim quota.Dim, most int64) quota.Limit {
		return quota.Limit{Dim: dim, Max: most, Span: time.Minute, Kind: quota.Sliding}
	}
	g := gate.Options{
		Upstreams: []gate.Upstream{{Name: "judge", Quota: quota.Options{
			Limits: []quota.Limit{minute(quota.Requests, w.rate), minute(quota.Total, 6000*w.rate)}, Seats: 15, Meter: meter,
		}}},
		Routes: []gate.Route{{Upstreams: []int{0}}}, Classes: []gate.Class{{Name: flow.Chat}},
	}
	o := capacity.Options{
		Gate: g, Hold: 240 * time.Second, Work: w.plan, Latency: []capacity.Latency{{Total: time.Second, Sigma: 0.2}},
		Users: []int{max(w.load.Users, 20)}, Duration: 15 * time.Minute, WarmUp: 2 * time.Minute, NoAdvice: true, Seed: 9,
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
	seen := measured(t, g, sim.Options{
		Limits: sim.Limits{Requests: w.rate, Tokens: 6000 * w.rate, Seats: 15}, Window: sim.WindowSliding,
		Latency: sim.Latency{Total: time.Second, Sigma: 0.2}, Output: 20,
	}, w.load)
	used, p95 := seen.Judge.Utilization(), seen.Wait.P95/1000
	t.Logf("used: said %.3f, seen %.3f; p95 wait: said %.2f s, seen %.2f s; answers: said %d, seen %d",
		said.Utilization, used, said.WaitP95, p95, said.Answered, seen.Answered)
	if math.Abs(said.Utilization-used) > 0.03 {
		t.Errorf("the plan says %.3f of the quota is used, the judge says %.3f", said.Utilization, used)
	}
	if off := math.Abs(said.WaitP95 - p95); off > 0.5 && off > 0.15*p95 {
		t.Errorf("the plan says p95 wait %.2f s, measured are %.2f s", said.WaitP95, p95)
	}
	if seen.Judge.Final.Throttled != 0 {
		t.Errorf("%d throttled", seen.Judge.Final.Throttled)
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
		o.Model, o.Transport, o.Seed = "m", transport, 1
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
	front, err := gateway.New(gateway.Options{Routes: []gateway.Route{{Model: "*"}}}, gateway.Deps{Dispatcher: d, Limits: control, Catalog: unlisted{}})
	if err != nil {
		t.Fatal(err)
	}
	return control, front
}

type unlisted struct{}

func (unlisted) Models(context.Context) []string { return nil }
