package sim

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func contextFor(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

func forModel(body, model string) string { return strings.Replace(body, `"m"`, `"`+model+`"`, 1) }

// TestAskedFaults: a client may ask for any fault by model name or header.
func TestAskedFaults(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		status int
		text   string
	}{
		"400": {400, "invalid_request_error"}, "401": {401, "invalid_api_key"}, "404": {404, "model_not_found"},
		"429": {429, codeRateLimit}, "slow_down": {429, codeSlowDown}, "insufficient_quota": {429, codeNoMoney},
		"context": {400, codeContext}, "500": {500, "server_error"}, "503": {503, "server_is_overloaded"},
		"529": {529, "server_is_overloaded"}, "418": {418, "invalid_request_error"},
	} {
		p := instant(t, Options{Limits: Limits{Seats: 1}})
		for _, res := range []result{
			post(p, chatPath, forModel(chat("x", ""), "sim-"+name)),
			post(p, chatPath, chat("x", `"stream":true`), "Sim-Fault", name),
		} {
			if res.Code != want.status || !strings.Contains(res.Body.String(), want.text) {
				t.Errorf("%s: status %d, want %d with %s: %s", name, res.Code, want.status, want.text, res.Body)
			}
		}
		if s := p.Stats(); s.InFlight != 0 || s.Answered != 0 || s.Throttled != 0 || len(s.Faults) != 1 {
			t.Errorf("%s: stats %+v", name, s)
		}
	}
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  string
		stream bool
		status int
		cut    bool
		hangs  bool
		text   string // the body ends so
	}{
		{fault: "hang", hangs: true, status: 200},
		{fault: "hang", stream: true, hangs: true, status: 200},
		{fault: "hang-headers", hangs: true, status: 200},
		{fault: "hang-headers", stream: true, hangs: true, status: 200},
		{fault: "cut", cut: true, status: 200},
		{fault: "cut", stream: true, cut: true, status: 200, text: "\n\n"},
		{fault: "error-frame", status: 500, text: "}}\n"},
		{fault: "error-frame", stream: true, status: 200, text: `"server_error","param":null,"code":null}}` + "\n\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(t, Options{Limits: Limits{Seats: 1}, Output: 50})
			ctx, cancel := contextFor(t, time.Minute)
			defer cancel()
			start := time.Now()
			more := ""
			if c.stream {
				more = `"stream":true,"stream_options":{"include_usage":true}`
			}
			res := postContext(ctx, p, chatPath, forModel(chat("x", more), "sim-"+c.fault))
			text := res.Body.String()
			if hung := time.Since(start) == time.Minute; res.Code != c.status || res.aborted != c.cut || hung != c.hangs {
				t.Errorf("%s: status %d, cut %v, took %v", c.fault, res.Code, res.aborted, time.Since(start))
			}
			if !strings.HasSuffix(text, c.text) || c.text == "" && c.hangs && text != "" || strings.Contains(text, "DONE") ||
				strings.Contains(text, `"prompt_tokens"`) {
				t.Errorf("%s: body %q", c.fault, text)
			}
			if c.stream && !c.hangs {
				if got := strings.Count(text, `"content":"`); got != 3 {
					t.Errorf("%s: %d chunks with content, want the opening and 2", c.fault, got)
				}
			}
			if s := p.Stats(); s.Faulted != 1 || s.InFlight != 0 || s.Answered != 0 || s.Output != 0 {
				t.Errorf("%s: stats %+v", c.fault, s)
			}
		})
	}
}

// TestShortStreamsAreBrokenToo: a fault due after more chunks than there are
// strikes at the last.
func TestShortStreamsAreBrokenToo(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Faults: []Fault{{Kind: FaultCut, AfterChunks: 1000}}})
	if res := post(p, chatPath, chat("ECHO:a", `"stream":true`)); !res.aborted {
		t.Errorf("not cut: %s", res.Body)
	}
}

