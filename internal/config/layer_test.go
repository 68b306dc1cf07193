package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	entry = regexp.MustCompile(`^(upstreams|routes|endpoints|keys)\.\d+`)
	named = regexp.MustCompile(`^classes\.[^.]+`)
)

// kind is a path with its list's or map's entry left open.
func kind(path string) string {
	return named.ReplaceAllString(entry.ReplaceAllString(path, "$1[]"), "classes.NAME")
}

// kinds are all settings there are, from the types alone.
func kinds(t reflect.Type, path string) []string {
	switch {
	case t.Kind() == reflect.Pointer && isSection(t.Elem()):
		return kinds(t.Elem(), path)
	case isSection(t):
		var all []string
		for f := range t.Fields() {
			if key, _ := keyOf(f); key != "-" {
				all = append(all, kinds(f.Type, join(path, key))...)
			}
		}
		return all
	case t.Kind() == reflect.Slice && isSection(t.Elem()):
		return kinds(t.Elem(), path+"[]")
	case t.Kind() == reflect.Map:
		return kinds(t.Elem(), path+".NAME")
	default:
		return []string{path}
	}
}

// others are second values for words and names; what is absent here keeps its
// value, because any other would contradict its neighbors.
var others = map[string]string{
	"upstreams.0.name": "main", "upstreams.1.name": "sliced", "upstreams.1.quota.window": "slice", // others refer to them
	"listen": "127.0.0.1:99", "admin.listen": "127.0.0.1:98", "trusted_proxies": "192.168.0.0/16", "state_dir": "/tmp/other", "name": "renamed",
	"base_url": "https://b.example/v1", "api_key": "real-key-2", "model": "other-model", "meter": "azure", "spacing": "any",
	"on_full": "wait", "share": "user", "path": "/other", "flow": "other_field", "model_field": "other_model", "required": "text", "system": "Be {tone}.",
	"prompt": "Now {text}", "answer": "json", "echo": "text", "tenant": "else", "models": "gpt-4*", "window": "paced",
	"sha256": "35f067c80ddcae2efec21a0f95d66f3ef89ace80ec62d5cce5bb1913b34a8447",
}

// another is a valid value of the leaf that differs where it can.
func another(l leaf) string {
	switch v := l.value.Interface().(type) {
	case bool:
		return map[bool]string{true: "false", false: "true"}[v]
	case int:
		return leaf{value: reflect.ValueOf(v + 1)}.text()
	case int64:
		return leaf{value: reflect.ValueOf(v + 1)}.text()
	case time.Duration:
		return formatDuration(v + time.Second)
	case float64:
		return leaf{value: reflect.ValueOf(v / 2)}.text()
	case *float64:
		return leaf{value: reflect.ValueOf(*v / 2)}.text()
	case Rate:
		return Rate{v.Count + 1, v.Per}.String()
	case Bytes:
		return (2 * v).String()
	}
	key := l.path[strings.LastIndexByte(l.path, '.')+1:]
	if other, known := others[l.path]; known {
		return other
	}
	if other, known := others[key]; known && key != "path" || strings.HasPrefix(l.path, "endpoints") && known {
		return other
	}
	return strings.Trim(l.text(), `"`)
}

