package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/load/wire"
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
	b := newBook(&Options{Users: 1}, newClock(1), nil)
	b.from = time.Time{}
	for i := range 1000 {
		b.end(&outcome{class: fmt.Sprint("class", i)})
		b.end(&outcome{bucket: failed, label: fmt.Sprint(i)})
	}
	if len(b.classes) > maxClasses+1 || len(b.errors) > maxLabels+1 {
		t.Errorf("%d classes, %d labels", len(b.classes), len(b.errors))
	}
	if b.count.answered != 1000 || b.count.failed != 1000 || b.classes[otherClass].latency.Count() != 1000-maxClasses || b.errors[labelOther] != 1000-maxLabels {
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

// books is a judge with one limit, used for half.
func books(throttled int64) string {
	return fmt.Sprintf(`{"profile":"openai","elapsed":"1m0s","accepted":10,"throttled":%d,"throttled_by":{"tokens":%d},
		"aborted":2,"most_in_flight":3,"in_flight":0,"limits":[{"name":"tokens","configured":100,"admitted":50,"worst_span":60,
		"worst_ratio":0.6,"utilization":0.5},{"name":"requests","configured":10,"worst_span":1,"worst_ratio":0.1,"utilization":0.1}]}`, throttled, throttled)
}

func TestJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &target{script: answer}
		var mu sync.Mutex
		var calls []string
		begun := time.Now()
		mux := http.NewServeMux()
		mux.Handle("/v1/", x)
		mux.HandleFunc("POST /sim/reset", func(http.ResponseWriter, *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, fmt.Sprint("reset ", time.Since(begun)))
		})
		mux.HandleFunc("GET /sim/stats", func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if since := time.Since(begun); since%judgeEvery != 0 { // a look in between is not at the load's end
				calls = append(calls, fmt.Sprint("stats ", since))
			}
			_, _ = io.WriteString(w, books(int64(len(calls))))
		})
		client := testkit.Serve(t, mux)
		o := Options{
			Targets: []Target{{Name: "t", URL: testkit.URL + "/v1"}}, Judge: testkit.URL, Model: "m", Transport: client.Transport,
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
		if n := len(r.Judge.Series); n != 7 || r.Judge.Series[6].At != 30 || r.Judge.Series[0].Admitted["tokens"] != 50 {
			t.Errorf("looks into the books: %+v", r.Judge.Series)
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
		var got []Snapshot
		o.Users, o.Think, o.WarmUp, o.Duration = 4, time.Second, 3*time.Second, 6*time.Second
		o.ProgressEvery = 2*time.Second - time.Millisecond
		o.Progress = func(s Snapshot) { got = append(got, s) }
		runOne(t, o)
		if len(got) != 4 {
			t.Fatalf("%d snapshots, want 4", len(got))
		}
		for i, s := range got {
			if s.Target != "t" || s.Elapsed != time.Duration(i+1)*o.ProgressEvery || s.Of != 9*time.Second || s.WarmUp != (i == 0) ||
				s.Answered != int64(max(4*(i-1), 0)) || !near(s.Rate, 2) || !near(float64(s.P50.Milliseconds()), 1000) || s.P50 != s.P95 {
				t.Errorf("snapshot %d: %+v", i, s)
			}
		}
	})
}

func TestKeyIsInNoReport(t *testing.T) {
	const key = "sk-very-secret-key"
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, _ seen) {
			n++
			pad := ""
			if n%2 == 0 {
				pad = strings.Repeat("x", wire.MaxSample-len("wrong: ")-8) // cuts the key in the middle
			}
			http.Error(w, "wrong: "+pad+r.Header.Get("Authorization")[len("Bearer "):], 400+n)
		})
		o.Key, o.Think, o.Duration = key, time.Second, 10*time.Second
		report, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		if n < 5 {
			t.Fatalf("%d requests", n)
		}
		if out := string(encoded); strings.Contains(out, "sk-v") || !strings.Contains(out, "wrong: ") {
			t.Errorf("the report shows the key, or no sample: %s", out)
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

func TestOptionsFaults(t *testing.T) {
	good := func() Options {
		return Options{Targets: []Target{{Name: "t", URL: "http://127.0.0.1:1/v1"}}, Model: "m", Users: 1, Tokens: 1}
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
	all := Options{Targets: []Target{{Name: "t", URL: "x"}}, Judge: "y", StreamShare: 2, WarmUp: -1, TokensSigma: 9}
	if n := strings.Count(all.withDefaults().validate().Error(), "\n") + 1; n != 8 {
		t.Errorf("%d faults told, want 8: %v", n, all.withDefaults().validate())
	}
}
