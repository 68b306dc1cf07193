package gateway

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// noModels is a catalog of none.
type noModels struct{}

func (noModels) Models(context.Context) []string { return nil }

// A reload changes what later requests meet; those under way go on as they began.
func TestI11ReloadLeavesWhatRuns(t *testing.T) {
	p := func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
		return streamAnswer(ctx, 10*time.Second, "data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"), nil
	}
	in(t, 4, p, func(t *testing.T, w *world, client *http.Client) {
		got := make(chan string)
		go func() { got <- readAll(t, post(t, client, chatPath, streamBody)) }()
		<-time.After(15 * time.Second)
		next := Options{
			Routes: []Route{{Model: "*"}, {Model: "m"}, {Model: "n*"}}, Order: []int{1, 2},
			Keys:   []Key{{SHA256: sha256.Sum256([]byte("sk-new")), Tenant: "new"}},
			Mounts: []Mount{{Pattern: "GET /new", Access: Keyed, Handler: greet}},
		}
		if err := w.gateway.Reconfigure(next, noModels{}); err != nil {
			t.Fatal(err)
		}
		wantError(t, post(t, client, chatPath, chatBody), 401, "invalid_api_key")
		auth := header("X-Api-Key", "sk-new")
		for path, want := range map[string]int{"/v1/models/m": 200, "/v1/models/no": 200, "/v1/models/other": 404, "/new": 200, "/v1/models": 200} {
			resp := send(t, client, "GET", path, auth)
			if text := readAll(t, resp); resp.StatusCode != want || path == "/v1/models" && strings.Contains(text, `"id"`) {
				t.Errorf("%s: %d %s", path, resp.StatusCode, text)
			}
		}
		bad := next
		bad.Order, bad.Mounts = []int{7}, []Mount{{Pattern: "GET /x"}}
		if err := w.gateway.Reconfigure(bad, nil); err == nil || !strings.Contains(err.Error(), "nothing is changed") {
			t.Errorf("%v", err)
		}
		bad.Order, bad.Keys = next.Order, nil
		if err := w.gateway.Reconfigure(bad, nil); err == nil || !strings.Contains(err.Error(), "GET /x") {
			t.Errorf("%v", err)
		}
		wantError(t, post(t, client, chatPath, chatBody), 401, "invalid_api_key")
		resp := send(t, client, "GET", "/new", auth)
		if readAll(t, resp); resp.StatusCode != 200 {
			t.Errorf("after a bad reload: %d", resp.StatusCode)
		}
		if text := <-got; text != "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n" {
			t.Errorf("the stream that ran: %q", text)
		}
	})
}

// A place that was kept before a reload is found after it.
func TestI11ReloadKeepsPlaces(t *testing.T) {
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		if strings.Contains(string(c.Body), "first") {
			<-time.After(60 * time.Second)
		}
		return echo(ctx, c)
	}
	in(t, 1, p, func(t *testing.T, w *world, client *http.Client) {
		ask := func(name, timeout string) *http.Response {
			return post(t, client, chatPath, strings.Replace(chatBody, "hi", name, 1), header("X-Stainless-Timeout", timeout))
		}
		done := make(chan struct{}, 2)
		later := func(name string) {
			go func() {
				readAll(t, ask(name, "600"))
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		later("first")
		resp := ask("early", "40")
		wantError(t, resp, 429, "rate_limit_exceeded")
		wait, _ := time.ParseDuration(resp.Header.Get("Retry-After") + "s")
		later("late")
		if err := w.gateway.Reconfigure(Options{Routes: []Route{{Model: "m"}}}, nil); err != nil {
			t.Fatal(err)
		}
		<-time.After(wait)
		resp = ask("early", "300")
		if readAll(t, resp); resp.StatusCode != 200 || resp.Header.Get("Millrace-Queue-Position") != "1" {
			t.Errorf("asked again: %d at position %s", resp.StatusCode, resp.Header.Get("Millrace-Queue-Position"))
		}
		<-done
		<-done
	})
}

func TestAdmin(t *testing.T) {
	w := build(t, 1, echo, keyed)
	defer w.admission.Close()
	w.gateway.deps.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("metrics")) })
	o := Options{Routes: []Route{{Model: "*"}}}
	keyed(&o)
	for _, loopback := range []bool{false, true} {
		o.Loopback = loopback
		if err := w.gateway.Reconfigure(o, nil); err != nil {
			t.Fatal(err)
		}
		ask := func(h http.Handler, path, token string, want int) {
			t.Helper()
			if got := do(t, h, "GET "+path, "", header("X-Api-Key", token)).StatusCode; got != want {
				t.Errorf("loopback %v, %s with %q: %d, want %d", loopback, path, token, got, want)
			}
		}
		onMain := func(status int) int { // of the operator's patterns
			if loopback {
				return status
			}
			return 404
		}
		for _, path := range []string{"/debug/pprof/heap", "/debug/pprof/", "/debug/pprof/symbol", "/stats"} {
			ask(w.gateway.Admin(), path, "", 401)
			ask(w.gateway.Admin(), path, "sk-a", 200)
			ask(w.gateway.Admin(), path, "sk-b", 403)
			ask(w.gateway, path, "", onMain(401))
			ask(w.gateway, path, "sk-a", onMain(200))
		}
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			ask(w.gateway.Admin(), path, "", 200)
		}
		ask(w.gateway, "/healthz", "", 200)
		ask(w.gateway, "/metrics", "", onMain(200))
		ask(w.gateway.Admin(), "/v1/models", "sk-a", 404)
		ask(w.gateway.Admin(), "/open", "", 404)
		ask(w.gateway.Admin(), "/debug/pprof/cmdline", "sk-a", 404)
	}
}
