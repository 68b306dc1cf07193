package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/testkit"
)

func TestJain(t *testing.T) {
	for _, c := range []struct {
		shares []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{0, 0}, 0},
		{[]float64{5}, 1},
		{[]float64{3, 3, 3}, 1},
		{[]float64{1, 0, 0, 0}, 0.25},
		{[]float64{1, 2, 3}, 36. / 42},
		{[]float64{100, 1}, 10201. / 20002},
	} {
		if got := Jain(c.shares); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("Jain(%v) = %v, want %v", c.shares, got, c.want)
		}
	}
}

func TestJainBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shares := rapid.SliceOfN(rapid.Float64Range(1, 1e9), 1, 50).Draw(t, "shares")
		scale := rapid.Float64Range(0.001, 1000).Draw(t, "scale")
		j := Jain(shares)
		if n := float64(len(shares)); j < 1/n-1e-9 || j > 1+1e-9 {
			t.Fatalf("Jain %v of %v users", j, n)
		}
		scaled := make([]float64, len(shares))
		for i, x := range shares {
			scaled[i] = x * scale
		}
		if math.Abs(Jain(scaled)-j) > 1e-9 {
			t.Fatal("Jain depends on the unit")
		}
	})
}

func TestSummary(t *testing.T) {
	h := histogram()
	for i := 1; i <= 1000; i++ {
		observe(h, time.Duration(i)*time.Millisecond)
	}
	s := summarize(h)
	if s.Count != 1000 || !near(s.P50, 500) || !near(s.P90, 900) || !near(s.P95, 950) || !near(s.P99, 990) || !near(s.Max, 1000) || !near(s.Mean, 500.5) {
		t.Errorf("%+v", s)
	}
	observe(h, -time.Second)
	observe(h, 1000*time.Hour)
	if s := summarize(h); s.Count != 1002 || s.Max < 7.2e6*0.999 {
		t.Errorf("out of range: %+v", s)
	}
	if s := summarize(histogram()); s != (Summary{}) {
		t.Errorf("empty: %+v", s)
	}
}

func TestHeadersOfTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
			n++
			h := w.Header()
			h.Set("Millrace-Queue-Wait-Ms", fmt.Sprint(n*100))
			h.Set("Millrace-Attempts", fmt.Sprint(1+n%2))
			h.Set("Millrace-Class", []string{"chat", "analysis"}[n%2])
			answer(w, r, s)
		})
		o.Think, o.Duration = time.Second, 19*time.Second
		r := runOne(t, o)
		if r.Answered != 10 || r.AttemptsPerAnswer != 1.5 || r.Wait.Count != 10 || !near(r.Wait.Max, 1000) || !near(r.Wait.P50, 500) {
			t.Errorf("%v attempts, wait %+v", r.AttemptsPerAnswer, r.Wait)
		}
		if len(r.Classes) != 2 || r.Classes["chat"].Count != 5 || !near(r.Classes["analysis"].P50, 1000) {
			t.Errorf("classes %+v", r.Classes)
		}
	})
}

func TestWhatTheTargetInventsIsBounded(t *testing.T) {
	b := newBook(&Options{Users: 1}, time.Time{}, nil)
	for i := range 1000 {
		b.end(&outcome{class: fmt.Sprint("class", i)})
		b.end(&outcome{bucket: failed, label: fmt.Sprint(i)})
	}
	if len(b.classes) > maxClasses+1 || len(b.errors) > maxLabels+1 {
		t.Errorf("%d classes, %d labels", len(b.classes), len(b.errors))
	}
	if b.count.answered != 1000 || b.count.failed != 1000 || b.classes[otherClass].TotalCount() != 1000-maxClasses || b.errors[labelOther] != 1000-maxLabels {
		t.Error("some were lost")
	}
}

func TestStreamTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, _ seen) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, ": queued position=1\n\n")
			_ = http.NewResponseController(w).Flush()
			pause(r, 5*time.Second)
			answerStream(w, r, time.Second, true)
		})
		o.StreamShare, o.Think, o.Duration = 1, time.Hour, 10*time.Second
		r := runOne(t, o)
		if !near(r.FirstByte.Max, 5000) || !near(r.Latency.Max, 8000) || r.Streams != (Streams{Complete: 1, Comments: 1}) || r.Users[0].Cost != 60 {
			t.Errorf("first byte %+v, latency %+v, %+v, %+v", r.FirstByte, r.Latency, r.Streams, r.Users[0])
		}
	})
}

func TestCostWithoutUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, func(w http.ResponseWriter, _ *http.Request, _ seen) {
			_, _ = io.WriteString(w, `{"choices":[{"text":"the \"usage\":{} of it"}]}`)
		})
		o.Think, o.Duration = time.Hour, time.Second
		r := runOne(t, o)
		if r.Estimated != 1 || r.Users[0].Cost != 50+47/4 {
			t.Errorf("%d estimated, cost %d", r.Estimated, r.Users[0].Cost)
		}
	})
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		body               string
		prompt, completion int64
		ok                 bool
	}{
		{"", 0, 0, false},
		{`{"usage":null}`, 0, 0, false},
		{`{` + usageJSON + `}`, 50, 10, true},
		{`{"usage" : {"completion_tokens_details":{},"completion_tokens" : 3 ,` + "\n" + `"prompt_tokens": 4}}`, 4, 3, true},
		{`{"usage":{"prompt_tokens":8,"total_tokens":8}}`, 8, 0, true},
		{`{"usage":{"prompt_tokens":-1}}`, 0, 0, false},
		{`{"usage":{"prompt_tokens":12345678901234567890}}`, 0, 0, false},
		{`{"usage":{"prompt_tokens":`, 0, 0, false},
		{`{"usage":{"prompt_tokens"`, 0, 0, false},
		{`{"token":"usage","x":{"text":"\"usage\":{\"prompt_tokens\":1}"},` + usageJSON + `}`, 50, 10, true},
	} {
		prompt, completion, ok := usage([]byte(c.body))
		if ok != c.ok || ok && (prompt != c.prompt || completion != c.completion) {
			t.Errorf("usage(%s) = %d, %d, %v", c.body, prompt, completion, ok)
		}
	}
}

// books is a judge with one limit, used for half.
func books(throttled int64) string {
	return fmt.Sprintf(`{"profile":"openai","elapsed":"1m0s","accepted":10,"throttled":%d,"throttled_by":{"tokens":%d},
		"aborted":2,"most_in_flight":3,"in_flight":0,"limits":[{"name":"tokens","configured":100,"admitted":50,"worst_span":60,
		"worst_ratio":0.6,"utilization":0.5},{"name":"requests","configured":10,"worst_span":1,"worst_ratio":0.1,"utilization":0.1}]}`, throttled, throttled)
}

func TestJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &target{script: answer}
		var calls []string
		begun := time.Now()
		mux := http.NewServeMux()
		mux.Handle("/v1/", x)
		mux.HandleFunc("POST /sim/reset", func(http.ResponseWriter, *http.Request) {
			calls = append(calls, fmt.Sprint("reset ", time.Since(begun)))
		})
		mux.HandleFunc("GET /sim/stats", func(w http.ResponseWriter, _ *http.Request) {
			calls = append(calls, fmt.Sprint("stats ", time.Since(begun)))
			_, _ = io.WriteString(w, books(int64(len(calls))))
		})
		client := testkit.Serve(t, mux)
		o := Options{
			Targets: []Target{{"t", testkit.URL + "/v1"}}, Judge: testkit.URL, Model: "m", Transport: client.Transport,
			Users: 2, Tokens: 5, Ramp: -1, ThinkFixed: true, WarmUp: 10 * time.Second, Duration: 20*time.Second + 500*time.Millisecond,
		}
		r := runOne(t, o)
		want := []string{"reset 0s", "reset 10s", "stats 30.5s", "stats 31s"}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if r.Judge.AtEnd.Throttled != 3 || r.Judge.Final.Throttled != 4 || r.Judge.Final.ThrottledBy["tokens"] != 4 || r.Judge.Utilization() != 0.5 {
			t.Errorf("%+v", r.Judge)
		}
	})
}

func TestJudgeThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, answer)
		o.Judge = testkit.URL
		report, err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "reset the judge's books") || len(report.Targets) != 0 || x.count() != 0 {
			t.Errorf("error %v, report %+v, %d asked", err, report, x.count())
		}
	})
}

func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, answer)
		var lines []string
		o.Users, o.Think, o.WarmUp, o.Duration = 4, time.Second, 3*time.Second, 6*time.Second
		o.ProgressEvery = 2*time.Second - time.Millisecond
		o.Progress = func(s Snapshot) { lines = append(lines, s.Line()) }
		runOne(t, o)
		want := []string{
			"t    1s warm-up  in flight 0  answered 0  errors 0  p50 1.00s  p95 1.00s  2.0/s",
			"t    3s  in flight 0  answered 0  errors 0  p50 1.00s  p95 1.00s  2.0/s",
			"t    5s  in flight 0  answered 4  errors 0  p50 1.00s  p95 1.00s  2.0/s",
			"t    7s  in flight 0  answered 8  errors 0  p50 1.00s  p95 1.00s  2.0/s",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	failing := Snapshot{Target: "t", Errors: map[string]int64{"429": 2, "cut": 3}, P50: 12 * time.Millisecond, P95: 900 * time.Microsecond}
	if got, want := failing.Line(), "t    0s  in flight 0  answered 0  errors 5 (cut 3, 429 2)  p50 12ms  p95 0.90ms  0.0/s"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
}

