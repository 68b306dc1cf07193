package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/testkit"
)

// load loads the source, as if from millrace.yaml, with the variables.
func load(source string, environ ...string) (*Config, error) {
	return newLoader(environ).load(Source{File: "millrace.yaml"}, source)
}

func mustLoad(t *testing.T, source string, environ ...string) *Config {
	t.Helper()
	c, err := load(source, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultIsTheSimulator(t *testing.T) {
	c := mustLoad(t, "")
	if !c.Simulated || len(c.Upstreams) != 1 {
		t.Fatalf("simulated %v with %d upstreams", c.Simulated, len(c.Upstreams))
	}
	u := c.Upstreams[0]
	want := Quota{Requests: Rate{60, time.Minute}, Tokens: Rate{180_000, time.Minute}, Seats: 15, Window: "sliding", Enforce: true}
	if diff := cmp.Diff(want, u.Quota); diff != "" {
		t.Error("quota:", diff)
	}
	if u.Name != "main" || u.Provider != ProviderSim || u.BaseURL != "" {
		t.Errorf("upstream %q of %q at %q", u.Name, u.Provider, u.BaseURL)
	}
	classes := map[string]Class{
		"analysis": {Weight: 3, Rate: Rate{20, time.Minute}, Spacing: "any", Enforce: true, Soft: 300 * time.Second, Hard: 360 * time.Second, MaxWait: 30 * time.Minute},
		"chat":     {Weight: 6, Rate: Rate{30, time.Minute}, Spacing: "any", Enforce: true, Soft: 90 * time.Second, Hard: 120 * time.Second},
		"health":   {Weight: 1, Rate: Rate{1, time.Minute}, Spacing: "any", Enforce: true, Soft: 45 * time.Second, Hard: 60 * time.Second},
		"batch":    {Weight: 1, Spacing: "any", Enforce: true},
	}
	for name, want := range classes {
		want.Retries, want.RetryAfter = 3, time.Minute
		if diff := cmp.Diff(want, *c.Classes[name]); diff != "" {
			t.Error(name, diff)
		}
	}
	if diff := cmp.Diff([]Route{{Model: "*", Upstreams: []string{"main"}, OnFull: "wait", SpillAfter: 5 * time.Second, Share: "user"}}, c.Routes); diff != "" {
		t.Error("routes:", diff)
	}
}

func TestOpenAIFromTheEnvironment(t *testing.T) {
	c := mustLoad(t, "", "OPENAI_API_KEY=sk-real-1234567890")
	u := c.Upstreams[0]
	if c.Simulated || u.Provider != ProviderOpenAI || u.BaseURL != OpenAIBaseURL || u.APIKey.Reveal() != "sk-real-1234567890" {
		t.Errorf("got %+v", u)
	}
	if c.Classes["chat"].Rate != (Rate{}) || c.Classes["chat"].Hard != 0 {
		t.Error("the sample's class limits apply to a real endpoint")
	}
	c = mustLoad(t, "", "OPENAI_BASE_URL=http://127.0.0.1:9/v1")
	if u = c.Upstreams[0]; c.Simulated || u.BaseURL != "http://127.0.0.1:9/v1" || !u.APIKey.IsZero() {
		t.Errorf("got %+v", u)
	}
}

func TestShortNames(t *testing.T) {
	c := mustLoad(t, "",
		"MAX_REQUESTS_PER_MINUTE=600", "MAX_TOKENS_PER_MINUTE=1800000", "MAX_CONCURRENT_REQUESTS=7",
		"ANALYSIS_TASK_RATE_LIMIT=10/s", "CHAT_TASK_RATE_LIMIT=40/h", "HEALTH_TASK_RATE_LIMIT=2/m",
		"TASK_SOFT_TIME_LIMIT=200", "TASK_HARD_TIME_LIMIT=210", "BEDROCK_READ_TIMEOUT=100", "BEDROCK_CONNECT_TIMEOUT=1.5",
		"CIRCUIT_BREAKER_FAILURE_THRESHOLD=4", "CIRCUIT_BREAKER_TIMEOUT=45s", "PORT=9090", "STATE_DIRECTORY=/var/lib/a:/var/lib/b")
	u := c.Upstreams[0]
	got := []any{
		u.Quota.Requests, u.Quota.Tokens, u.Quota.Seats, c.Classes["analysis"].Rate, c.Classes["chat"].Rate, c.Classes["health"].Rate,
		c.Classes["analysis"].Soft, c.Classes["analysis"].Hard, u.Timeout.Read, u.Timeout.FirstByte, u.Timeout.Connect, u.Breaker.Failures, u.Breaker.Open, c.Listen, c.StateDir,
	}
	want := []any{
		Rate{600, time.Minute},
		Rate{1_800_000, time.Minute},
		int64(7),
		Rate{10, time.Second},
		Rate{40, time.Hour},
		Rate{2, time.Minute},
		200 * time.Second, 210 * time.Second, 100 * time.Second, 100 * time.Second, 1500 * time.Millisecond, 4, 45 * time.Second, "127.0.0.1:9090", "/var/lib/a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

func TestBreakerTimeoutUnit(t *testing.T) {
	for text, want := range map[string]time.Duration{"60": time.Minute, "9999": 9999 * time.Second, "10000": 10 * time.Second, "300000": 5 * time.Minute} {
		c := mustLoad(t, "", "CIRCUIT_BREAKER_TIMEOUT="+text)
		if got := c.Upstreams[0].Breaker.Open; got != want {
			t.Errorf("%s is read as %s, want %s", text, got, want)
		}
		if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "no unit and is read as") {
			t.Errorf("%s: warnings %q", text, c.Warnings)
		}
	}
}

func TestVariablesWithoutEffectAreNamed(t *testing.T) {
	c := mustLoad(t, "", "BEDROCK_REGION=eu-west-1", "FRONTEND_POLL_INTERVAL=60000", "MILLRACE_LIMITS_HOLDD=1m",
		"MILLRACE_SERVICE_HOST=10.0.0.1", "MILLRACE_PORT=tcp://10.0.0.1:80", "MILLRACE_PORT_80_TCP=tcp://10.0.0.1:80")
	want := []string{
		"MILLRACE_LIMITS_HOLDD is not a known setting and has no effect; did you mean MILLRACE_LIMITS_HOLD?",
		"BEDROCK_REGION is set but has no effect yet",
		"FRONTEND_POLL_INTERVAL is set but has no effect yet",
	}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
}

const whole = `
listen: 127.0.0.1:8081
state_dir: /tmp/x
upstreams:
  - {name: main, base_url: http://h/v1, api_key: ${KEY}, model: m1, quota: {requests: 60/m, tokens: 180_000/m, input_tokens: 1/s, output_tokens: 2/h, requests_per_day: 5, tokens_per_day: 6, input_tokens_per_day: 7, output_tokens_per_day: 8, seats: 15, window: bucket, burst: 6s, meter: openai}, breaker: {failures: 3, ratio: 0.25, open: 30s}, timeout: {connect: 1s, first_byte: 2s, read: 3m}}
  - name: next-one
    provider: sim
classes:
  analysis: {rate: 20/m, weight: 3.5, spacing: even, soft: 5m, hard: 360s, max_wait: 30m}
  own: {weight: 2}
routes:
  - {model: gpt, upstreams: [main, next-one], on_full: spill, spill_after: 0s, hold: 1m}
  - {model: "*", upstreams: next-one, coalesce: true, cache: 5m, share: tenant}
endpoints:
  - {path: /sum, prompt: "Sum up: {text}", history: 0, wait: 0s, temperature: 0}
keys:
  - {name: app, sha256: 5a1224f6297d2c9cd387bde92c8005a058300264d42d1873ad5953986ec71974}
limits: {max_body: 1MiB, queue: 100, queue_per_user: 10, hold: 90s, drain: 5s}
`

func TestWholeFile(t *testing.T) {
	c := mustLoad(t, whole, "KEY=abcdefgh")
	var got []string
	for _, s := range c.Settings() {
		got = append(got, s.Key+"="+s.Value)
	}
	testkit.Golden(t, "whole", []byte(strings.Join(got, "\n")+"\n"))
	if c.Upstreams[0].APIKey.Reveal() != "abcdefgh" {
		t.Error("the reference was not replaced")
	}
}

func TestI1EachLayerBeatsTheOneBefore(t *testing.T) {
	file := "listen: 127.0.0.1:1\nlimits: {hold: 10s}\nupstreams: [{name: main, provider: sim, quota: {requests: 1/m, seats: 3}}]\n"
	c := mustLoad(t, file, "MILLRACE_LIMITS_HOLD=20s", "MAX_REQUESTS_PER_MINUTE=2")
	if c.Limits.Hold != 20*time.Second || c.Upstreams[0].Quota.Requests.Count != 2 || c.Upstreams[0].Quota.Seats != 3 {
		t.Errorf("environment over file: %+v", c)
	}
	origins := map[string]string{
		"limits.hold": "MILLRACE_LIMITS_HOLD", "upstreams.0.quota.requests": "MAX_REQUESTS_PER_MINUTE",
		"upstreams.0.quota.seats": "millrace.yaml:3:71", "limits.drain": "default", "listen": "millrace.yaml:1:9",
	}
	for path, want := range origins {
		if got := c.Origin(path).String(); got != want {
			t.Errorf("%s comes from %s, want %s", path, got, want)
		}
	}
	env := []string{"MILLRACE_LISTEN=127.0.0.1:2", "PORT=3"}
	if c = mustLoad(t, file, env...); c.Listen != "127.0.0.1:3" {
		t.Errorf("PORT gives %s", c.Listen)
	}
	c, err := Load(Source{Environ: env, Listen: "[::1]:4"})
	if err != nil || c.Listen != "[::1]:4" || c.Origin("listen").String() != "--listen" {
		t.Errorf("flag: %v, %v", c, err)
	}
}

func TestEveryScalarHasAVariable(t *testing.T) {
	c := mustLoad(t, whole, "KEY=abcdefgh", "MILLRACE_UPSTREAMS_NEXT_ONE_QUOTA_SEATS=9", "MILLRACE_UPSTREAMS_0_MODEL=m2",
		"MILLRACE_CLASSES_OWN_RATE=7/h", "MILLRACE_ROUTES_1_UPSTREAMS=main,next-one", "MILLRACE_UPSTREAMS_MAIN_BREAKER_RATIO=0.75")
	got := []any{c.Upstreams[1].Quota.Seats, c.Upstreams[0].Model, c.Classes["own"].Rate, c.Routes[1].Upstreams, c.Upstreams[0].Breaker.Ratio}
	want := []any{int64(9), "m2", Rate{7, time.Hour}, []string{"main", "next-one"}, 0.75}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// oneUpstream is the start of a file whose fault lies elsewhere.
const oneUpstream = "upstreams: [{name: main, provider: sim}]\n"

var faulty = []struct {
	source string
	env    []string
	want   string // parts, separated by |
}{
	{"limits: {hold: 5}", nil, `millrace.yaml:1:16: limits.hold: "5" has no unit; write 5s for seconds|   1 | limits: {hold: 5}|` + "     |                ^"},
	{"limits:\n  hold:", nil, "limits.hold: is blank"},
	{"limits: {hold: \"\"}", nil, "limits.hold: is blank"},
	{"limits: {hold: 0s}", nil, `"0s" is zero`},
	{"limits: {hold: -1s}", nil, "is not between 0 and a year"},
	{"limits: {hold: 25h}", nil, "longer than 24h"},
	{"limits: {holdd: 1s}", nil, "limits.holdd: is not a known key; did you mean hold?"},
	{"limits: {hold: 1s, hold: 2s}", nil, "millrace.yaml:1:20: "},
	{"limit: {hold: 1s}", nil, "did you mean limits?"},
	{"store: {}", nil, "store: belongs to a later version; remove it"},
	{"listen: 8080", nil, `"8080" is not an address`},
	{"listen: 0.0.0.0:8080", nil, "listen: |reachable from other machines|127.0.0.1"},
	{"listen: :8080", nil, "reachable from other machines"},
	{"a: [", nil, "millrace.yaml:1:"},
	{"- a", nil, "is not a section"},
	{"limits: [1]", nil, "limits: is not a section"},
	{"limits: {hold: [1]}", nil, "takes a single value"},
	{"upstreams: {name: a}", nil, "upstreams: is not a list"},
	{"upstreams: []", nil, "upstreams: is empty"},
	{"upstreams: [{provider: sim}]", nil, "name: has no name"},
	{"upstreams: [{name: a b, provider: sim}]", nil, "not a plain name"},
	{"upstreams: [{name: a, provider: sim}, {name: A, provider: sim}]", nil, `"A" is taken`},
	{"upstreams: [{name: a, provider: simm}]", nil, `upstreams.a.provider: "simm" is unknown; write one of: openai, sim`},
	{"upstreams: [{name: a}]", nil, "upstreams.a.api_key: is missing"},
	{"upstreams: [{name: a, api_key: ${NONE}}]", nil, "needs the variable NONE"},
	{"upstreams: [{name: a, api_key: changeme}]", nil, "placeholder"},
	{"upstreams: [{name: a, base_url: ftp://x}]", nil, "not an http or https"},
	{"upstreams: [{name: a, base_url: 'http://u:p@x/v1'}]", nil, "holds a credential"},
	{"upstreams: [{name: a, base_url: 'https://x/v1?key=abc'}]", nil, "a query that is not api-version alone"},
	{"upstreams: [{name: a, base_url: 'https://x/v1?api-version=1&key=abc'}]", nil, "a query that is not api-version alone"},
	{"upstreams: [{name: a, base_url: 'https://x/v1?api-version=1#x'}]", nil, "holds a fragment"},
	{"upstreams: [{name: a, provider: sim, base_url: http://x}]", nil, "contradicts provider sim"},
	{"upstreams: [{name: a, provider: sim, quota: {requests: 60}}]", nil, `upstreams.a.quota.requests: "60" has no unit of time`},
	{"upstreams: [{name: a, provider: sim, quota: {requests: 60/w}}]", nil, "unknown unit"},
	{"upstreams: [{name: a, provider: sim, quota: {requests: 0/m}}]", nil, `"0/m" is zero`},
	{"upstreams: [{name: a, provider: sim, quota: {seats: 1.5}}]", nil, "not a whole number"},
	{"upstreams: [{name: a, provider: sim, quota: {window: tumbling}}]", nil, "paced, sliding, bucket, fixed, slice"},
	{"upstreams: [{name: a, provider: sim, quota: {window: fixed, burst: 1s}}]", nil, "contradicts window"},
	{"upstreams: [{name: a, provider: sim, quota: {window: fixed, slice: 1s}}]", nil, "contradicts window"},
	{"upstreams: [{name: a, provider: sim, quota: {meter: metric}}]", nil, `quota.meter: "metric" is unknown; write one of: openai, azure`},
	{"upstreams: [{name: a, provider: sim, breaker: {ratio: 2}}]", nil, "more than all"},
	{"classes: {chat: {soft: 10s, hard: 5s}}", nil, "make hard the longer one"},
	{"classes: {chat: {spacing: even, weight: 0}}", nil, `"0" is zero`},
	{oneUpstream + "classes: {chat: {spacing: even}}", nil, "needs a rate"},
	{oneUpstream + "routes: [{upstreams: [main]}]", nil, "model: is missing"},
	{oneUpstream + "routes: [{model: x}]", nil, "upstreams: is missing"},
	{oneUpstream + "routes: [{model: x, upstreams: [man]}]", nil, `"man" is no upstream; did you mean main?`},
	{oneUpstream + "routes: [{model: x, upstreams: [main, main]}]", nil, "named twice"},
	{oneUpstream + "routes: [{model: x, upstreams: [main], on_full: spill}]", nil, "nowhere to spill"},
	{oneUpstream + "routes: [{model: x*y, upstreams: [main]}]", nil, "is no pattern"},
	{oneUpstream + "routes: [{model: '*', upstreams: [main]}, {model: x*, upstreams: [main]}]", nil, "never reached"},
	{oneUpstream + "routes: [{model: gpt-*, upstreams: [main]}, {model: gpt-4*, upstreams: [main]}]", nil, "never reached"},
	{oneUpstream + "routes: [{model: x, upstreams: [main]}, {model: x, upstreams: [main]}]", nil, "has a route already"},
	{oneUpstream + "routes: [{model: x, upstreams: [main], cache: true}]", nil, `"true" is not a length of time`},
	{"limits: {queue: 10, queue_per_user: 20}", nil, "more than the whole queue"},
	{"limits: {max_body: 32}", nil, `"32" is not a size`},
	{"a: 1\n---\nb: 2", nil, "more than one document"},
	{"", []string{"MAX_REQUESTS_PER_MINUTE=0"}, `MAX_REQUESTS_PER_MINUTE: upstreams.main.quota.requests: "0/m" is zero`},
	{"", []string{"MAX_REQUESTS_PER_MINUTE= "}, "MAX_REQUESTS_PER_MINUTE|blank"},
	{"", []string{"MAX_TOKENS_PER_MINUTE=many"}, "MAX_TOKENS_PER_MINUTE|how many a minute"},
	{"", []string{"MAX_CONCURRENT_REQUESTS=-1"}, "MAX_CONCURRENT_REQUESTS|whole number"},
	{"", []string{"CHAT_TASK_RATE_LIMIT=20"}, "CHAT_TASK_RATE_LIMIT|no unit of time"},
	{"", []string{"TASK_SOFT_TIME_LIMIT=400"}, "TASK_SOFT_TIME_LIMIT: classes.analysis.soft|make hard the longer"},
	{"", []string{"CIRCUIT_BREAKER_TIMEOUT=0"}, "CIRCUIT_BREAKER_TIMEOUT|is zero"},
	{"", []string{"OPENAI_API_KEY="}, "OPENAI_API_KEY|blank"},
	{"", []string{"PORT=70000"}, "PORT: listen|not a port"},
	{"", []string{"MAX_CONCURRENT_REQUESTS=5", "MILLRACE_UPSTREAMS_MAIN_QUOTA_SEATS=6"}, "keep one of them"},
	{"", []string{"CELERY_CONCURRENCY=0"}, `CELERY_CONCURRENCY: tasks.concurrency: "0" is zero`},
	{"", []string{"BEDROCK_MODEL_ID= "}, "BEDROCK_MODEL_ID: upstreams.main.model: is set but blank"},
	{"", []string{"BEDROCK_FALLBACK_MODELS=a,,b"}, "BEDROCK_FALLBACK_MODELS: is blank or has a blank entry"},
	{"", []string{"BEDROCK_FALLBACK_MODELS="}, "BEDROCK_FALLBACK_MODELS: is blank or has a blank entry"},
	{"", []string{"BEDROCK_FALLBACK_MODELS=a.b,a-b"}, `upstreams.a-b.name: "a-b" is taken`},
	{"", []string{"BEDROCK_MAX_TOKENS=0"}, `BEDROCK_MAX_TOKENS: endpoints.analyze_section.max_tokens: "0" is zero`},
	{"", []string{"BEDROCK_TEMPERATURE=warm"}, "BEDROCK_TEMPERATURE|is not a number"},
	{"", []string{"BEDROCK_TEMPERATURE=2.5"}, "BEDROCK_TEMPERATURE: endpoints.chat.temperature: 2.5 is more than 2; write 0 to 2"},
	{"", []string{"BEDROCK_REGION="}, "BEDROCK_REGION: is blank"},
	{"", []string{"ANTHROPIC_API_KEY=changeme"}, "ANTHROPIC_API_KEY|placeholder"},
	{"", []string{"API_RATE_LIMIT_REQUESTS=0"}, `API_RATE_LIMIT_REQUESTS: "0" is zero`},
	{"", []string{"MEMORY_API_RATE_LIMIT_REQUESTS=-3"}, "MEMORY_API_RATE_LIMIT_REQUESTS|not a whole number"},
	{"", []string{"WS_MAX_CONNECTIONS_PER_IP=many"}, "WS_MAX_CONNECTIONS_PER_IP|not a whole number"},
	{"", []string{"WS_MESSAGE_RATE_LIMIT="}, "WS_MESSAGE_RATE_LIMIT: is blank"},
	{"", []string{"FRONTEND_POLL_INTERVAL=1m"}, "FRONTEND_POLL_INTERVAL|not a whole number"},
	{"", []string{"FRONTEND_CACHE_TTL=0"}, "FRONTEND_CACHE_TTL|zero"},
	{"", []string{"FRONTEND_MAX_CONCURRENT=1.5"}, "FRONTEND_MAX_CONCURRENT|not a whole number"},
	{"", []string{"CIRCUIT_BREAKER_THRESHOLD=0"}, "CIRCUIT_BREAKER_THRESHOLD|zero"},
	{"upstreams: [{name: '1', provider: sim}, {name: b, provider: sim}]", []string{"MILLRACE_UPSTREAMS_1_MODEL=m"}, "means upstreams.0.model as well as upstreams.1.model; rename one"},
	{"", []string{"MILLRACE_LISTEN=10.0.0.1:80"}, "MILLRACE_LISTEN: listen|reachable from other machines"},
}

func TestI2FaultsNamePlaceAndMend(t *testing.T) {
	for _, test := range faulty {
		_, err := load(test.source, test.env...)
		if err == nil {
			t.Errorf("%q %q: no fault", test.source, test.env)
			continue
		}
		for part := range strings.SplitSeq(test.want, "|") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q %q: %q lacks %q", test.source, test.env, err, part)
			}
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := load("listen: 1\nlimits: {hold: 5, drain: x, queu: 3}\n")
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 3 {
		t.Fatalf("got %v", err)
	}
	for _, e := range joined.Unwrap() {
		var f *Fault
		if !errors.As(e, &f) || f.Mend == "" || f.Origin.Line != 2 {
			t.Errorf("not a placed fault: %v", e)
		}
	}
}

func TestI3SecretIsNeverPrinted(t *testing.T) {
	const secret = "hunter2hunter2"
	s := NewSecret(secret)
	inside := struct{ key Secret }{s}
	encoded, err := json.Marshal(map[string]any{"a": s, "b": &s})
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "key", s, "all", inside)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", s, "all", inside)
	c := mustLoad(t, "upstreams: [{name: a, api_key: "+secret+"}]")
	outputs := []string{string(encoded), logged.String(), s.String(), fmt.Sprint(c.Settings()), fmt.Sprintf("%+v %#v %v", c, c, c.Upstreams)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outputs = append(outputs, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, inside), fmt.Sprintf(verb, []Secret{s}))
	}
	for _, out := range outputs {
		if strings.Contains(out, secret) || strings.Contains(out, fmt.Sprintf("%x", secret)) {
			t.Errorf("the secret is in %q", out)
		}
	}
	if s.Reveal() != secret || s.String() != masked {
		t.Error("Reveal or String")
	}
}

func TestI3FaultsHoldNoSecret(t *testing.T) {
	for _, source := range []string{
		"upstreams: [{name: a, api_key: sk-verysecret, provider: simm}]",
		"upstreams: [{name: a, api_key: \"sk-very secret\"}]",
		"upstreams: [{name: a, api_key: 'sk-verysecret', quota: {}}",
		"upstreams:\n- api_key: sk-verysecret: x\n  name: [",
		"upstreams:\n- api_key: [sk-verysecret]\n  name: a",
		"upstreams:\n- api_key: {sk-verysecret: 1}\n",
		"listen: ${OPENAI_API_KEY}",
		"limits: {hold: ${OPENAI_API_KEY}}",
		"limits: {${OPENAI_API_KEY}: 1}",
		"classes: {chat: {spacing: plain-verysecret-value}}",
	} {
		_, err := load(source, "OPENAI_API_KEY=plain-verysecret-value")
		if err == nil {
			t.Errorf("%q: no fault", source)
		} else if strings.Contains(err.Error(), "verysecret") || strings.Contains(err.Error(), "sk-very") {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestExpansion(t *testing.T) {
	c := mustLoad(t, "state_dir: \"${A}/x\"  # not ${MISSING}\nlisten: ${HOST:-127.0.0.1}:${P:-99}\n", "A=/srv", "HOST=localhost")
	if c.StateDir != "/srv/x" || c.Listen != "localhost:99" {
		t.Errorf("got %s and %s", c.StateDir, c.Listen)
	}
}

func TestAnchors(t *testing.T) {
	c := mustLoad(t, "upstreams:\n- {name: a, provider: sim, quota: &q {seats: 4, requests: 6/m}}\n- {name: b, provider: sim, quota: *q}\n")
	if !cmp.Equal(c.Upstreams[1].Quota, c.Upstreams[0].Quota) || c.Upstreams[1].Quota.Seats != 4 {
		t.Errorf("got %+v", c.Upstreams)
	}
	if diff := cmp.Diff([]string{"a", "b"}, c.Routes[0].Upstreams); diff != "" {
		t.Error(diff)
	}
}

func TestUnits(t *testing.T) {
	for _, text := range []string{"60/m", "20/s", "500/h", "10000/d"} {
		if r, err := parseRate(text); err != nil || r.String() != text {
			t.Errorf("%s: %v, %v", text, r, err)
		}
	}
	for text, want := range map[string]time.Duration{"1d": 24 * time.Hour, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond, "0.5d": 12 * time.Hour} {
		got, err := parseDuration(text, false)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if again, err := parseDuration(formatDuration(got), false); err != nil || again != got {
			t.Errorf("%s is written as %s", text, formatDuration(got))
		}
	}
	for _, text := range []string{"NaN", "Infs", "1e300s", "-5m", "5 minutes", "1w"} {
		if d, err := parseDuration(text, true); err == nil {
			t.Errorf("%s is read as %s", text, d)
		}
	}
	for text, want := range map[string]Bytes{"32MiB": 32 << 20, "500KB": 500_000, "7B": 7, "1 GiB": 1 << 30} {
		if b, err := parseBytes(text); err != nil || b != want {
			t.Errorf("%s: %v, %v", text, b, err)
		}
	}
}

func TestLoadReadsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(path, []byte("limits: {queue: 77, queue_per_user: 7}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Source{"flag": {File: path, Environ: []string{}}, "variable": {Environ: []string{"MILLRACE_CONFIG=" + path}}} {
		if c, err := Load(s); err != nil || c.Limits.Queue != 77 {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	if _, err := Load(Source{File: path + ".none"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{File: path}); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("huge file: %v", err)
	}
}

func TestI4NothingUncheckedGetsOut(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "127.1.2.3:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"} {
		if _, err := Load(Source{Environ: []string{}, Listen: listen}); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
	for _, listen := range []string{":1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example.org:1", "127.0.0.1.example.org:1", "[::ffff:10.0.0.1]:1", "2130706433:1", "127.0.0.1:65536", "127.0.0.1"} {
		if c, err := Load(Source{Environ: []string{}, Listen: listen}); err == nil {
			t.Errorf("%s is accepted: %v", listen, c.Listen)
		}
	}
}

func TestI5NoInputPanics(t *testing.T) {
	for _, source := range []string{
		"a: &a *a", "upstreams: &a [*a]", "upstreams: [*none]", "<<: *a", "&a : b", "? [a]: b", "upstreams: [", "---", "---\n---\n", "%YAML 9\n---\na: 1",
		"limits: !!int x", "limits: !foo {hold: 1s}", "\xff\xfe", "\x00", "\t\t: a", "'", "\"", "|", ">\n", "a: |2\n x", strings.Repeat("[", 5000), strings.Repeat("{a: ", 5000),
		strings.Repeat("upstreams:\n- ", 300), "upstreams: [{}]", "classes: {'': {}}", "classes: {~: {}}", "classes: {1: 2}", "routes: [{model: [a]}]", "listen: ${", "listen: ${A:-}",
	} {
		_, _ = load(source, "PORT=1", "MILLRACE_UPSTREAMS_0_QUOTA_SEATS=1") // it returns
	}
}

func FuzzI5Load(f *testing.F) {
	f.Add(whole, "KEY", "v")
	f.Add("limits: {hold: 5}", "MAX_REQUESTS_PER_MINUTE", "x")
	f.Add("upstreams: [&a {name: *a}]", "MILLRACE_UPSTREAMS_0_NAME", "x")
	f.Add("a: &a [*a]\n<<: *a", "PORT", "1")
	f.Fuzz(func(t *testing.T, source, name, value string) {
		c, err := load(source, name+"="+value)
		if err != nil {
			return
		}
		if len(c.Upstreams) == 0 || len(c.Routes) == 0 || c.Limits.Hold <= 0 || c.Limits.Queue <= 0 {
			t.Errorf("accepted without essentials: %+v", c)
		}
		for _, s := range c.Settings() {
			if s.Key == "" {
				t.Error("a setting without a key")
			}
		}
	})
}
