package inquiry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/capacity/inquiry"
	"github.com/millrace/millrace/internal/config"
)

// base is what runs where nothing but these variables is configured.
func base(tb testing.TB, environ ...string) *inquiry.Base {
	tb.Helper()
	return configured(tb, config.Source{Environ: append([]string{"MILLRACE_STATE_DIR=" + tb.TempDir()}, environ...)})
}

func configured(tb testing.TB, s config.Source) *inquiry.Base {
	tb.Helper()
	c, err := config.Load(s)
	if err != nil {
		tb.Fatal(err)
	}
	g, err := app.Gate(c)
	if err != nil {
		tb.Fatal(err)
	}
	return &inquiry.Base{Config: c, Gate: g, Speed: app.SimulatorSpeed, Route: func(m string) (int, bool) { return app.Route(c, m) }}
}

func query(tb testing.TB, s string) url.Values {
	tb.Helper()
	v, err := url.ParseQuery(s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// TestI1OneMeaning: a query and a command line that say the same ask the same.
func TestI1OneMeaning(t *testing.T) {
	b := base(t)
	asked, err := inquiry.Parse(query(t, "users=5,12&requests_per_user=3/m&tokens=700&tokens_sigma=0.5&output=90&class=analysis:2,chat:1&as=stream"+
		"&arrivals=bursts&cv=4&max_tokens=300&duration=9m&max_wait=3s&latency=2s&seed=7&advice=no"))
	if err != nil {
		t.Fatal(err)
	}
	said := inquiry.Question{
		Users: "5,12", Rate: "3/m", Tokens: 700, Sigma: 0.5, Output: 90, Class: "analysis:2,chat:1", As: "stream", Arrivals: "bursts", CV: 4,
		MaxTokens: 300, Duration: 9 * time.Minute, MaxP95: 3 * time.Second, Latency: capacity.Latency{Total: 2 * time.Second}, Seed: 7, NoAdvice: true,
	}
	var both [2]capacity.Options
	for i, q := range []*inquiry.Question{asked, &said} {
		if both[i], err = q.Options(b); err != nil {
			t.Fatal(err)
		}
	}
	ignored := cmpopts.IgnoreFields(capacity.Options{}, "Say", "Diff", "Gate")
	if diff := cmp.Diff(both[0], both[1], ignored, cmpopts.IgnoreUnexported(capacity.Options{})); diff != "" {
		t.Errorf("(-query +command line):\n%s", diff)
	}
	want := capacity.Work{
		Rate: 0.05, Open: true, CV: 4, Mix: []capacity.Share{{Class: "analysis", Part: 2}, {Class: "chat", Part: 1}}, Manner: capacity.Stream,
		Input: capacity.Size{Mean: 700, Sigma: 0.5}, Output: capacity.Size{Mean: 90}, MaxOutput: 300,
	}
	if diff := cmp.Diff(want, both[0].Work); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEndpoint: without a class the first endpoint is asked, whose tasks carry its
// max_tokens; whoever names a class, or says that there are none, sends none.
func TestEndpoint(t *testing.T) {
	b := base(t)
	for name, c := range map[string]struct {
		q      inquiry.Question
		manner capacity.Manner
		most   int
	}{
		"endpoint": {inquiry.Question{}, capacity.Task, 8192},
		"none":     {inquiry.Question{MaxTokens: -1}, capacity.Task, 0},
		"other":    {inquiry.Question{MaxTokens: 10}, capacity.Task, 10},
		"class":    {inquiry.Question{Class: "chat"}, capacity.JSON, 0},
	} {
		o, err := c.q.Options(b)
		if err != nil || o.Work.Manner != c.manner || o.Work.MaxOutput != c.most || len(o.Users) != 6 {
			t.Errorf("%s: manner %v, max_tokens %d, %v: %v", name, o.Work.Manner, o.Work.MaxOutput, o.Users, err)
		}
	}
}

// TestI2Bounded: whatever a page asks for, it plays no more than its effort, and ends
// with its request.
func TestI2Bounded(t *testing.T) {
	b := base(t)
	rows, err := inquiry.Answer(t.Context(), b, query(t, "users=600,600&class=chat&requests_per_user=20/m&duration=1h&advice=no"))
	if err != nil {
		t.Fatal(err)
	}
	played := int64(0)
	for i := range rows {
		played += rows[i].Requests
	}
	if played < 50_000 || played > 250_000 {
		t.Errorf("%d requests in the rows", played)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client has left")
	cancel(gone)
	if _, err := inquiry.Answer(ctx, b, query(t, "users=5000")); !errors.Is(err, gone) {
		t.Errorf("a client that left: %v", err)
	}
}

// TestAnswer: the rows of a page are those of --json, with a diff.
func TestAnswer(t *testing.T) {
	rows, err := inquiry.Answer(t.Context(), base(t), query(t, "users=5,12"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(rows)
	if err != nil || text[0] != '[' {
		t.Fatalf("%v: %.40s", err, text)
	}
	if len(rows) != 2 || !rows[0].Good || rows[0].Diff != "" || rows[1].Good || !strings.Contains(rows[1].Diff, "-    rate: 20/m\n+    rate: ") {
		t.Errorf("%d rows, %q, %q", len(rows), rows[0].Verdict, rows[1].Diff)
	}
	again, err := inquiry.Answer(t.Context(), base(t), query(t, "users=5,12"))
	if err != nil {
		t.Fatal(err)
	}
	if other, err := json.Marshal(again); err != nil || string(other) != string(text) {
		t.Errorf("%v, one question, two answers:\n%s\n%s", err, text, other)
	}
}

const file = `
state_dir: STATE
upstreams:
  - name: far
    base_url: http://127.0.0.1:9/v1
    quota: {requests: 60/m, tokens: 180000/m, seats: 15}
classes: {analysis: {rate: 20/m}}
keys:
  - {name: phone, tenant: shop, sha256: 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b}
  - {name: app, tenant: shop, requests: 10/m, sha256: d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35}
  - {name: watch, tenant: shop, sha256: 4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce}
`

// TestI3Diff: what a diff takes away holds, what it adds is taken by the configuration.
func TestI3Diff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(file, "STATE", t.TempDir(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b := configured(t, config.Source{File: path, Environ: []string{"MAX_CONCURRENT_REQUESTS=14"}})
	got := inquiry.Diff(b.Config, []capacity.Change{
		{Path: "upstreams.far.quota.tokens", From: "180000/m", To: "300000/m"},
		{Path: "upstreams.far.quota.seats", From: "14", To: "20"},
		{Path: "classes.analysis.rate", From: "20/m", To: "49/m"},
		{Path: "tasks.concurrency", From: "8", To: "9"},
		{Path: "tenants.shop.requests", From: "10/m", To: "30/m"},
	})
	want := " upstreams:\n   - name: far\n     quota:\n-      tokens: 180000/m\n+      tokens: 300000/m\n" +
		"-      seats: 14 # by MAX_CONCURRENT_REQUESTS\n+      seats: 20\n" +
		" classes:\n   analysis:\n-    rate: 20/m\n+    rate: 49/m\n tasks:\n-  concurrency: 8\n+  concurrency: 9\n" +
		" keys:\n   - name: app\n-    requests: 10/m\n+    requests: 30/m\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text := "state_dir: " + t.TempDir() + "\n"
	for line := range strings.Lines(got) {
		if line[0] != '-' {
			text += line[1:]
		}
	}
	text = strings.Replace(text, "- name: far\n", "- name: far\n    base_url: http://127.0.0.1:9/v1\n", 1)
	text = strings.Replace(text, "- name: app\n", "- name: app\n    sha256: "+strings.Repeat("ab", 32)+"\n", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := configured(t, config.Source{File: path, Environ: []string{}}).Config
	if q := &c.Upstreams[0].Quota; q.Tokens.Count != 300_000 || q.Seats != 20 || c.Classes["analysis"].Rate.Count != 49 || c.Tasks.Concurrency != 9 || c.Keys[0].Requests.Count != 30 {
		t.Errorf("%+v of\n%s", q, text)
	}
}

func TestFaultsAreToldTogether(t *testing.T) {
	b := base(t)
	_, err := inquiry.Answer(t.Context(), b, query(t, "users=x&max_wait=5&tokens=-1&color=red&advice=perhaps&seed=a&model="+strings.Repeat("m", 300)))
	for _, want := range []string{"max_wait", "tokens", "color", "advice", "seed", "model"} {
		if !errors.Is(err, capacity.ErrOptions) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
	for _, q := range []string{
		"users=x", "users=0", "users=20000", "users=1,2,3,4,5,6,7,8,9", "duration=2h", "class=chat:0", "as=post", "arrivals=never", "workload=poem",
		"requests_per_user=2", "requests_per_user=NaN/m", "requests_per_user=Inf/m", "tokens=NaN",
		"think=5s&requests_per_user=2/m", "think=5s&arrivals=poisson", "cv=3", "cv=3&arrivals=poisson", "workload=chat&tokens=5", "workload=code&tokens_sigma=1",
		"think=0s", "arrivals=bursts&cv=0", "requests_per_user=", "users=",
	} {
		if _, err := inquiry.Answer(t.Context(), b, query(t, q)); !errors.Is(err, capacity.ErrOptions) {
			t.Errorf("%s: %v", q, err)
		}
	}
	if _, err := (&inquiry.Question{Prefix: "--", Users: "x", As: "post"}).Options(b); err == nil || !strings.Contains(err.Error(), "--users") || !strings.Contains(err.Error(), "--as") {
		t.Errorf("not named as flags: %v", err)
	}
}

func BenchmarkAnswer(b *testing.B) {
	on := base(b)
	for b.Loop() {
		if _, err := inquiry.Answer(b.Context(), on, url.Values{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestHoldIsThatOfTheRoute: a name that only a pattern leads to is held as long as the
// pattern says.
func TestHoldIsThatOfTheRoute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	text := "state_dir: " + t.TempDir() + `
upstreams: [{name: main, provider: sim, quota: {requests: 60/m}}]
limits: {hold: 90s}
routes:
  - {model: "gpt-*", upstreams: [main], hold: 3s}
  - {model: gpt-4o, upstreams: [main], hold: 7s}
  - {model: "*", upstreams: [main]}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := configured(t, config.Source{File: path})
	for model, want := range map[string]time.Duration{
		"": 3 * time.Second, "gpt-*": 3 * time.Second, "gpt-5": 3 * time.Second, "gpt-4o": 7 * time.Second, "llama": 90 * time.Second,
	} {
		o, err := (&inquiry.Question{Model: model}).Options(b)
		if err != nil || o.Hold != want {
			t.Errorf("%q is held for %v, want %v: %v", model, o.Hold, want, err)
		}
	}
}

// TestI3DiffSaysWhatBeatsTheFile: of every upstream, not of the first alone.
func TestI3DiffSaysWhatBeatsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	text := "state_dir: " + t.TempDir() + "\nupstreams: [{name: near, provider: sim, quota: {requests: 9/m}}, {name: far, provider: sim, quota: {requests: 20/m}}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := configured(t, config.Source{File: path, Environ: []string{"MILLRACE_UPSTREAMS_NEAR_QUOTA_REQUESTS=10/m"}, Set: []string{"upstreams.far.quota.requests=15/m"}})
	got := inquiry.Diff(b.Config, []capacity.Change{
		{Path: "upstreams.near.quota.requests", From: "10/m", To: "11/m"}, {Path: "upstreams.far.quota.requests", From: "15/m", To: "51/m"},
	})
	for _, want := range []string{"-      requests: 10/m # by MILLRACE_UPSTREAMS_NEAR_QUOTA_REQUESTS\n", "-      requests: 15/m # by --set\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// TestClassIsThatOfTheRoute: what clients ask without an endpoint is of the class that the
// gateway would give it.
func TestClassIsThatOfTheRoute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	text := "state_dir: " + t.TempDir() + `
upstreams: [{name: main, provider: sim, quota: {requests: 60/m}}]
routes: [{model: "gpt-*", upstreams: [main], class: batch}, {model: "*", upstreams: [main]}]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := configured(t, config.Source{File: path})
	for _, c := range []struct{ model, class, want string }{
		{"", "", "batch"}, {"gpt-5", "", "batch"}, {"llama", "", "chat"}, {"gpt-5", "health", "health"},
	} {
		o, err := (&inquiry.Question{Model: c.model, Class: c.class}).Options(b)
		if err != nil || len(o.Work.Mix) != 1 || string(o.Work.Mix[0].Class) != c.want {
			t.Errorf("%q of class %q is %v, want %s: %v", c.model, c.class, o.Work.Mix, c.want, err)
		}
	}
}

// TestI4UsersHoldClientsKeys: nobody plays the tenants of keys that are for looking and acting,
// unless there are no others.
func TestI4UsersHoldClientsKeys(t *testing.T) {
	for text, want := range map[string][]string{
		"keys: [{name: app, role: client, sha256: A}, {name: ops, role: operator, sha256: B}, {name: phone, tenant: shop, sha256: C}, {name: desk, role: viewer, sha256: D}]\n": {"app", "shop"},
		"keys: [{name: ops, role: operator, sha256: A}, {name: desk, role: viewer, sha256: B}]\n":                                                                               {"ops", "desk"},
		"": nil,
	} {
		for _, digit := range "ABCD" {
			text = strings.Replace(text, "sha256: "+string(digit), "sha256: "+strings.Repeat(string(digit), 64), 1)
		}
		path := filepath.Join(t.TempDir(), "millrace.yaml")
		if err := os.WriteFile(path, []byte("state_dir: "+t.TempDir()+"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		b := configured(t, config.Source{File: path, Environ: []string{}})
		o, err := (&inquiry.Question{}).Options(b)
		if diff := cmp.Diff(want, o.Work.Tenants); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}
