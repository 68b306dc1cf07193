package scenario

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
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

// The hosts inside a bubble.
const (
	judgeURL   = "http://judge"
	gatewayURL = "http://gateway/v1"
)

// firstByte bounds the wait for an upstream's answer, where one hangs.
const firstByte = 8 * time.Second

// stack is a judge and a gateway in front of it, inside a synctest bubble.
type stack struct {
	transport *http.Transport
	admission *admission.Controller
}

// office is the judge of most scenarios.
func office() sim.Options {
	return sim.Options{
		Limits:  sim.Limits{Requests: 600, Tokens: 1_800_000, Seats: 15},
		Latency: sim.Latency{Total: time.Second, Sigma: 0.2}, Output: 20,
	}
}

// newStack starts both. limits are what the gateway is told of the judge, and of its
// seats no more than those of the office.
func newStack(t *testing.T, judge sim.Options, limits []quota.Limit) *stack {
	t.Helper()
	provider, err := sim.New(judge)
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*testkit.Listener{"judge": testkit.Listen(), "gateway": testkit.Listen()}
	s := &stack{transport: &http.Transport{
		MaxIdleConnsPerHost: 1000,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, _ := strings.Cut(address, ":")
			return hosts[host].Dial(ctx, network, address)
		},
	}}
	server := &http.Server{Handler: provider}
	go func() { _ = server.Serve(hosts["judge"]) }()
	g := s.gateway(t, min(judge.Limits.Seats, office().Limits.Seats), limits)
	go func() { _ = g.Serve(hosts["gateway"]) }()
	t.Cleanup(func() {
		s.transport.CloseIdleConnections()
		if err := errors.Join(g.Shutdown(context.Background()), server.Close()); err != nil {
			t.Error(err)
		}
		s.admission.Close()
	})
	return s
}

// gateway wires what app wires, but for sockets and files.
func (s *stack) gateway(t *testing.T, seats int, limits []quota.Limit) *gateway.Gateway {
	t.Helper()
	meter, _ := quota.MeterFor("openai")
	var err error
	s.admission, err = admission.New(admission.Options{
		Upstreams: []gate.Upstream{{Name: "judge", Quota: quota.Options{Limits: limits, Seats: seats, Meter: meter}}},
		Routes:    []gate.Route{{Upstreams: []int{0}}},
		Classes:   []gate.Class{{Name: flow.Chat}},
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openai.New(openai.Options{BaseURL: judgeURL + "/v1", Transport: s.transport, FirstByteTimeout: firstByte})
	if err != nil {
		t.Fatal(err)
	}
	d, err := dispatch.New(
		dispatch.Options{Upstreams: []dispatch.Upstream{{Name: "judge"}}, Routes: []string{"*"}},
		dispatch.Deps{Admission: s.admission, Providers: []dispatch.Provider{client}},
	)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(
		gateway.Options{Routes: []gateway.Route{{Model: "*"}}},
		gateway.Deps{Dispatcher: d, Limits: s.admission, Catalog: noModels{}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

type noModels struct{}

func (noModels) Models(context.Context) []string { return nil }

// run puts the load on the gateway and returns what came of it.
func (s *stack) run(t *testing.T, o load.Options) load.Result {
	t.Helper()
	o.Targets = []load.Target{{Name: "gateway", URL: gatewayURL}}
	o.Model, o.Judge, o.Transport, o.Seed = "m", judgeURL, s.transport, 1
	report, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report.Targets[0]
}

// idle fails the test if anything is left behind.
func (s *stack) idle(t *testing.T, r load.Result) {
	t.Helper()
	synctest.Wait() // whoever was still waiting has left
	if left := s.admission.Snapshot(); left.Outstanding != 0 || left.Waiting != 0 || left.Flows != 0 {
		t.Errorf("left behind: %d outstanding, %d waiting, %d flows", left.Outstanding, left.Waiting, left.Flows)
	}
	if r.Judge.Final.InFlight != 0 {
		t.Errorf("the judge still runs %d", r.Judge.Final.InFlight)
	}
}

// minute is a limit per minute of the given kind.
func minute(kind quota.Kind, requests, tokens int64) []quota.Limit {
	return []quota.Limit{
		{Dim: quota.Requests, Max: requests, Span: time.Minute, Kind: kind},
		{Dim: quota.Total, Max: tokens, Span: time.Minute, Kind: kind},
	}
}
