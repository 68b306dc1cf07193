package app

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/testkit"
)

// load is a configuration on a free port with its own folder for state.
func load(t *testing.T, environ ...string) *config.Config {
	t.Helper()
	environ = append([]string{"MILLRACE_STATE_DIR=" + filepath.Join(t.TempDir(), "state")}, environ...)
	c, err := config.Load(config.Source{Listen: "127.0.0.1:0", Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running starts the app; stop ends it and returns what Run returned.
func running(t *testing.T, c *config.Config) (a *App, stop func() error) {
	t.Helper()
	a, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var ended bool
	stop = func() error {
		cancel()
		if ended {
			return nil
		}
		ended = true
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return a, stop
}

const question = `{"model":"m","max_tokens":4,"messages":[{"role":"user","content":"Hello"}]}`

// ask sends a chat request over a connection of its own.
func ask(t *testing.T, a *App, body string) (status int, answer string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post("http://"+a.Addr()+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error("read answer:", err)
	}
	return response.StatusCode, string(text)
}

// model is an upstream that answers when it is let to.
type model struct {
	*httptest.Server
	entered chan struct{}
	release chan struct{}
}

func newModel(t *testing.T) *model {
	m := &model{entered: make(chan struct{}, 100), release: make(chan struct{})}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		m.entered <- struct{}{}
		select {
		case <-m.release:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"done"}}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *model) base() string { return "OPENAI_BASE_URL=" + m.URL + "/v1" }

func TestI2ServesTheSimulatorAndLeavesNothing(t *testing.T) {
	testkit.LeakCheck(t)
	c := load(t)
	a, stop := running(t, c)
	if status, answer := ask(t, a, question); status != http.StatusOK || !strings.Contains(answer, `"choices"`) {
		t.Errorf("chat: %d %s", status, answer)
	}
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/v1/models": "sim-large", "/metrics": "millrace_seats_limit"} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get("http://" + a.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d, lacks %q", path, response.StatusCode, want)
		}
	}
	if err := stop(); err != nil {
		t.Error("stop:", err)
	}
	if _, err := os.Stat(c.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the simulator keeps state:", err)
	}
}

func TestI1UndoneInReverseOnce(t *testing.T) {
	var s stack
	var order []int
	broken := errors.New("broken")
	for i := range 3 {
		s.push(func() error {
			order = append(order, i)
			if i == 1 {
				return broken
			}
			return nil
		})
	}
	if err := s.unwind(); !errors.Is(err, broken) {
		t.Errorf("unwind hides the failure: %v", err)
	}
	if err := s.unwind(); err != nil || !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("order %v, second time %v", order, err)
	}
}

func TestI1FailedNewLeavesNothing(t *testing.T) {
	testkit.LeakCheck(t)
	c := load(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listen = taken.Addr().String()
	if _, err = New(c, nil); err == nil || !strings.Contains(err.Error(), "listen (--listen)") {
		t.Errorf("taken port: %v", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	c.Upstreams = append(c.Upstreams, config.Upstream{Name: "late", Provider: config.ProviderOpenAI, BaseURL: "::", Quota: config.Quota{Window: "paced"}})
	if _, err = New(c, nil); err == nil {
		t.Error("an upstream without an address is accepted")
	}
	c.Upstreams = c.Upstreams[:1]
	a, err := New(c, nil) // the port is free again
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Close(), a.Close()); err != nil {
		t.Error("close:", err)
	}
}

func TestI3DrainFinishesWhatRunsAndRefusesTheRest(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	a, stop := running(t, load(t, m.base(), "MILLRACE_LIMITS_DRAIN=20s"))
	first := make(chan int, 1)
	go func() {
		status, _ := ask(t, a, question)
		first <- status
	}()
	<-m.entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	waitFor(t, func() bool { return readyz(t.Context(), a) != http.StatusOK })
	if status, answer := ask(t, a, question); status != http.StatusServiceUnavailable || !strings.Contains(answer, `"error"`) {
		t.Errorf("newcomer: %d %s", status, answer)
	}
	close(m.release)
	if got := <-first; got != http.StatusOK {
		t.Errorf("the request in flight ended with %d", got)
	}
	if err := <-stopped; err != nil {
		t.Error("stop:", err)
	}
}

func readyz(ctx context.Context, a *App) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Addr()+"/readyz", nil)
	if err != nil {
		return 0
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestI2DrainEndsAtItsLimit(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t) // never released
	a, stop := running(t, load(t, m.base(), "MAX_CONCURRENT_REQUESTS=1", "MILLRACE_LIMITS_DRAIN=100ms"))
	statuses := make(chan int, 2)
	for range 2 { // one runs, one waits for the only seat
		go func() {
			status, _ := ask(t, a, question)
			statuses <- status
		}()
	}
	<-m.entered
	waitFor(t, func() bool { return a.admission.Snapshot().Waiting == 1 })
	begun := time.Now()
	if err := stop(); err != nil {
		t.Error("stop:", err)
	}
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("the drain took %s", took)
	}
	for range 2 {
		if got := <-statuses; got != http.StatusServiceUnavailable {
			t.Errorf("a request that the drain ended got %d", got)
		}
	}
}