func TestScript(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rules string
		want  string // the first digit of each status, one request a second
	}{
		{`[{"kind":"status","status":500,"every":3}]`, "225225225225"},
		{`[{"kind":"status","status":500,"count":2}]`, "552222222222"},
		{`[{"kind":"status","status":503,"from":"3s","to":"5s"}]`, "222552222222"},
		{`[{"kind":"status","status":400,"every":2,"count":2},{"kind":"status","status":500,"from":"6s"}]`, "242422555555"},
		{`[{"kind":"status","status":500,"model":"other"}]`, "222222222222"},
		{`[{"kind":"quota","factor":0.1,"from":"4s","to":"8s"}]`, "222224444222"},
		{`[{"kind":"quota","factor":0.5},{"kind":"quota","factor":2}]`, "222222222222"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := instant(t, Options{FreeThrottled: true, Limits: Limits{Requests: 60}, Burst: time.Millisecond})
			if res := post(p, "/sim/fault", c.rules); res.Code != http.StatusOK {
				t.Fatalf("%s: %s", c.rules, res.Body)
			}
			got := ""
			for range len(c.want) {
				got += string(rune('0' + post(p, chatPath, chat("x", "")).Code/100))
				<-time.After(time.Second)
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.rules, got, c.want)
			}
		})
	}
}

func TestProbability(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Faults: []Fault{{Kind: FaultStatus, Status: 500, Probability: 0.03}}})
	for range 2000 {
		post(p, chatPath, chat("x", `"max_tokens":1`))
	}
	if n := p.Stats().Statuses["500"]; n < 35 || n > 90 {
		t.Errorf("%d of 2,000 failed, want about 60", n)
	}
}

func TestLatencyFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, Options{
			Latency: Latency{Total: time.Second, Speed: 2},
			Faults:  []Fault{{Kind: FaultLatency, Factor: 3, From: Duration(900 * time.Millisecond)}},
		})
		for i, want := range []time.Duration{500, 500, 1500} {
			start := time.Now()
			post(p, chatPath, chat("x", ""))
			if got := time.Since(start).Round(time.Millisecond); got != want*time.Millisecond {
				t.Errorf("answer %d took %v, want %v", i, got, want*time.Millisecond)
			}
		}
	})
}

func TestParseFault(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Fault{
		"500":          {Kind: FaultStatus, Status: 500},
		"500:0.03":     {Kind: FaultStatus, Status: 500, Probability: 0.03},
		"hang:1%":      {Kind: FaultHang, Probability: 0.01},
		"slow_down":    {Kind: FaultStatus, Status: 429, Code: "slow_down"},
		"cut":          {Kind: FaultCut, AfterChunks: 2},
		"hang-headers": {Kind: FaultHangHeader},
		`{"kind":"quota","factor":0.5,"from":"10s"}`: {Kind: FaultQuota, Factor: 0.5, From: Duration(10 * time.Second)},
	} {
		got, err := ParseFault(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{
		"", "boom", "200", "500:x", "500:2", "500:0", "500:-1", `{"kind":"status"}`, `{"kind":1}`,
		`{"kind":"latency"}`, `{"kind":"hang","from":"-1s"}`, `{"kind":"hang","from":"soon"}`,
	} {
		if f, err := ParseFault(text); err == nil {
			t.Errorf("%s: taken as %+v", text, f)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	t.Parallel()
	_, err := New(Options{
		Profile: "x", Meter: "y", Window: "z", Limits: Limits{Requests: -1, Tokens: maxLimit + 1}, Slice: time.Hour,
		Latency: Latency{Speed: -1}, Output: -1, Speed: maxSpeed + 1, Faults: []Fault{{Kind: "w"}},
	})
	for _, want := range []string{"profile", "meter", "window", "negative", "exceed", "slice", "sigma and speed", "speed 10001", "output", "fault 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in: %v", want, err)
		}
	}
	if _, err := New(Options{Window: WindowSlice, Slice: time.Second, Limits: Limits{Requests: 30}}); err == nil {
		t.Error("a slice that holds half a request was taken")
	}
	if _, err := New(Options{}); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}