func TestKeyIsInNoReport(t *testing.T) {
	const key = "sk-very-secret-key"
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, _ seen) {
			n++
			pad := ""
			if n%2 == 0 {
				pad = strings.Repeat("x", maxSample-len("wrong: ")-8) // cuts the key in the middle
			}
			http.Error(w, "wrong: "+pad+r.Header.Get("Authorization")[len("Bearer "):], 400+n)
		})
		o.Key, o.Think, o.Duration = key, time.Second, 10*time.Second
		report, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		encoded, err := json.Marshal(report)
		if err = errors.Join(err, report.WriteText(&text)); err != nil {
			t.Fatal(err)
		}
		if n < 5 {
			t.Fatalf("%d requests", n)
		}
		for _, out := range []string{text.String(), string(encoded)} {
			if strings.Contains(out, "sk-v") || !strings.Contains(out, "wrong: ") {
				t.Errorf("the report shows the key, or no sample: %s", out)
			}
		}
	})
}

func TestInterruptedBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, answer)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		report, err := Run(ctx, o)
		if err != nil || !report.Interrupted || x.count() != 0 {
			t.Errorf("error %v, %+v, %d asked", err, report, x.count())
		}
	})
}

// sampleReport has something in every row of the text.
func sampleReport() *Report {
	s := func(base float64) Summary {
		return Summary{Count: 10, Mean: base, P50: base, P90: base * 2, P95: base * 3, P99: base * 4, Max: base * 5}
	}
	others, greedy := s(800), s(9000)
	var judged JudgeReport
	if err := json.Unmarshal([]byte(books(7)), &judged.AtEnd); err != nil {
		panic(err)
	}
	judged.Final = judged.AtEnd
	straight := Result{
		Target: "straight", URL: "http://a/v1", Seconds: 60, Started: 110, Answered: 50, Errors: 40, ErrorsBehaved: 30, Canceled: 5,
		Disconnected: 4, Stalled: 3, Unfinished: 2, WarmUp: 6, ByError: map[string]int64{"429": 39, "timeout": 1},
		Samples: map[string]string{"429": "{\n  \"error\": \"slow down\"}"}, Latency: s(1000), FirstByte: s(0.5),
		AnswersPerSecond: 50. / 60, TokensPerSecond: 1000, Streams: Streams{Complete: 20, Cut: 1, Comments: 9},
		Fairness: Fairness{Users: 40, Jain: 0.8, LeastAnswers: 0, MostAnswers: 3}, Judge: &judged, Generator: Generator{CPUShare: 0.05, BehindMS: 3},
	}
	gateway := Result{
		Target: "gateway", URL: "http://b/v1", Seconds: 60, Started: 101, Answered: 100, Unfinished: 1, Latency: s(500), FirstByte: s(20), Wait: s(120),
		Others: &others, Greedy: &greedy, Classes: map[string]Summary{"chat": s(400)}, AnswersPerSecond: 100. / 60, TokensPerSecond: 2000,
		AttemptsPerAnswer: 1.01, Fairness: Fairness{Users: 40, Jain: 0.991234, LeastAnswers: 2, MostAnswers: 3}, Judge: &judged,
	}
	return &Report{Mode: "closed", Interrupted: true, Targets: []Result{straight, gateway}}
}

func TestText(t *testing.T) {
	var text strings.Builder
	if err := sampleReport().WriteText(&text); err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "report", []byte(text.String()))
}