// TestI1EveryKeyByEveryLayer sets each setting there is by file, by its variable
// and by a flag, and asks where it came from.
func TestI1EveryKeyByEveryLayer(t *testing.T) {
	source, err := os.ReadFile("testdata/every.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(source), "\n")
	c := mustLoad(t, string(source))
	covered := map[string]bool{}
	leaves(reflect.ValueOf(c).Elem(), "", rule{}, func(l leaf) {
		origin := c.Origin(l.path)
		if origin.Layer != LayerFile {
			return
		}
		key := l.path[strings.LastIndexByte(l.path, '.')+1:]
		if line := lines[origin.Line-1]; !strings.Contains(line[:origin.Column-1], key+": ") {
			t.Errorf("%s is said to come from %q", l.path, line)
		}
		covered[kind(l.path)] = true
		want := another(l)
		for _, path := range []string{l.path, c.display(l.path)} {
			name := variableOf(path)
			variable := []string{name + "=" + want}
			try(t, l.path, want, name, layers{string(source), nil, variable})
			if key == "name" || key == "path" {
				path = l.path // the variable has changed the name
			}
			try(t, l.path, want, "--set", layers{string(source), []string{path + "=" + want}, variable})
		}
	})
	for _, key := range kinds(reflect.TypeFor[Config](), "") {
		if !covered[key] {
			t.Errorf("testdata/every.yaml forgets %s", key)
		}
	}
}

// layers are what a configuration is made of.
type layers struct {
	source         string
	flags, environ []string
}

// try loads with one setting changed, and looks at its value and origin.
func try(t *testing.T, path, want, origin string, from layers) {
	t.Helper()
	c, err := newLoader(from.environ).load(Source{File: "millrace.yaml", Set: from.flags}, from.source)
	if err != nil {
		t.Errorf("%s=%s: %v", path, want, err)
		return
	}
	leaves(reflect.ValueOf(c).Elem(), "", rule{}, func(l leaf) {
		if l.path != path {
			return
		}
		again := leaf{value: reflect.New(l.value.Type()).Elem(), rule: l.rule}
		if err := again.set(want); err != nil || !cmp.Equal(again.value.Interface(), l.value.Interface(), cmp.Comparer(func(a, b Secret) bool { return a.Reveal() == b.Reveal() })) {
			t.Errorf("%s=%s gives %s (%v)", path, want, l.text(), err)
		}
		if got := c.Origin(path).String(); got != origin {
			t.Errorf("%s=%s comes from %s, want %s", path, want, got, origin)
		}
	})
}

func TestI1FlagsMustAgree(t *testing.T) {
	for want, s := range map[string]Source{
		"--set: limits.hold: says 6s, but --set says 5s; keep one": {Set: []string{"limits.hold=5s", "limits.hold=6s"}},
		"--set: listen: says 127.0.0.1:2, but --listen says":       {Listen: "127.0.0.1:1", Set: []string{"listen=127.0.0.1:2"}},
		"--set: limits.hol is not a known setting; did you mean":   {Set: []string{"limits.hol=5s"}},
		"--set: unheard.of is not a known setting; millrace":       {Set: []string{"unheard.of=5s"}},
		"--set: has no =; write KEY=VALUE":                         {Set: []string{"limits.hold"}},
		"--set: limits.hold: is blank":                             {Set: []string{"limits.hold= "}},
		"--set: limits.hold: \"0s\" is zero":                       {Set: []string{"limits.hold=0s"}},
	} {
		s.Environ = []string{}
		if _, err := Load(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
	c, err := Load(Source{Environ: []string{}, Set: []string{"limits.hold=5s", "limits.hold=5s", " listen=localhost:1"}, Listen: "localhost:1"})
	if err != nil || c.Limits.Hold != 5*time.Second {
		t.Errorf("the same twice: %v", err)
	}
}

func TestTheLadderOfModels(t *testing.T) {
	c := mustLoad(t, "", "BEDROCK_MODEL_ID=vendor.big-v1:0", "BEDROCK_FALLBACK_MODELS=vendor.small-v1:0, tiny", "MAX_REQUESTS_PER_MINUTE=7",
		"MILLRACE_UPSTREAMS_MAIN_QUOTA_SEATS=3", "MILLRACE_UPSTREAMS_TINY_QUOTA_TOKENS=9/m", "OPENAI_API_KEY=real-key-1")
	var got []string
	for _, u := range c.Upstreams {
		got = append(got, strings.Join([]string{u.Name, u.Model, u.Quota.Requests.String(), u.Quota.Tokens.String(), u.APIKey.Reveal(), u.Provider}, " "))
		if u.Quota.Seats != 3 || u.Breaker.Failures != 10 {
			t.Errorf("%s: %+v", u.Name, u)
		}
	}
	want := []string{
		"main vendor.big-v1:0 7/m 180000/m real-key-1 openai", "vendor-small-v1-0 vendor.small-v1:0 7/m 180000/m real-key-1 openai", "tiny tiny 7/m 9/m real-key-1 openai",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"main", "vendor-small-v1-0", "tiny"}, c.Routes[0].Upstreams); diff != "" {
		t.Error(diff)
	}
	if o := c.Origin("upstreams.2.quota.seats").String(); o != "MILLRACE_UPSTREAMS_MAIN_QUOTA_SEATS" {
		t.Errorf("inherited from %s", o)
	}
	if c.Endpoints[1].Model != "vendor.big-v1:0" || len(c.Warnings) != 0 {
		t.Errorf("model %s, warnings %q", c.Endpoints[1].Model, c.Warnings)
	}
	c = mustLoad(t, "upstreams: [{name: main, provider: sim, quota: {seats: 1}}]", "BEDROCK_MODEL_ID=m", "BEDROCK_FALLBACK_MODELS=n", "BEDROCK_MAX_TOKENS=5")
	if len(c.Upstreams) != 1 || c.Upstreams[0].Model != "" || len(c.Endpoints) != 0 {
		t.Errorf("beside a file: %+v", c)
	}
	if diff := cmp.Diff([]string{
		"BEDROCK_MODEL_ID is set but has no effect, because the file says which upstreams there are",
		"BEDROCK_MAX_TOKENS is set but has no effect, because there are no endpoints",
		"BEDROCK_FALLBACK_MODELS is set but has no effect, because the file says which upstreams there are",
	}, c.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestBuiltInEndpoints(t *testing.T) {
	c := mustLoad(t, "limits: {hold: 1m}", "BEDROCK_MAX_TOKENS=100", "BEDROCK_TEMPERATURE=0.2", "MILLRACE_ENDPOINTS_CHAT_TEMPERATURE=0", "CELERY_CONCURRENCY=3")
	if len(c.Endpoints) != 2 || c.Tasks.Concurrency != 3 || c.Classes["analysis"].MaxWait != 30*time.Minute {
		t.Fatalf("got %+v", c)
	}
	a, b := c.Endpoints[0], c.Endpoints[1]
	if a.Path != "/analyze_section" || a.Answer != "feedback" || a.MaxTokens != 100 || *a.Temperature != 0.2 || a.Wait != 8*time.Second || a.Model != anyModel {
		t.Errorf("got %+v", a)
	}
	if b.Path != "/chat" || b.History != 20 || b.MaxTokens != 100 || *b.Temperature != 0 || b.ModelField != "ai_model" {
		t.Errorf("got %+v", b)
	}
	for _, field := range []string{"{section_name}", "{content}", "JSON list", "questions", "risk_level", "confidence"} {
		if !strings.Contains(a.Prompt, field) {
			t.Errorf("the prompt lacks %s", field)
		}
	}
	if c = mustLoad(t, "endpoints: []"); len(c.Endpoints) != 0 {
		t.Error("an empty list is not none")
	}
	if c = mustLoad(t, "", "OPENAI_BASE_URL=http://127.0.0.1:9/v1"); len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "MILLRACE_UPSTREAMS_MAIN_MODEL") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestRestart(t *testing.T) {
	a := mustLoad(t, "", "MILLRACE_LIMITS_HOLD=5s")
	if got := a.Restart(mustLoad(t, "", "MILLRACE_LIMITS_HOLD=6s")); got != nil {
		t.Errorf("a live setting wants a restart: %v", got)
	}
	b := mustLoad(t, "", "MILLRACE_LISTEN=127.0.0.1:1", "MILLRACE_ADMIN_LISTEN=127.0.0.1:2", "MILLRACE_STATE_DIR=/tmp/z")
	if diff := cmp.Diff([]string{"listen", "admin.listen", "state_dir"}, a.Restart(b)); diff != "" {
		t.Error(diff)
	}
}
