package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/provider/sim"
)

// screen is an output that can be waited for.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen chan struct{} // gets a value at each write
}

func newScreen() *screen { return &screen{seen: make(chan struct{}, 100)} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen <- struct{}{}
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestSimServesAndReports(t *testing.T) {
	t.Parallel()
	rules := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(rules, []byte(`[{"kind":"status","status":503,"model":"bad"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, errs := newScreen(), newScreen()
	cmd := newSimCommand()
	cmd.SetOut(out)
	cmd.SetErr(errs)
	cmd.SetArgs([]string{"--listen", "127.0.0.1:0", "--instant", "--requests", "600", "--fault-file", rules, "--fault", `{"kind":"hang","model":"other"}`})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatalf("the command ended: %v", err)
	}
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(out.String())
	for model, want := range map[string]int{"m": http.StatusOK, "bad": http.StatusServiceUnavailable} {
		body := `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`
		resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("model %s: status %d, want %d", model, resp.StatusCode, want)
		}
	}
	if !strings.Contains(out.String(), "curl "+url) {
		t.Errorf("no curl line in %q", out.String())
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var stats sim.Stats
	if err := json.Unmarshal([]byte(errs.String()), &stats); err != nil {
		t.Fatalf("%v in %q", err, errs.String())
	}
	if stats.Answered != 1 || stats.Statuses["503"] != 1 {
		t.Errorf("answered %d, statuses %v", stats.Answered, stats.Statuses)
	}
}

func TestSimRefusesBadFlags(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]string{
		"--profile nobody":     "profile",
		"--window round":       "window",
		"--requests -1":        "negative",
		"--fault explode":      "explode",
		"--fault-file /nofile": "fault file",
		"--listen 127.0.0.1:x": "listen",
	} {
		cmd := newSimCommand()
		cmd.SetOut(newScreen())
		cmd.SetErr(newScreen())
		cmd.SetArgs(strings.Fields(flags))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", flags, err, want)
		}
	}
}

// TestI4SimRefusesWhatItWouldIgnore: of two flags none is taken silently, and none that says nothing.
func TestI4SimRefusesWhatItWouldIgnore(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--latency 2s --ttft 1s":              "--latency and --ttft exclude each other",
		"--latency 2s --per-token 1ms":        "--latency and --per-token exclude each other",
		"--instant --latency 2s":              "--instant and --latency exclude each other",
		"--sigma 0.3":                         "--sigma says nothing without --latency",
		"--queue 5":                           "--queue says nothing without --seats",
		"--window fixed --burst 5s":           "--burst says nothing without --window bucket or --window paced",
		"--window sliding --slice 5s":         "--slice says nothing without --window slice",
		"--window slice --slice 5s --ttft 0s": "",
		"--burst 5s --seats 3 --queue 4":      "",
		"--slice 5s":                          "--slice says nothing without --window slice",
		"--profile vllm --slice 5s":           "--slice says nothing without --window slice",
		"--profile azure --burst 5s":          "--burst says nothing without --window bucket or --window paced",
		"--profile azure --slice 5s":          "",
		"--profile vllm --burst 5s":           "",
	} {
		f, cmd := &simFlags{}, &cobra.Command{}
		f.register(cmd)
		if err := cmd.ParseFlags(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		if err := f.check(cmd.Flags().Changed); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", args, err, want)
		}
	}
}

// TestI4EveryProfileHasItsWindow: of --burst and --slice each profile takes the one that is of its own window.
func TestI4EveryProfileHasItsWindow(t *testing.T) {
	t.Parallel()
	for _, profile := range sim.Profiles() {
		taken := 0
		for _, flag := range []string{"--burst", "--slice"} {
			f, cmd := &simFlags{}, &cobra.Command{}
			f.register(cmd)
			if err := cmd.ParseFlags([]string{"--profile", profile, flag, "5s"}); err != nil {
				t.Fatal(err)
			}
			if f.check(cmd.Flags().Changed) == nil {
				taken++
			}
		}
		if taken != 1 {
			t.Errorf("%s takes %d of --burst and --slice", profile, taken)
		}
	}
}
