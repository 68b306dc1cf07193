package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/load"
)

// loadEndpoint answers every chat request with the status.
func loadEndpoint(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer sk-1" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}`)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// runLoad runs the command and returns what it wrote.
func runLoad(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, log bytes.Buffer
	cmd := newLoadCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	cmd.SetArgs(args)
	cmd.SilenceErrors = true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), log.String(), err
}

func TestLoadReportsAsJSON(t *testing.T) {
	good, bad := loadEndpoint(t, http.StatusOK), loadEndpoint(t, http.StatusTooManyRequests)
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte("sk-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := runLoad(t, "--target", "bad="+bad+"/v1", "--target", "good="+good+"/v1", "--check", "good", "--pause", "0s",
		"--users", "3", "--think", "1ms", "--tokens", "8", "--until-answers", "4", "--duration", "300ms", "--key-file", keyFile,
		"--max-errors", "0", "--min-fairness", "0.1", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var report load.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("stdout is no JSON report: %v\n%s", err, out)
	}
	if len(report.Targets) != 2 {
		t.Fatalf("%d targets", len(report.Targets))
	}
	straight, through := report.Targets[0], report.Targets[1]
	if straight.Answered != 0 || straight.ByError["429"] != straight.Errors || straight.Errors == 0 {
		t.Errorf("bad: %+v", straight)
	}
	if through.Errors != 0 || through.Fairness.LeastAnswers < 4 || through.Users[0].Cost != 10*through.Users[0].Answers {
		t.Errorf("good: %+v", through)
	}
	if strings.Contains(out, "sk-1") {
		t.Error("the key is in the report")
	}
}

func TestLoadExitsOnBreach(t *testing.T) {
	url := loadEndpoint(t, http.StatusInternalServerError)
	out, _, err := runLoad(t, "--target", url+"/v1", "--users", "1", "--think", "0", "--tokens", "8", "--duration", "50ms", "--key", "sk-1", "--max-errors", "0.5")
	if !errors.Is(err, load.ErrBreach) || !strings.Contains(err.Error(), "breach: target: ") || !strings.Contains(err.Error(), "above 0.5") {
		t.Errorf("error %v, want a breach", err)
	}
	if !strings.Contains(out, "  500") || !strings.Contains(out, "generator: CPU") {
		t.Errorf("report:\n%s", out)
	}
}

func TestLoadReplays(t *testing.T) {
	url := loadEndpoint(t, http.StatusOK)
	path := filepath.Join(t.TempDir(), "trace.csv")
	var rows strings.Builder
	rows.WriteString("TIMESTAMP,ContextTokens,GeneratedTokens\n")
	for i := range 30 {
		_, _ = fmt.Fprintf(&rows, "2023-11-16 18:15:%02d.5,20,3\n", i)
	}
	if err := os.WriteFile(path, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"trace":  {"--trace", path, "--speed", "200", "--limit-rows", "25"},
		"preset": {"--preset", "conv", "--rate", "100/s", "--limit-rows", "25", "--speed", "4"},
	} {
		out, _, err := runLoad(t, append(args, "--target", url+"/v1", "--key", "sk-1", "--json", "--max-errors", "0")...)
		var report load.Report
		if err = errors.Join(err, json.Unmarshal([]byte(out), &report)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := report.Targets[0]; report.Mode != "open" || got.Answered != 25 || len(got.Users) != 20 {
			t.Errorf("%s: mode %s, %+v", name, report.Mode, got)
		}
	}
}

func TestLoadShowsProgress(t *testing.T) {
	f := &loadFlags{}
	var log bytes.Buffer
	f.showProgress(&log)()
	if f.options.ProgressEvery != progressPlain || log.Len() != 0 {
		t.Errorf("every %v, %q", f.options.ProgressEvery, log.String())
	}
	f.options.Progress(load.Snapshot{Target: "t", Elapsed: time.Minute, InFlight: 3})
	if !strings.HasPrefix(log.String(), "t   60s  in flight 3") || !strings.HasSuffix(log.String(), "/s\n") {
		t.Errorf("line %q", log.String())
	}
	quiet := &loadFlags{quiet: true}
	if quiet.showProgress(&log)(); quiet.options.Progress != nil {
		t.Error("quiet shows progress")
	}
}

func TestLoadEndsWithTheContext(t *testing.T) {
	url := loadEndpoint(t, http.StatusOK)
	cmd := newLoadCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{"--target", url + "/v1", "--users", "2", "--think", "10ms", "--tokens", "8", "--key", "sk-1", "--duration", "1h"})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "The run was interrupted: this is the report so far.") {
		t.Errorf("report:\n%s", out.String())
	}
}

func TestLoadFlagFaults(t *testing.T) {
	for want, args := range map[string][]string{
		"--think-dist":        {"--think-dist", "uniform"},
		"--others-rate":       {"--others-rate", "16"},
		"is no rate":          {"--others-rate", "0/m"},
		"--rate":              {"--preset", "conv", "--rate", "x/m"},
		"--max-errors":        {"--max-errors", "few"},
		"name it with":        {"--max-throttled", "0"},
		"choose one":          {"--trace", "x", "--preset", "conv"},
		"is not there":        {"--trace", filepath.Join(t.TempDir(), "absent.csv")},
		"preset \"mail\"":     {"--preset", "mail"},
		"--key-file: open":    {"--key-file", filepath.Join(t.TempDir(), "absent")},
		"key-file: /dev/null": {"--key-file", "/dev/null"},
		"is no base URL":      {"--target", "gateway=localhost/v1"},
		"users: 0":            {"--users", "0"},
		"unknown flag: --yes": {"--yes"},
		"stray":               {"stray"},
	} {
		out, _, err := runLoad(t, args...)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, load.ErrBreach) || out != "" {
			t.Errorf("%v: error %v, output %q; want %q", args, err, out, want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for raw, want := range map[string]load.Target{
		"http://a/v1":          {Name: "target", URL: "http://a/v1"},
		"http://a/v1?x=y":      {Name: "target", URL: "http://a/v1?x=y"},
		"straight=http://a/v1": {Name: "straight", URL: "http://a/v1"},
	} {
		if got := parseTarget(raw, 0); got != want {
			t.Errorf("parseTarget(%q) = %+v", raw, got)
		}
	}
	if got := parseTarget("http://a/v1", 1).Name; got != "target2" {
		t.Errorf("the second is called %s", got)
	}
}
