package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/capacity"
)

// runPlan runs the command without the environment's settings.
func runPlan(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newPlanCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors = true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestPlanRowsAsJSON(t *testing.T) {
	page := filepath.Join(t.TempDir(), "plan.html")
	out, err := runPlan(t, "--users", "5,12", "--duration", "10m", "--json", "--html", page)
	if err != nil {
		t.Fatal(err)
	}
	var rows []capacity.Row
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatalf("%v in %.200s", err, out)
	}
	if len(rows) != 2 || !rows[0].Good || rows[1].Good || rows[1].Binds != "ANALYSIS_TASK_RATE_LIMIT=20/m" || len(rows[1].Change) == 0 {
		t.Errorf("%+v", rows)
	}
	html, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(html, []byte("ANALYSIS_TASK_RATE_LIMIT=20/m binds")) {
		t.Errorf("page of %d bytes: %v", len(html), err)
	}
}

// TestPlanUsesTheConfiguration: what --set changes, the plan follows.
func TestPlanUsesTheConfiguration(t *testing.T) {
	plan := func(args ...string) *capacity.Row {
		t.Helper()
		out, err := runPlan(t, append(args, "--users", "20", "--duration", "10m", "--json", "--no-advice")...)
		if err != nil {
			t.Fatal(err)
		}
		var rows []capacity.Row
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatal(err)
		}
		return &rows[0]
	}
	if row := plan(); row.Nearest != "ANALYSIS_TASK_RATE_LIMIT=20/m" {
		t.Errorf("%s is nearest", row.Nearest)
	}
	if row := plan("--set", "classes.analysis.rate=600/m"); row.Nearest != "MAX_TOKENS_PER_MINUTE=180000" {
		t.Errorf("%s is nearest", row.Nearest)
	}
	if row := plan("--class", "chat", "--set", "upstreams.main.quota.seats=1", "--latency", "20s"); row.Nearest != "MAX_CONCURRENT_REQUESTS=1" {
		t.Errorf("%s is nearest", row.Nearest)
	}
	if row := plan("--class", "analysis:2,chat:1", "--workload", "chat", "--arrivals", "bursts"); len(row.Classes) != 2 || row.Classes[0].Requests < row.Classes[1].Requests {
		t.Errorf("%+v", row.Classes)
	}
}

func TestPlanInverse(t *testing.T) {
	out, err := runPlan(t, "--for-users", "15", "--duration", "20m", "--as", "stream", "--class", "batch")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"For 15 users", "MAX_REQUESTS_PER_MINUTE=", "MAX_TOKENS_PER_MINUTE=", "MAX_CONCURRENT_REQUESTS=", "10 % less   slow"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
}

