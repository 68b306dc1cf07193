package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/load"
)

// TestTable: every case has a name of its own, an end, a check, and a gateway
// whose configuration loads and says what the judge enforces.
func TestTable(t *testing.T) {
	for _, quick := range []bool{false, true} {
		seen := map[string]bool{}
		for _, c := range slices.Concat(table(quick), ownCases(1_000_000), planCases(settings{data: "."}, io.Discard)) {
			if seen[c.name] || (c.own == nil) == (c.check == nil || len(c.legs) == 0) {
				t.Errorf("%s: named twice, unchecked or without a leg", c.name)
			}
			seen[c.name] = true
			if c.length() <= 0 || c.length() > 15*time.Minute {
				t.Errorf("%s takes %v", c.name, c.length())
			}
			for i := range c.legs {
				checkGateway(t, c.name, &c.legs[i])
			}
		}
	}
}

func checkGateway(t *testing.T, name string, l *leg) {
	t.Helper()
	if l.gateway == nil {
		return
	}
	const base = "http://127.0.0.1:9/v1"
	source := config.Source{Environ: []string{}}
	if l.gateway.environment {
		source.Environ = l.gateway.variables(l.judge, base, "state")
	} else {
		source.File = filepath.Join(t.TempDir(), "millrace.yaml")
		if err := os.WriteFile(source.File, []byte(l.gateway.file(l.judge, base, "state")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(source)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	q := c.Upstreams[0].Quota
	if int(q.Requests.Count) != l.judge.requests || int(q.Tokens.Count) != l.judge.tokens || int(q.Seats) != l.judge.seats {
		t.Errorf("%s: the gateway is told %v, the judge enforces %v", name, q, l.judge)
	}
	if l.gateway.window != "" && q.Window != l.gateway.window || q.Burst != l.gateway.burst || q.Slice != l.gateway.slice {
		t.Errorf("%s: window %s, burst %v, slice %v", name, q.Window, q.Burst, q.Slice)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"-parallel", "0"}, {"-requests", "0"}, {"-nothing"}} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list", "-run", "^users/"}, &out); err != nil || strings.Count(out.String(), "\n") != 4 {
		t.Errorf("-list -run ^users/: %v\n%s", err, &out)
	}
	for _, c := range []struct {
		args []string
		want bool
	}{{nil, false}, {[]string{"-long"}, true}, {[]string{"-run", "^seeds/"}, true}} {
		out.Reset()
		if err := run(t.Context(), append([]string{"-list"}, c.args...), &out); err != nil || strings.Contains(out.String(), "seeds/200") != c.want {
			t.Errorf("-list %v: %v\n%s", c.args, err, &out)
		}
	}
	if err := run(t.Context(), []string{"-list", "-run", "^nothing$"}, &out); err == nil {
		t.Error("a run of no case is accepted")
	}
}

// TestAnnouncement: the server's own address is found, not one that its log named
// before.
func TestAnnouncement(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	a := &announcement{log: log, found: make(chan string, 1)}
	for _, part := range []string{`{"msg":"simulated on http://127.0.0.1:1/v1"}` + "\n", "millrace devel on http://127.0", ".0.1:23", "/v1\n"} {
		if _, err := a.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-a.found; got != "http://127.0.0.1:23" {
		t.Errorf("found %s", got)
	}
}

func TestSamples(t *testing.T) {
	s, err := parseSamples(strings.NewReader("# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"2\"} 4\nab 5e+06\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s.sum("a") != 7 || s.sum("a", `x="1"`, `y="2"`) != 3 || s.sum("ab") != 5e6 || s.sum("b") != 0 {
		t.Errorf("%v", s)
	}
	if _, err := parseSamples(strings.NewReader("a b\n")); err == nil {
		t.Error("a value that is no number is accepted")
	}
}

func TestVerdict(t *testing.T) {
	var v verdict
	v.atMost("errors", 0, 0)
	v.atLeast("use", 0.98, 0.97)
	v.equal("books", 3, 3)
	if v.missed != 0 || v.word() != "PASS" {
		t.Errorf("kept, but %s: %s", v.word(), &v)
	}
	v.atMost("errors", 1, 0)
	v.atLeast("use", 0.9601, 0.97)
	v.equal("books", 3, 4)
	if want := "errors 1 (<= 0) MISSED, use 0.9601 (>= 0.97) MISSED, books 3 (= 4) MISSED"; v.missed != 3 || !strings.HasSuffix(v.String(), want) {
		t.Errorf("%d missed: %s", v.missed, &v)
	}
}

// TestPrelude: an aligned measurement begins when the minute's window is spent,
// and not before the warm-up is over.
func TestPrelude(t *testing.T) {
	d := demand{warmUp: time.Minute, aligned: true}
	for second, want := range map[int]time.Duration{0: 110 * time.Second, 50: time.Minute, 51: 119 * time.Second} {
		now := time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC)
		if got := d.prelude(now); got != want {
			t.Errorf("at second %d: %v, want %v", second, got, want)
		}
	}
}

// TestTraceMean: a written trace is read back as it was, and its mean is over its
// own span.
func TestTraceMean(t *testing.T) {
	rows := []load.Row{{Context: 100, Generated: 1}, {At: 30 * time.Second, Context: 200, Generated: 2}, {At: 2 * time.Minute, Context: 300, Generated: 3}}
	path := filepath.Join(t.TempDir(), "trace.csv")
	if err := writeTrace(path, rows); err != nil {
		t.Fatal(err)
	}
	read, err := load.ReadTrace(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if m := meanOf(read); m.requests != 1.5 || m.tokens != 300 || m.span != 2*time.Minute {
		t.Errorf("%+v", m)
	}
}
