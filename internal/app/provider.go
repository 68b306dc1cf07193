package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/provider/openai"
	"github.com/millrace/millrace/internal/provider/sim"
	"github.com/millrace/millrace/internal/quota"
)

// meterName is how the upstream's provider counts, from its host where nothing
// else was said.
func meterName(u *config.Upstream) string {
	if u.Quota.Meter != "" {
		return u.Quota.Meter
	}
	if u.Provider == config.ProviderSim {
		return "openai"
	}
	host := ""
	if base, err := url.Parse(u.BaseURL); err == nil {
		host = strings.ToLower(base.Hostname())
	}
	switch {
	case host == "api.openai.com":
		return "openai"
	case strings.HasSuffix(host, ".azure.com"):
		return "azure"
	}
	return quota.DefaultMeter
}

// network is where an app listens, and how it reaches upstreams. Tests have one in
// memory, so that a whole app runs in virtual time.
type network struct {
	listen    func(address string) (net.Listener, error)
	transport http.RoundTripper // nil: one of each provider's own
	sink      event.Sink        // told of everything beside the others; nil: nobody
}

func sockets() *network {
	return &network{listen: func(address string) (net.Listener, error) {
		return net.Listen("tcp", address) //nolint:noctx // it does not block
	}}
}

// provider speaks to one upstream, and knows from which configuration it was made.
type provider struct {
	*openai.Client
	made      config.Upstream
	simulator *simulator // nil for a real upstream
}

// serves reports whether the provider does for an upstream as it is configured now.
func (p *provider) serves(u *config.Upstream) bool {
	if p.made.Provider != u.Provider || p.made.BaseURL != u.BaseURL || p.made.APIKey.Reveal() != u.APIKey.Reveal() || p.made.Timeout != u.Timeout {
		return false
	}
	return p.simulator == nil || reflect.DeepEqual(p.made.Quota, u.Quota)
}

// newProvider builds what speaks to an upstream. What it starts is undone by the
// stack.
func (n *network) newProvider(u *config.Upstream, undo *stack, log *slog.Logger) (*provider, error) {
	p, base := &provider{made: *u}, u.BaseURL
	if u.Provider == config.ProviderSim {
		var err error
		if p.simulator, err = n.startSimulator(u); err != nil {
			return nil, fmt.Errorf("start the simulator of upstream %s: %w", u.Name, err)
		}
		undo.push(p.simulator.stop)
		base = "http://" + p.simulator.address + "/v1"
		log.Info("simulated provider", "upstream", u.Name, "url", base, "stats", "http://"+p.simulator.address+"/sim/stats")
	}
	client, err := openai.New(openai.Options{
		BaseURL: base, Key: openai.Secret(u.APIKey.Reveal()), EnvironmentProxy: u.Provider != config.ProviderSim,
		ConnectTimeout: u.Timeout.Connect, FirstByteTimeout: u.Timeout.FirstByte, ReadTimeout: u.Timeout.Read,
		Transport: n.transport,
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	undo.push(client.Close)
	p.Client = client
	return p, nil
}

// retire lets go of what nobody will ask any more. What is under way goes on.
func (p *provider) retire() {
	_ = p.Close() // idle connections; it has no other failure
	if p.simulator != nil {
		p.simulator.retire()
	}
}

// simulator is a simulated provider behind a listener of its own.
type simulator struct {
	address string
	server  *http.Server
	done    chan struct{} // closed when it serves no longer
}

// simSpeed makes the built-in simulator as fast as today's small models: about
// 500 tokens a second.
const simSpeed = 8

// startSimulator serves a simulated provider that enforces the upstream's quota.
func (n *network) startSimulator(u *config.Upstream) (*simulator, error) {
	q := u.Quota
	handler, err := sim.New(sim.Options{
		Profile: "openai", Meter: simMeter(u), Window: q.Window, Burst: q.Burst, Slice: q.Slice,
		Latency: sim.Latency{Speed: simSpeed},
		Limits: sim.Limits{
			Requests: aMinute(q.Requests), Tokens: aMinute(q.Tokens), Input: aMinute(q.InputTokens), Output: aMinute(q.OutputTokens),
			DayRequests: q.RequestsPerDay, DayTokens: q.TokensPerDay, Seats: int(q.Seats),
		},
	})
	if err != nil {
		return nil, err
	}
	listener, err := n.listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &simulator{
		address: listener.Addr().String(), done: make(chan struct{}),
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
	}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener) // always ends with ErrServerClosed, by stop or retire
	}()
	return s, nil
}

// stop ends it at once.
func (s *simulator) stop() error {
	err := s.server.Close()
	<-s.done
	return ignore(err, net.ErrClosed)
}

// retire closes the listener; answers under way are finished. It does not wait for
// them: stop, at the end of the process, does.
func (s *simulator) retire() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.server.Shutdown(now) // closes the listener, then says that answers are left
}

// simMeter is the upstream's meter where the simulator knows it.
func simMeter(u *config.Upstream) string {
	for _, known := range sim.Meters() {
		if known == meterName(u) {
			return known
		}
	}
	return ""
}

// aMinute is what a rate comes to in a minute, at least one.
func aMinute(r config.Rate) int64 {
	if r.Count == 0 {
		return 0
	}
	return int64(min(max(float64(r.Count)*float64(time.Minute)/float64(r.Per), 1), 1<<40)) // the most that a simulator counts
}

// ignore drops an error that only says that something had ended already.
func ignore(err error, ended ...error) error {
	for _, e := range append(ended, context.Canceled, http.ErrServerClosed) {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
