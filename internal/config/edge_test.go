package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestI4Extremes: what could not run, or would not do what it seems to say, is a
// fault; what lies just within the bound is none.
func TestI4Extremes(t *testing.T) {
	const (
		sliced   = "upstreams: [{name: main, provider: sim, quota: {requests: 60/m, window: slice}}]\n"
		endpoint = oneUpstream + "endpoints: [{path: /e, model: m, prompt: 'say {x}'}]\n"
	)
	for name, test := range map[string]struct{ source, set, want string }{
		"a class that remembers many starts": {oneUpstream, "classes.chat.rate=1000000/d", ""},
		"one that remembers too many":        {oneUpstream, "classes.chat.rate=20000000/d", "classes.chat.rate: "},

		"a network of IPv4":        {oneUpstream, "trusted_proxies=10.0.0.0/8", ""},
		"a network of IPv6":        {oneUpstream, "trusted_proxies=fd00::/8", ""},
		"a mapped network":         {oneUpstream, "trusted_proxies=::ffff:10.0.0.0/104", "write it as IPv4"},
		"all mapped addresses":     {oneUpstream, "trusted_proxies=::ffff:0:0/96", "write it as IPv4"},
		"one in a slice":           {sliced, "upstreams.main.quota.requests=1/s", ""},
		"less than one":            {sliced, "upstreams.main.quota.requests=59/m", "upstreams.main.quota.requests: 59/m is less than 1 in a slice of 1s"},
		"one in a longer slice":    {sliced, "upstreams.main.quota.slice=1m", ""},
		"less than one token":      {sliced, "upstreams.main.quota.tokens=7/h", "upstreams.main.quota.tokens: "},
		"less than one read":       {sliced, "upstreams.main.quota.input_tokens=7/h", "upstreams.main.quota.input_tokens: "},
		"less than one written":    {sliced, "upstreams.main.quota.output_tokens=7/h", "upstreams.main.quota.output_tokens: "},
		"less than one in 999 ms":  {sliced, "upstreams.main.quota.slice=999ms", "upstreams.main.quota.requests: "},
		"a slice of a nanosecond":  {sliced, "upstreams.main.quota.slice=1ns", "upstreams.main.quota.slice: 1ns is too short"},
		"braces beside a field":    {endpoint, "endpoints.e.prompt=say {x} {{y}}", ""},
		"three braces":             {endpoint, "endpoints.e.prompt=say {{{x}}}", "holds no field of the request"},
		"braces that stay braces":  {endpoint, "endpoints.e.prompt=say {{x}}", "holds no field of the request"},
		"two braces that stay so":  {endpoint, "endpoints.e.prompt={{x}} {{y}}", "holds no field of the request"},
		"a prompt without a field": {endpoint, "endpoints.e.prompt=say x", "holds no field of the request"},
	} {
		_, err := newLoader(nil).load(Source{File: "millrace.yaml", Set: []string{test.set}}, test.source)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s, %s: %v", name, test.set, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s, %s: %v, want %q", name, test.set, err, test.want)
		}
	}
}

// TestI1LayersReachTheDefaultRoute: a variable or a flag can speak of the route that
// no file has written, and it still takes every model.
func TestI1LayersReachTheDefaultRoute(t *testing.T) {
	const (
		two = "upstreams: [{name: main, provider: sim}, {name: spare, provider: sim}]\n"
		one = two + "routes: [{model: x, upstreams: [spare]}]\n"
	)
	route := func(model string, hold time.Duration, upstreams ...string) Route {
		return Route{Model: model, Upstreams: upstreams, OnFull: "wait", SpillAfter: 5 * time.Second, Share: "user", Hold: hold}
	}
	for name, test := range map[string]struct {
		source string
		set    []string
		want   []Route
	}{
		"nothing":                   {"", nil, []Route{route("*", 0, "main")}},
		"its hold":                  {"", []string{"routes.0.hold=7s"}, []Route{route("*", 7*time.Second, "main")}},
		"its hold, of two":          {two, []string{"routes.0.hold=7s"}, []Route{route("*", 7*time.Second, "main", "spare")}},
		"where it leads":            {two, []string{"routes.0.upstreams=spare"}, []Route{route("*", 0, "spare")}},
		"its hold behind another":   {one, []string{"routes.1.hold=7s"}, []Route{route("x", 0, "spare"), route("*", 7*time.Second, "main")}},
		"the hold of the other":     {one, []string{"routes.0.hold=7s"}, []Route{route("x", 7*time.Second, "spare"), route("*", 0, "main")}},
		"where it leads behind one": {one, []string{"routes.1.upstreams=spare,main"}, []Route{route("x", 0, "spare"), route("*", 0, "spare", "main")}},
		"another takes all":         {one, []string{"routes.0.model=*"}, []Route{route("*", 0, "spare")}},
	} {
		var variables []string
		for _, s := range test.set {
			path, value, _ := strings.Cut(s, "=")
			variables = append(variables, variableOf(path)+"="+value)
		}
		for layer, from := range map[string]layers{"flag": {test.source, test.set, nil}, "variable": {test.source, nil, variables}} {
			c, err := newLoader(from.environ).load(Source{File: "millrace.yaml", Set: from.flags}, from.source)
			if err != nil {
				t.Errorf("%s by %s: %v", name, layer, err)
				continue
			}
			if diff := cmp.Diff(test.want, c.Routes); diff != "" {
				t.Errorf("%s by %s (-want +got):\n%s", name, layer, diff)
			}
		}
	}
}