func TestPlanInversePage(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "quota.html")
	out, err := runPlan(t, "--for-users", "15", "--duration", "10m", "--class", "batch", "--json", "--html", page)
	var needs []capacity.Need
	if err = errors.Join(err, json.Unmarshal([]byte(out), &needs)); err != nil || len(needs) != 1 {
		t.Fatalf("%v in %.200s", err, out)
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<h1>Quota for 15 users</h1>", needs[0].Limits[1].Setting, "10 % less: requests", "How it was found"} {
		if !bytes.Contains(html, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestI5PlanSaysWhatItDoesNotKnow: a plan in which nobody was seen to be answered is told,
// written all the same, and no success.
func TestI5PlanSaysWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	out, err := runPlan(t, "--users", "5", "--class", "chat", "--latency", "2h", "--duration", "10m", "--json")
	var rows []capacity.Row
	if e := json.Unmarshal([]byte(out), &rows); e != nil || len(rows) != 1 || rows[0].Good || !rows[0].Unknown {
		t.Errorf("%v in %.300s", e, out)
	}
	if usage := (*usageError)(nil); err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), "nothing can be said about 5 users") {
		t.Errorf("error %v", err)
	}
	out, err = runPlan(t, "--for-users", "5", "--class", "chat", "--latency", "2h", "--duration", "10m")
	if !errors.Is(err, capacity.ErrUnseen) || out != "" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPlanTrace(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace.csv")
	text := "TIMESTAMP,ContextTokens,GeneratedTokens\n"
	for i := range 50 {
		text += "2023-11-16 18:15:" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + ".0000000,6000,100\n"
	}
	if err := os.WriteFile(trace, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runPlan(t, "--trace", trace, "--users", "20", "--class", "batch")
	if err != nil || !strings.Contains(out, "MAX_TOKENS_PER_MINUTE=180000 binds") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestPlanRefusesNonsense(t *testing.T) {
	_, err := runPlan(t, "--users", "5,x", "--requests-per-user", "2", "--class", "chat:0", "--as", "post", "--arrivals", "never", "--workload", "poem")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--users", "--as", "--arrivals", "--workload"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
	for _, args := range [][]string{{"--users", "0"}, {"--requests-per-user", "x"}, {"--class", "chat:x"}, {"--trace", "absent.csv"}, {"--tokens", "0"}} {
		if _, err := runPlan(t, args...); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

// TestI4PlanRefusesWhatItWouldIgnore: flags that say nothing, or contradict each other, are
// told instead of being taken for those that were not given.
func TestI4PlanRefusesWhatItWouldIgnore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--think", "5s", "--arrivals", "poisson"}, "--think is of users who wait for answers"},
		{[]string{"--cv", "3"}, "--cv says nothing without --arrivals bursts"},
		{[]string{"--cv", "3", "--arrivals", "poisson"}, "--cv says nothing without --arrivals bursts"},
		{[]string{"--sigma", "0.3"}, "--sigma says nothing without --latency"},
		{[]string{"--trace-users", "5"}, "--trace-users says nothing without --trace"},
		{[]string{"--trace", "x.csv", "--requests-per-user", "1/m"}, "--trace and --requests-per-user exclude each other"},
		{[]string{"--trace", "x.csv", "--tokens", "9", "--workload", "chat"}, "--trace and --workload exclude each other"},
		{[]string{"--trace", "x.csv", "--arrivals", "bursts", "--output", "9"}, "--trace and --arrivals exclude each other"},
		{[]string{"--workload", "chat", "--tokens-sigma", "1"}, "--workload and --tokens-sigma exclude each other"},
		{[]string{"--for-users", "20", "--users", "5"}, "--for-users and --users exclude each other"},
		{[]string{"--think", "5s", "--requests-per-user", "2/m"}, "--think and --requests-per-user exclude each other"},
		{[]string{"--for-users", "0"}, "--for-users: write something above 0"},
		{[]string{"--max-p95-wait", "0s"}, "--max-p95-wait: write something above 0"},
		{[]string{"--latency", "-1s"}, "--latency: write something above 0"},
		{[]string{"--output", "-5"}, "--output: write something above 0"},
		{[]string{"--trace-users", "0"}, "--trace-users: write something above 0"},
		{[]string{"--tokens", "0"}, "--tokens: write something above 0"},
		{[]string{"--latency", "1s", "--sigma", "-1"}, "--sigma: -1 is not between"},
		{[]string{"--max-tokens", "-1"}, "--max-tokens: -1 is negative"},
		{[]string{"--think", "0s"}, "--think: write something above 0"},
		{[]string{"--arrivals", "bursts", "--cv", "0"}, "--cv: write something above 0"},
		{[]string{"--warmup", "-1s"}, "--warmup: -1s is negative: 0 is none"},
		{[]string{"--trace", "x.csv", "--html", "./x.csv"}, "--html and --trace are one file, ./x.csv: name two"},
	} {
		out, err := runPlan(t, append(c.args, "--duration", "1m")...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\n%s", c.args, err, out)
		}
	}
}

// TestI4PlanWithoutWarmUp: a warm-up of 0 is none, and not the default.
func TestI4PlanWithoutWarmUp(t *testing.T) {
	t.Parallel()
	span := func(args ...string) float64 {
		out, err := runPlan(t, append(args, "--users", "5", "--duration", "10m", "--no-advice", "--json")...)
		if err != nil {
			t.Fatal(err)
		}
		var rows []capacity.Row
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatal(err)
		}
		s := &rows[0].Series
		return s.Step * float64(len(s.Waiting))
	}
	if usual, none, some := span(), span("--warmup", "0s"), span("--warmup", "2m"); usual < 899 || none > 601 || some < 719 || some > 721 {
		t.Errorf("%v s are played with the usual warm-up, %v s without, %v s with 2 minutes", usual, none, some)
	}
}
