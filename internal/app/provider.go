package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/config"
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

// newProvider builds what speaks to an upstream. What it starts is undone by the
// stack.
func newProvider(u *config.Upstream, undo *stack, log *slog.Logger) (*openai.Client, error) {
	base := u.BaseURL
	if u.Provider == config.ProviderSim {
		address, err := startSimulator(u, undo)
		if err != nil {
			return nil, fmt.Errorf("start the simulator of upstream %s: %w", u.Name, err)
		}
		base = "http://" + address + "/v1"
		log.Info("simulated provider", "upstream", u.Name, "url", base, "stats", "http://"+address+"/sim/stats")
	}
	client, err := openai.New(openai.Options{
		BaseURL: base, Key: openai.Secret(u.APIKey.Reveal()), EnvironmentProxy: u.Provider != config.ProviderSim,
		ConnectTimeout: u.Timeout.Connect, FirstByteTimeout: u.Timeout.FirstByte, ReadTimeout: u.Timeout.Read,
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	undo.push(client.Close)
	return client, nil
}

// startSimulator serves a simulated provider that enforces the upstream's quota.
func startSimulator(u *config.Upstream, undo *stack) (address string, err error) {
	q := u.Quota
	provider, err := sim.New(sim.Options{
		Profile: "openai", Meter: simMeter(u), Window: q.Window, Burst: q.Burst, Slice: q.Slice,
		Limits: sim.Limits{
			Requests: aMinute(q.Requests), Tokens: aMinute(q.Tokens), Input: aMinute(q.InputTokens), Output: aMinute(q.OutputTokens),
			DayRequests: q.RequestsPerDay, DayTokens: q.TokensPerDay, Seats: int(q.Seats),
		},
	})
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not block
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // always ends with ErrServerClosed, by the next line's Close
	}()
	undo.push(func() error {
		err := server.Close()
		<-done
		return ignore(err, net.ErrClosed)
	})
	return listener.Addr().String(), nil
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
	return max(int64(float64(r.Count)*float64(time.Minute)/float64(r.Per)), 1)
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