// waitFor asks until the condition holds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-limit:
			t.Fatal("it never came")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestI4StateIsBelievedOnce(t *testing.T) {
	m := newModel(t)
	close(m.release)
	c := load(t, m.base())
	used := func(a *App) int64 { return a.admission.Snapshot().Upstreams[0].Windows[0].Used }

	a, stop := running(t, c)
	if a.start != quota.Fresh {
		t.Error("a new folder does not start fresh")
	}
	if status, answer := ask(t, a, question); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	b, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.start != quota.Unknown || len(b.saved) != 0 || used(b) != 1 {
		t.Errorf("after a clean stop: start %d, %d saved, %d used; want 1 used", b.start, len(b.saved), used(b))
	}
	if err := b.Close(); err != nil { // as a kill would: nothing is written
		t.Fatal(err)
	}

	k, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if k.start != quota.Unknown || k.saved != nil || used(k) <= 1 {
		t.Errorf("after a kill: start %d, saved %v, %d used; want the quota as if used up", k.start, k.saved, used(k))
	}
	held, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if held.ledger != nil || held.start != quota.Unknown {
		t.Error("a second gateway shares the folder")
	}
	if err := errors.Join(held.Close(), k.Close()); err != nil {
		t.Error(err)
	}
}

func TestI4StateMustFitTheClock(t *testing.T) {
	written := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	good := state{Version: stateVersion, Clean: true, Boot: "b", Uptime: time.Hour, Written: written}
	after := func(wall, up time.Duration, boot string) machine {
		return machine{boot: boot, uptime: time.Hour + up, now: written.Add(wall)}
	}
	for name, test := range map[string]struct {
		state   state
		machine machine
		sane    bool
	}{
		"soon":                 {good, after(time.Second, time.Second, "b"), true},
		"later":                {good, after(time.Hour, time.Hour, "b"), true},
		"after a reboot":       {good, after(time.Hour, -time.Hour, "c"), true},
		"clock went back":      {good, after(-time.Second, time.Second, "b"), false},
		"clock jumped":         {good, after(time.Hour, time.Second, "b"), false},
		"future across a boot": {good, after(-time.Second, 0, "c"), false},
		"killed":               {state{Version: stateVersion, Boot: "b", Uptime: time.Hour, Written: written}, after(time.Second, time.Second, "b"), false},
		"other version":        {state{Version: 2, Clean: true, Written: written}, after(time.Second, time.Second, "b"), false},
	} {
		if err := test.state.sane(test.machine); (err == nil) != test.sane {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBrokenStateStartsAsUsedUp(t *testing.T) {
	c := load(t, "OPENAI_BASE_URL=http://127.0.0.1:1/v1")
	for name, text := range map[string]string{"empty": "", "garbled": "{", "null": "null", "wrong types": `{"version":"x"}`} {
		if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.StateDir, stateName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := New(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.start != quota.Unknown || a.saved != nil {
			t.Errorf("%s: start %d, saved %v", name, a.start, a.saved)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	c.StateDir = filepath.Join(c.StateDir, stateName, "below-a-file")
	a, err := New(c, nil)
	if err != nil || a.start != quota.Unknown || a.ledger != nil {
		t.Fatalf("a folder that cannot be made: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