func TestJSONRoundTrip(t *testing.T) {
	want := sampleReport()
	encoded, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheck(t *testing.T) {
	none := int64(0)
	seven := int64(7)
	for _, c := range []struct {
		name   string
		limits Limits
		want   []string
	}{
		{"nothing to check", Limits{}, nil},
		{"kept", Limits{
			MaxErrors: &Allowance{}, MinFairness: 0.99, MaxP95: 2400 * time.Millisecond, MaxThrottled: &seven, MinUtilization: 0.5,
			Targets: []string{"gateway"},
		}, nil},
		{"all breached", Limits{
			MaxErrors: &Allowance{Count: 39}, MinFairness: 0.98, MaxP95: 2 * time.Second, MaxThrottled: &none, MinUtilization: 0.97,
			Targets: []string{"straight"},
		}, []string{
			"breach: straight: 40 errors of 90, above 39",
			"breach: straight: fairness 0.8000, below 0.98",
			"breach: straight: p95 latency 3s, above 2s",
			"breach: straight: 7 throttled by the judge, above 0",
			"breach: straight: utilization 0.5000, below 0.97",
		}},
		{"the others' p95", Limits{MaxP95: 2 * time.Second, Targets: []string{"gateway"}}, []string{"breach: gateway: p95 latency 2.4s, above 2s"}},
		{"a share", Limits{MaxErrors: &Allowance{Share: 0.4, IsShare: true}}, []string{"breach: straight: 40 errors of 90, above 0.4"}},
		{"a share kept", Limits{MaxErrors: &Allowance{Share: 0.5, IsShare: true}}, nil},
		{"a name mistyped", Limits{MinFairness: 0.1, Targets: []string{"gatway"}}, []string{"breach: not every target that was to be checked was asked"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := sampleReport().Check(c.limits)
			if (err != nil) != errors.Is(err, ErrBreach) || (err != nil) != (c.want != nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			if diff := cmp.Diff(strings.Join(c.want, "\n"), err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckOfNothing(t *testing.T) {
	limits := Limits{MaxErrors: &Allowance{}, MinUtilization: 0.1}
	for name, r := range map[string]*Report{
		"no target":     {},
		"no answer":     {Targets: []Result{{Judge: &JudgeReport{AtEnd: JudgeBooks{Limits: []JudgeLimit{{Utilization: 1}}}}}}},
		"no judge":      {Targets: []Result{{Answered: 1}}},
		"some not sent": {Targets: []Result{{Answered: 1, Unsent: 1, Judge: &JudgeReport{AtEnd: JudgeBooks{Limits: []JudgeLimit{{Utilization: 1}}}}}}},
	} {
		if err := r.Check(limits); !errors.Is(err, ErrBreach) {
			t.Errorf("%s: error %v, want a breach", name, err)
		}
	}
}

func TestParseAllowance(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Allowance
		ok   bool
	}{
		{"0", Allowance{}, true},
		{"12", Allowance{Count: 12}, true},
		{"1.0", Allowance{Share: 1, IsShare: true}, true},
		{"0.01", Allowance{Share: 0.01, IsShare: true}, true},
		{"5%", Allowance{Share: 0.05, IsShare: true}, true},
		{"", Allowance{}, false},
		{"-1", Allowance{}, false},
		{"1.5", Allowance{}, false},
		{"101%", Allowance{}, false},
		{"NaN%", Allowance{}, false},
		{"many", Allowance{}, false},
		{"-0.1", Allowance{}, false},
	} {
		got, err := ParseAllowance(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseAllowance(%q) = %+v, %v", c.in, got, err)
		}
		if again, err := ParseAllowance(got.String()); err != nil || again != got {
			t.Errorf("%q does not read back", got.String())
		}
	}
}

func TestOptionsFaults(t *testing.T) {
	good := func() Options {
		return Options{Targets: []Target{{"t", "http://127.0.0.1:1/v1"}}, Model: "m", Users: 1, Tokens: 1}
	}
	if err := good().withDefaults().validate(); err != nil {
		t.Fatal(err)
	}
	for want, breakIt := range map[string]func(*Options){
		"no target":               func(o *Options) { o.Targets = nil },
		"named twice":             func(o *Options) { o.Targets = append(o.Targets, o.Targets[0]) },
		"is no base URL":          func(o *Options) { o.Targets[0].URL = "localhost/v1" },
		"cannot be read":          func(o *Options) { o.Targets[0].URL = "http://[" },
		"holds credentials":       func(o *Options) { o.Targets[0].URL = "http://me:secret@host/v1" },
		"judge:":                  func(o *Options) { o.Judge = "ftp://x" },
		"no model":                func(o *Options) { o.Model = "" },
		"warm-up -1s is negative": func(o *Options) { o.WarmUp = -time.Second },
		"stream share":            func(o *Options) { o.StreamShare = 1.1 },
		"stall share":             func(o *Options) { o.Mischief.Stall = math.NaN() },
		"together more than 1":    func(o *Options) { o.Mischief.Stall, o.Mischief.Cancel = 0.6, 0.6 },
		"users: 0":                func(o *Options) { o.Users = 0 },
		"tokens: 0":               func(o *Options) { o.Tokens = 0 },
		"sigma":                   func(o *Options) { o.TokensSigma = -1 },
		"paced rate":              func(o *Options) { o.PacedRate = math.Inf(1) },
		"speed":                   func(o *Options) { o.Speed = -1 },
		"holds no request":        func(o *Options) { o.Trace = []Row{} },
		"exclude each other":      func(o *Options) { o.GreedyLoops, o.GreedyFactor = 2, 2 },
		"requests in flight":      func(o *Options) { o.MaxInFlight = -1 },
	} {
		o := good()
		breakIt(&o)
		report, err := Run(t.Context(), o)
		if err == nil || report != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	all := Options{Targets: []Target{{"t", "x"}}, Judge: "y", StreamShare: 2, WarmUp: -1, TokensSigma: 9}
	if n := strings.Count(all.withDefaults().validate().Error(), "\n") + 1; n != 8 {
		t.Errorf("%d faults told, want 8: %v", n, all.withDefaults().validate())
	}
}
