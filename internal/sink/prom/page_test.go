package prom_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/config"
)

// gateway runs a gateway in which every series there can be exists, and returns its
// metrics page.
func gateway(t *testing.T) string {
	t.Helper()
	c, err := config.Load(config.Source{
		Listen: "127.0.0.1:0", Environ: []string{},
		Set: []string{
			"upstreams.main.quota.requests=60/m", "upstreams.main.quota.tokens=180000/m", "upstreams.main.quota.input_tokens=90000/m",
			"upstreams.main.quota.output_tokens=90000/m", "upstreams.main.quota.requests_per_day=5000", "upstreams.main.quota.seats=15",
			"classes.chat.rate=30/m",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	ask(t, client, http.MethodPost, "http://"+a.Addr()+"/v1/chat/completions", `{"model":"any","stream":true,"max_tokens":4,"messages":[{"role":"user","content":"Hello"}]}`)
	return ask(t, client, http.MethodGet, "http://"+a.AdminAddr()+"/metrics", "")
}

func ask(t *testing.T, client *http.Client, method, url, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s, %v", url, answer.StatusCode, text, err)
	}
	return string(text)
}

// I5: the page of a whole gateway, by the linter of the Prometheus project.
func TestI5WholePageIsLinted(t *testing.T) {
	page := gateway(t)
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if broken, err := promlint.New(strings.NewReader("# TYPE x_total gauge\nx_total 1\n")).Lint(); err != nil || len(broken) == 0 {
		t.Errorf("the linter finds nothing in a broken page: %v", err)
	}
}
