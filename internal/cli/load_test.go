package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/load/arrival"
	"github.com/millrace/millrace/internal/load/verdict"
)

// loadEndpoint answers every chat request with the status.
func loadEndpoint(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		status := status
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
	if !errors.Is(err, verdict.ErrBreach) || !strings.Contains(err.Error(), "breach: target: ") || !strings.Contains(err.Error(), "above 0.5") {
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
		"--arrivals":          {"--arrivals", "5"},
		"--stages: stage 1":   {"--stages", "20"},
		"no number of users":  {"--stages", "1s:x"},
		"weight \"no\"":       {"--mix", "/chat:weight=no"},
		"none of weight=":     {"--mix", "/chat:size=3"},
		"tokens \"x\"":        {"--mix", "/chat:tokens=x"},
		"is called b":         {"--judge", "b=http://x"},
		"--html: open":        {"--html", filepath.Join(t.TempDir(), "absent", "r.html")},
	} {
		out, _, err := runLoad(t, args...)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, verdict.ErrBreach) || out != "" {
			t.Errorf("%v: error %v, output %q; want %q", args, err, out, want)
		}
	}
}

// TestI4LoadRefusesWhatItWouldIgnore: of two flags none is taken silently, and none that says nothing.
func TestI4LoadRefusesWhatItWouldIgnore(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--users 3 --arrivals 5/s":                             "--users and --arrivals exclude each other",
		"--users 3 --stages 1s:4":                              "--users and --stages exclude each other",
		"--users 3 --preset conv":                              "--users and --preset exclude each other",
		"--users 3 --trace x.csv":                              "--users and --trace exclude each other",
		"--preset conv --tokens 5":                             "--preset and --tokens exclude each other",
		"--preset conv --think 5s":                             "--preset and --think exclude each other",
		"--arrivals 5/s --think 5s":                            "--think is of users who wait for answers",
		"--arrivals 5/s --think-dist fixed":                    "--think-dist is of users who wait",
		"--arrivals 5/s --ramp 5s":                             "--ramp is of users who wait",
		"--stages 1m:5/s --session-turns 3 --session-pause 5s": "--session-pause is of users who wait",
		"--others-rate 5/m --think 5s":                         "--others-rate and --think exclude each other",
		"--stream --stream-share 0.5":                          "--stream and --stream-share exclude each other",
		"--together --pause 5s":                                "--together and --pause exclude each other",
		"--arrivals-cv 3":                                      "--arrivals-cv says nothing without --arrivals or --stages of rates",
		"--stages 1m:5 --arrivals-cv 3":                        "--arrivals-cv says nothing without",
		"--trace-users 3":                                      "--trace-users says nothing without",
		"--max-in-flight 3":                                    "--max-in-flight says nothing without",
		"--rate 5/s":                                           "--rate says nothing without --preset",
		"--limit-rows 5":                                       "--limit-rows says nothing without",
		"--cancel-within 5s":                                   "--cancel-within says nothing without --cancel",
		"--stall-for 5s":                                       "--stall-for says nothing without --stall",
		"--interval 5s":                                        "--interval says nothing without --html or --json",
		"--judge http://a --judge http://b":                    "is the second one",
		"--judge target=http://a --judge target=http://b":      "is the second one",
		"--min-fairness 1.5":                                   "--min-fairness: 1.5 is not between",
		"--min-utilization -1":                                 "--min-utilization: -1 is not between",
		"--max-p95 -1s":                                        "--max-p95: -1s is negative",
		"--max-throttled -2":                                   "--max-throttled: -2 is negative",
		"--csv x --html ./x":                                   "--html and --csv are one file, ./x: name two",
		"--trace x.csv --csv x.csv":                            "--csv and --trace are one file, x.csv: name two",
		"--target a=http://a --check b":                        "--check \"b\": no target is called so",
	} {
		_, _, err := runLoad(t, append(strings.Fields(args), "--duration", "50ms")...)
		if usage := (*usageError)(nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", args, err, want)
		}
	}
	for _, args := range []string{
		"--arrivals 5/s --arrivals-cv 2 --session-turns 3 --think 5s", "--stages 1s:4 --ramp 1s --session-pause 1s", "--preset conv --rate 5/s --trace-users 3 --max-in-flight 4",
		"--judge http://a --judge target=http://b", "--greedy-user 3 --others-rate 5/m", "--cancel 0.5 --cancel-within 5s",
	} {
		cmd := &cobra.Command{}
		f := &loadFlags{}
		f.register(cmd)
		if err := errors.Join(cmd.ParseFlags(strings.Fields(args)), f.check(cmd.Flags().Changed), f.complete()); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestI5LoadOfNothing: a run in which nothing is answered is no success, and says why in one line.
func TestI5LoadOfNothing(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<!doctype html>") }))
	t.Cleanup(site.Close)
	plain := loadEndpoint(t, http.StatusUnauthorized)
	for name, c := range map[string]struct {
		url  string
		want []string
	}{
		"nothing listens": {closed.URL + "/v1", []string{"refused", "is it started"}},
		"wrong key":       {plain + "/v1", []string{"401", "--key-file"}},
		"wrong path":      {plain + "/v2", []string{"404", "is it the base URL"}},
		"no TLS":          {strings.Replace(plain, "http:", "https:", 1) + "/v1", []string{"transport", "TLS", "write http://"}},
		"TLS":             {strings.Replace(secure.URL, "https:", "http:", 1) + "/v1", []string{"400", "https://"}},
		"unknown":         {secure.URL + "/v1", []string{"certificate", "SSL_CERT_FILE"}},
		"a web page":      {site.URL + "/v1", []string{"format", "<!doctype html>", "is it the base URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, _, err := runLoad(t, "--target", c.url, "--users", "1", "--think", "10ms", "--duration", "150ms", "--tokens", "8", "--key", "sk-1", "--quiet")
			if usage := (*usageError)(nil); !errors.Is(err, verdict.ErrSilent) || errors.As(err, &usage) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
			if !strings.Contains(out, "(100.00 %)") {
				t.Errorf("no report:\n%s", out)
			}
		})
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
	names := map[string]bool{}
	for i := range 120 {
		names[parseTarget("http://a/v1", i).Name] = true
	}
	if len(names) != 120 {
		t.Errorf("120 targets without a name get %d names", len(names))
	}
}

// TestI4OneFileForTwo: two reports do not overwrite each other, whatever their file is called.
func TestI4OneFileForTwo(t *testing.T) {
	folder := t.TempDir()
	file, link := filepath.Join(folder, "report"), filepath.Join(folder, "link")
	if err := errors.Join(os.WriteFile(file, []byte("old"), 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	_, _, err := runLoad(t, "--target", "http://127.0.0.1:9/v1", "--html", file, "--csv", link, "--duration", "50ms")
	if usage := (*usageError)(nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "are one file") {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "old" {
		t.Errorf("a refused run has written %q, %v", text, err)
	}
	if err := oneFile("html", os.DevNull, "csv", os.DevNull); err != nil {
		t.Errorf("a device: %v", err)
	}
}

func TestLoadWritesFiles(t *testing.T) {
	url, dir := loadEndpoint(t, http.StatusOK), t.TempDir()
	page, requests := filepath.Join(dir, "r.html"), filepath.Join(dir, "r.csv")
	_, _, err := runLoad(t, "--target", url+"/v1", "--key", "sk-1", "--arrivals", "200/s", "--arrivals-cv", "2", "--tokens", "8",
		"--session-turns", "2", "--think", "1ms", "--mix", "/v1/chat/completions:weight=2,class=batch,tokens=9", "--duration", "300ms",
		"--html", page, "--csv", requests, "--max-errors", "0")
	if err != nil {
		t.Fatal(err)
	}
	html, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(html), `<th scope="row">--session-turns</th><td>2</td>`) || strings.Contains(string(html), "sk-1") {
		t.Errorf("the page lacks the parameters or tells the key: %v", err)
	}
	lines, err := os.ReadFile(requests)
	if n := strings.Count(string(lines), "\n"); err != nil || n < 20 || strings.Count(string(lines), ",/v1/chat/completions,batch,") != n-1 {
		t.Errorf("%d lines of requests, %v", n, err)
	}
}

func TestLoadThatNeverBeganLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	_, _, err := runLoad(t, "--target", "nonsense", "--html", filepath.Join(dir, "r.html"), "--csv", filepath.Join(dir, "r.csv"))
	left, _ := os.ReadDir(dir)
	if err == nil || len(left) != 0 {
		t.Errorf("error %v, left %v", err, left)
	}
	_, _, err = runLoad(t, "--html", filepath.Join(dir, "r.html"), "--csv", filepath.Join(dir, "absent", "r.csv"))
	left, _ = os.ReadDir(dir)
	if err == nil || !strings.Contains(err.Error(), "--csv: ") || len(left) != 0 {
		t.Errorf("error %v, left %v", err, left)
	}
}

func TestLoadFlagsInWords(t *testing.T) {
	f := &loadFlags{}
	f.register(&cobra.Command{})
	f.maxErrors, f.thinkDist = "1.0", "exp"
	f.targets = []string{"a=http://a/v1", "b=http://b/v1"}
	f.judges = []string{"http://j", "b=http://k"}
	f.stages, f.mix = "30s:20,0s:5", []string{"/chat", "/analyze_section:weight=2.5,class=analysis,tokens=700"}
	if err := f.complete(); err != nil {
		t.Fatal(err)
	}
	o := f.options
	if o.Judge != "http://j" || o.Targets[0].Judge != "" || o.Targets[1].Judge != "http://k" {
		t.Errorf("judges %q, %+v", o.Judge, o.Targets)
	}
	if diff := cmp.Diff([]load.Part{{Path: "/chat"}, {Path: "/analyze_section", Weight: 2.5, Class: "analysis", Tokens: 700}}, o.Mix); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]arrival.Stage{{Over: 30 * time.Second, To: 20}, {To: 5}}, o.UserStages); diff != "" || o.RateStages != nil {
		t.Error(diff)
	}
	f = &loadFlags{stages: "1m:60/m,10s:0/s", arrivals: "120/m", maxErrors: "0", thinkDist: "exp", maxThrottle: -1}
	if err := f.complete(); err != nil || f.options.Arrivals != 2 {
		t.Fatalf("arrivals %v, %v", f.options.Arrivals, err)
	}
	if diff := cmp.Diff([]arrival.Stage{{Over: time.Minute, To: 1}, {Over: 10 * time.Second}}, f.options.RateStages); diff != "" {
		t.Error(diff)
	}
}

// Every flag is either told in the report or left out for a reason.
func TestLoadTellsItsFlags(t *testing.T) {
	untold := []string{"key", "key-file", "help", "html", "csv", "interval", "json", "quiet"}
	cmd := newLoadCommand()
	cmd.InitDefaultHelpFlag()
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-h, )?--([a-z0-9-]+)`).FindAllStringSubmatch(cmd.LocalFlags().FlagUsages(), -1) {
		if slices.Contains(told, m[1]) == slices.Contains(untold, m[1]) {
			t.Errorf("--%s must be either told or untold", m[1])
		}
	}
	for _, name := range told {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("--%s is no flag", name)
		}
	}
}
