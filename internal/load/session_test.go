package load

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/load/arrival"
	"github.com/millrace/millrace/internal/testkit"
)

// site is an application with endpoints and tasks, beside the OpenAI API.
type site struct {
	mu     sync.Mutex
	asked  []asking
	polls  map[string]int
	status http.HandlerFunc // instead of a task's own
	answer func(path string, n int) (status int, body string)
}

// asking is one request to the site.
type asking struct {
	path   string
	class  string
	prefer string
	body   map[string]any
}

// ServeHTTP implements http.Handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/task_status/") && s.status != nil {
		s.status(w, r)
		return
	}
	a := asking{path: r.URL.Path, class: r.Header.Get("Millrace-Class"), prefer: r.Header.Get("Prefer")}
	if err := json.NewDecoder(r.Body).Decode(&a.body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, a)
	n := len(s.asked)
	s.mu.Unlock()
	status, body := http.StatusOK, "{"+usageJSON+"}"
	if s.answer != nil {
		status, body = s.answer(r.URL.Path, n)
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// serveSite serves the site in memory and returns options that ask it.
func serveSite(t *testing.T, s *site) Options {
	t.Helper()
	client := testkit.Serve(t, s)
	return Options{
		Targets: []Target{{Name: "t", URL: testkit.URL + "/v1"}}, Model: "m", Transport: client.Transport,
		Users: 1, Tokens: 50, Ramp: -1, ThinkFixed: true, Think: time.Second, Duration: 20*time.Second - time.Millisecond,
	}
}

func TestConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{}
		o := serveSite(t, s)
		o.Users, o.Turns, o.SessionPause, o.Duration = 20, 4, 10*time.Second, 10*time.Minute
		var records []Record
		var mu sync.Mutex
		o.Record = func(r Record) {
			mu.Lock()
			defer mu.Unlock()
			records = append(records, r)
		}
		runOne(t, o)
		turns, most := 0, 0
		sessions := map[string]int{}
		for _, a := range s.asked {
			messages, _ := a.body["messages"].([]any)
			if len(messages)%2 != 1 {
				t.Fatalf("%d messages", len(messages))
			}
			for i, m := range messages {
				m, _ := m.(map[string]any)
				if want := []string{"user", "assistant"}[i%2]; m["role"] != want {
					t.Fatalf("message %d is of the %v", i, m["role"])
				}
				if text, _ := m["content"].(string); i%2 == 0 && len(text) != 200 {
					t.Fatalf("a prompt of %d characters", len(text))
				}
			}
			turns += len(messages)/2 + 1
			most = max(most, len(messages)/2+1)
		}
		for _, r := range records {
			key := fmt.Sprint(r.User, r.Session)
			if r.Turn != sessions[key]+1 {
				t.Fatalf("turn %d of %s after %d", r.Turn, key, sessions[key])
			}
			sessions[key] = r.Turn
		}
		mean := float64(len(records)) / float64(len(sessions))
		if math.Abs(mean-4) > 0.3 || most != 7 {
			t.Errorf("%v requests a conversation, want 4; at most %d, want 7", mean, most)
		}
		// A conversation of n requests takes n-1 pauses of 1 s and one of 10 s.
		if per := float64(len(records)) / 20; math.Abs(per-600*4/13.) > 15 {
			t.Errorf("%v requests a user, want %v", per, 600*4/13.)
		}
	})
}

func TestConversationRepeatsItself(t *testing.T) {
	o := Options{Users: 1, Tokens: 10, Turns: 5, Seed: 3}.withDefaults()
	c, err := newComposer(&o, Target{URL: "http://x/v1"}, lorem(o.largestPrompt()))
	if err != nil {
		t.Fatal(err)
	}
	d := newDrawer(&o, 0, 0)
	said := ""
	for range 40 {
		p := d.draw()
		body := string(c.chatBody(nil, &p))
		messages := body[strings.Index(body, `"messages":[`):]
		if len(p.earlier) > 0 && !strings.HasPrefix(messages, said) {
			t.Fatalf("a turn does not begin with the one before:\n%s\n%s", said, messages)
		}
		said = strings.TrimSuffix(messages, "]}")
	}
	plain := o
	plain.Turns, plain.parts = 0, nil
	with, without := newDrawer(&o, 0, 0), newDrawer(&plain, 0, 0)
	for range 20 {
		if a, b := with.draw(), without.draw(); a.tokens != b.tokens || a.seq != b.seq || a.pause != b.pause {
			t.Fatalf("conversations change the requests: %+v and %+v", a, b)
		}
	}
}

func TestStagesOfUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, func(w http.ResponseWriter, _ *http.Request, _ seen) { answerJSON(w) })
		o.Think = time.Second
		o.UserStages = []arrival.Stage{{Over: 10 * time.Second, To: 10}, {Over: 10 * time.Second, To: 10}, {To: 30}, {Over: 10 * time.Second, To: 30}, {Over: 10 * time.Second, To: 0}}
		begun := time.Now()
		r := runOne(t, o)
		users := func(from, to time.Duration) int {
			seen := map[string]bool{}
			for _, s := range x.requests {
				if at := s.At.Sub(begun); at >= from && at < to {
					seen[s.User] = true
				}
			}
			return len(seen)
		}
		if r.Seconds != 40 || len(r.Users) != 30 {
			t.Errorf("%v s, %d users", r.Seconds, len(r.Users))
		}
		for _, c := range []struct {
			from, to int // seconds
			want     int
		}{{0, 1, 1}, {4, 5, 5}, {9, 10, 10}, {15, 16, 10}, {20, 21, 30}, {28, 29, 30}, {35, 36, 15}, {39, 40, 3}} {
			if got := users(time.Duration(c.from)*time.Second, time.Duration(c.to)*time.Second); math.Abs(float64(got-c.want)) > 1 {
				t.Errorf("%d users between %d and %d s, want %d", got, c.from, c.to, c.want)
			}
		}
	})
}

func TestUserComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, func(w http.ResponseWriter, _ *http.Request, _ seen) { answerJSON(w) })
		o.Think = time.Second
		o.UserStages = []arrival.Stage{{To: 1}, {Over: 5 * time.Second, To: 1}, {To: 0}, {Over: 10 * time.Second, To: 0}, {To: 1}, {Over: 5 * time.Second, To: 1}}
		o.Speed = 2
		begun := time.Now()
		runOne(t, o)
		gap := time.Duration(0)
		for i := 1; i < len(x.requests); i++ {
			gap = max(gap, x.requests[i].At.Sub(x.requests[i-1].At))
		}
		// At twice the speed: the request due at 2.5 s is asked when he is back, at 7.5 s.
		if took := time.Since(begun); gap != 5500*time.Millisecond || len(x.requests) < 10 || took != 10*time.Second {
			t.Errorf("%d requests in %v, %v apart", len(x.requests), took, gap)
		}
	})
}

func TestOpenLoop(t *testing.T) {
	for _, c := range []struct {
		name       string
		set        func(*Options)
		first, all float64 // arrivals in the first 50 s and in 100 s
	}{
		{"Poisson", func(o *Options) { o.Arrivals = 8 }, 400, 800},
		{"bursts", func(o *Options) { o.Arrivals, o.ArrivalsCV = 8, 2 }, 400, 800},
		{"a ramp", func(o *Options) { o.RateStages = []arrival.Stage{{Over: 100 * time.Second, To: 16}} }, 200, 800},
		{"a step", func(o *Options) { o.RateStages = []arrival.Stage{{Over: 50 * time.Second}, {To: 16}} }, 0, 800},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
					pause(r, 5*time.Second) // slow answers change nothing
					answer(w, r, s)
				})
				o.Duration, o.Tokens = 100*time.Second, 5
				c.set(&o)
				begun := time.Now()
				r := runOne(t, o)
				first := 0.
				for _, s := range x.requests {
					if s.At.Sub(begun) < 50*time.Second {
						first++
					}
				}
				spread := 5 * max(o.ArrivalsCV, 1) * math.Sqrt(c.all)
				if math.Abs(float64(r.Started)-c.all) > spread || math.Abs(first-c.first) > spread || r.Answered != r.Started {
					t.Errorf("%d started, %v of them at first, %d answered", r.Started, first, r.Answered)
				}
				if len(r.Users) != 20 || r.Users[0].Asked < 25 || !near(r.Latency.P50, 6000) {
					t.Errorf("%d users, the first asked %d times; %+v", len(r.Users), r.Users[0].Asked, r.Latency)
				}
			})
		})
	}
}

func TestOpenLoopWithConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{}
		o := serveSite(t, s)
		o.Arrivals, o.Turns, o.Duration, o.Grace = 2, 3, 200*time.Second, time.Minute
		var begun atomic.Int64
		o.Record = func(r Record) {
			if r.Turn == 1 {
				begun.Add(1)
			}
		}
		r := runOne(t, o)
		conversations := float64(begun.Load())
		if math.Abs(conversations-400) > 100 || math.Abs(float64(r.Started)/conversations-3) > 0.3 {
			t.Errorf("%v conversations of %d requests, want 400 of 1200", conversations, r.Started)
		}
	})
}

func TestMixAndTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const done = `{"success":true,"feedback_items":[],"tokens":{"input":40,"output":4}}`
		s := &site{polls: map[string]int{}}
		s.answer = func(path string, n int) (int, string) {
			switch path {
			case "/analyze_section":
				return 200, fmt.Sprintf(`{"success":true,"async":true,"task_id":"%032x","status":"queued"}`, n)
			case "/chat":
				return 200, done
			}
			return 200, "{" + usageJSON + "}"
		}
		s.status = func(w http.ResponseWriter, r *http.Request) {
			id := strings.TrimPrefix(r.URL.Path, "/task_status/")
			s.mu.Lock()
			s.polls[id]++
			n := s.polls[id]
			s.mu.Unlock()
			if r.Header.Get("Prefer") != "wait=10" || r.Header.Get("Authorization") != "Bearer k" {
				http.Error(w, "who?", http.StatusUnauthorized)
				return
			}
			if n < 3 {
				_, _ = fmt.Fprintf(w, `{"task_id":%q,"state":"STARTED","ready":false,"result":null}`, id)
				return
			}
			_, _ = fmt.Fprintf(w, `{"task_id":%q,"state":"SUCCESS","ready":true,"result":%s}`, id, done)
		}
		o := serveSite(t, s)
		o.Key, o.Users, o.Duration, o.Class = "k", 30, 60*time.Second, "batch"
		o.Mix = []Part{{Path: "/analyze_section", Weight: 3, Class: "analysis", Tokens: 500}, {Path: "/chat", Weight: 6}, {Path: "/chat/completions"}}
		r := runOne(t, o)
		paths := map[string]float64{}
		for _, a := range s.asked {
			paths[a.path]++
			switch message, _ := a.body["message"].(string); {
			case a.path == "/analyze_section":
				content, _ := a.body["content"].(string)
				if a.class != "analysis" || len(content) != 2000 || a.body["section_name"] == "" || a.body["session_id"] == "" {
					t.Fatalf("asked %+v", a)
				}
			case a.path == "/chat" && (a.class != "batch" || len(message) != 200):
				t.Fatalf("asked %+v", a)
			}
		}
		n := float64(len(s.asked))
		if math.Abs(paths["/analyze_section"]/n-0.3) > 0.06 || math.Abs(paths["/chat"]/n-0.6) > 0.06 || paths["/v1/chat/completions"] == 0 {
			t.Errorf("asked %v", paths)
		}
		if r.Errors != 0 || r.Tasks != int64(paths["/analyze_section"]) || r.Answered != r.Started {
			t.Errorf("%d errors %v, %d tasks, %d answered of %d", r.Errors, r.Samples, r.Tasks, r.Answered, r.Started)
		}
		// Two questions a second apart, and a third that is answered.
		if took := r.Paths["/analyze_section"]; !near(took.P50, 2000) || r.Paths["/chat"].Max > 1 || len(r.Paths) != 3 {
			t.Errorf("latency by path %+v", r.Paths)
		}
		if r.CompletionTokens != int64(4*(paths["/analyze_section"]+paths["/chat"])+10*paths["/v1/chat/completions"]) {
			t.Errorf("%d completion tokens", r.CompletionTokens)
		}
	})
}

func TestTasksThatFail(t *testing.T) {
	const queued = `{"success":true,"async":true,"task_id":"a1"}`
	for _, c := range []struct {
		name, answer, status string
		code                 int
		want                 string
	}{
		{"failure", queued, `{"state":"FAILURE","error":"no"}`, 200, labelTask},
		{"revoked", queued, `{"state":"REVOKED"}`, 200, labelRevoked},
		{"never ready", queued, `{"state":"PENDING"}`, 200, labelTimeout},
		{"no status", queued, `slow down`, 429, "429"},
		{"nonsense", queued, `<html>`, 200, labelFormat},
		{"success without a result", queued, `{"state":"SUCCESS"}`, 200, labelFormat},
		{"a task in a task", queued, `{"state":"SUCCESS","result":` + queued + `}`, 200, labelFormat},
		{"an id that is a path", `{"success":true,"async":true,"task_id":"../x"}`, ``, 200, labelFormat},
		{"not a success", `{"success":false,"error":"no"}`, ``, 200, labelSaid},
		{"not of this form", `{"choices":[]}`, ``, 200, labelFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &site{answer: func(string, int) (int, string) { return 200, c.answer }}
				s.status = func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(c.code)
					_, _ = w.Write([]byte(c.status))
				}
				o := serveSite(t, s)
				o.Mix, o.Think, o.Duration, o.Timeout = []Part{{Path: "/chat"}}, time.Hour, time.Minute, 30*time.Second
				if r := runOne(t, o); r.Errors != 1 || r.ByError[c.want] != 1 || r.buckets() != r.Started {
					t.Errorf("errors %v, want one %s", r.ByError, c.want)
				}
			})
		})
	}
}

func TestLeavingATask(t *testing.T) {
	for want, m := range map[string]Mischief{
		"canceled":     {Cancel: 1, CancelWithin: 10 * time.Second},
		"disconnected": {Disconnect: 1},
		"stalled":      {Stall: 1, StallFor: time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &site{answer: func(string, int) (int, string) { return 200, `{"success":true,"async":true,"task_id":"a1"}` }}
			s.status = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"state":"PENDING"}`)) }
			o := serveSite(t, s)
			o.Mix, o.Think, o.Mischief, o.Timeout = []Part{{Path: "/chat"}}, time.Hour, m, time.Minute
			r := runOne(t, o)
			if got := map[string]int64{"canceled": r.Canceled, "disconnected": r.Disconnected, "stalled": r.Stalled}[want]; got != 1 || r.Errors != 0 {
				t.Errorf("%s: %+v", want, r)
			}
		})
	}
}

func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, answer)
		o.Targets = append(o.Targets, Target{Name: "u", URL: o.Targets[0].URL})
		o.Together, o.Think, o.Duration, o.Pause = true, time.Second, 10*time.Second-time.Millisecond, time.Hour
		begun := time.Now()
		report, err := Run(t.Context(), o)
		if err != nil || time.Since(begun) > 12*time.Second || !report.Together {
			t.Fatalf("error %v after %v", err, time.Since(begun))
		}
		for i, name := range []string{"t", "u"} {
			if r := report.Targets[i]; r.Target != name || r.Answered != 5 {
				t.Errorf("%s answered %d", r.Target, r.Answered)
			}
		}
		if x.most != 2 {
			t.Errorf("%d at once, want both", x.most)
		}
	})
}

func TestI7RecordsHoldEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, chaos)
		o.Users, o.Think, o.ThinkFixed, o.StreamShare = 30, time.Second, false, 0.5
		o.WarmUp, o.Duration, o.Grace, o.Timeout = 10*time.Second, time.Minute, 5*time.Second, 20*time.Second
		o.Mischief = Mischief{Cancel: 0.1, Disconnect: 0.1, Stall: 0.1}
		var mu sync.Mutex
		outcomes, warm, late := map[string]int64{}, int64(0), 0
		var last time.Duration
		o.Record = func(r Record) {
			mu.Lock()
			defer mu.Unlock()
			if r.Late < 0 || r.Latency < r.Late || r.At < 0 {
				late++
			}
			last = max(last, r.At)
			if r.WarmUp {
				warm++
				return
			}
			outcomes[r.Outcome]++
		}
		r := runOne(t, o)
		want := map[string]int64{
			"answered": r.Answered, "error": r.Errors, "canceled": r.Canceled, "disconnected": r.Disconnected, "stalled": r.Stalled, "unfinished": r.Unfinished,
		}
		for name, n := range want {
			if outcomes[name] != n || n == 0 {
				t.Errorf("%d records of %s, the report says %d", outcomes[name], name, n)
			}
		}
		if warm != r.WarmUp || late != 0 || last > 70*time.Second {
			t.Errorf("%d in the warm-up of %d, %d whose times make no sense, the last at %v", warm, r.WarmUp, late, last)
		}
	})
}

func TestI7UnsentIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
			pause(r, time.Minute)
			answer(w, r, s)
		})
		var mu sync.Mutex
		var intended []time.Duration
		o.Arrivals, o.ArrivalsCV, o.Duration, o.MaxInFlight = 10, 0.01, 10*time.Second, 5
		o.Record = func(r Record) {
			mu.Lock()
			defer mu.Unlock()
			if r.Outcome == "unsent" && r.Latency == -1 {
				intended = append(intended, r.At)
			}
		}
		r := runOne(t, o)
		if int64(len(intended)) != r.Unsent || r.Unsent < 90 || r.Started != 5 || !slices.IsSorted(intended) {
			t.Errorf("%d recorded of %d unsent, %d started", len(intended), r.Unsent, r.Started)
		}
	})
}

func TestI7LateStartsAreIntendedOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, answer)
		o = o.withDefaults()
		c, err := newComposer(&o, o.Targets[0], lorem(50))
		if err != nil {
			t.Fatal(err)
		}
		var got Record
		o.Record = func(r Record) { got = r }
		clock := newClock(1)
		intended := clock.begun
		r := &run{options: &o, transport: o.Transport, composer: c, clock: clock, book: newBook(&o, clock, nil)}
		<-time.After(3 * time.Second) // the generator is late
		r.ask(t.Context(), plan{tokens: 50}, intended)
		if !got.Intended.Equal(intended) || got.Late != 3*time.Second || got.Latency != 4*time.Second || got.FirstByte != 4*time.Second {
			t.Errorf("%+v", got)
		}
	})
}

func TestSeriesAndUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
			w.Header().Set("Millrace-Queue-Wait-Ms", map[string]string{"user-000": "100", "user-001": "2000"}[s.User])
			w.Header().Set("Millrace-Class", "chat")
			answer(w, r, s)
		})
		o.Users, o.Think, o.WarmUp, o.Duration, o.Interval = 2, time.Second, 10*time.Second, 30*time.Second-time.Millisecond, 10*time.Second
		r := runOne(t, o)
		var started, answered int64
		for _, p := range r.Series {
			started += p.Started
			answered += p.Answered
		}
		if len(r.Series) != 4 || started != r.Started || answered != r.Answered+r.WarmUp || r.Interval != 10 || r.WarmUpSeconds != 10 {
			t.Errorf("%d points, %d started of %d, %d answered of %d", len(r.Series), started, r.Started, answered, r.Answered)
		}
		if p := r.Series[1]; !near(p.P50, 1000) || !near(p.Wait, 2000) || p.InFlight != 2 || p.Answered != 10 {
			t.Errorf("the second point %+v", p)
		}
		if a, b := r.Users[0], r.Users[1]; math.Abs(a.WaitP95-100) > 10 || math.Abs(b.WaitP50-2000) > 200 || math.Abs(a.P95-1000) > 100 {
			t.Errorf("users %+v", r.Users)
		}
		if w := r.Waits["chat"]; w.Count != r.Answered || !near(w.Max, 2000) || r.ByStatus["200"] != r.Answered {
			t.Errorf("wait of the class %+v, statuses %v", w, r.ByStatus)
		}
	})
}

func TestIntervals(t *testing.T) {
	for span, want := range map[time.Duration]time.Duration{
		time.Minute: time.Second, 5 * time.Minute: time.Second, time.Hour: 15 * time.Second, 24 * time.Hour: 5 * time.Minute, 1000 * time.Hour: 200 * time.Minute,
	} {
		if got := (&Options{Duration: span}).interval(); got != want {
			t.Errorf("a point for each %v of %v, want %v", got, span, want)
		}
	}
}

func TestMoreOptionsFaults(t *testing.T) {
	for want, breakIt := range map[string]func(*Options){
		"exclude each other: choose one": func(o *Options) { o.Arrivals, o.UserStages = 1, []arrival.Stage{{To: 1}} },
		"leave them out of an open one":  func(o *Options) { o.Arrivals, o.GreedyLoops = 1, 2 },
		"knows no conversations":         func(o *Options) { o.Trace, o.Turns = []Row{{Context: 1}}, 2 },
		"turns: 51":                      func(o *Options) { o.Turns = 51 },
		"coefficient of variation 1000":  func(o *Options) { o.Arrivals, o.ArrivalsCV = 1, 1000 },
		"arrivals -1":                    func(o *Options) { o.Arrivals = -1 },
		"stage 1 takes -1s":              func(o *Options) { o.RateStages = []arrival.Stage{{Over: -time.Second}} },
		"is no path such as /chat":       func(o *Options) { o.Mix = []Part{{Path: "chat"}} },
		"weight -1":                      func(o *Options) { o.Mix = []Part{{Path: "/chat", Weight: -1}} },
		"1000001 tokens of /chat":        func(o *Options) { o.Mix = []Part{{Path: "/chat", Tokens: 1_000_001}} },
		"101 parts":                      func(o *Options) { o.Mix = make([]Part, 101) },
		"is replayed on":                 func(o *Options) { o.Mix, o.Trace = []Part{{Path: "/chat"}}, []Row{{Context: 1}} },
		"one set of books": func(o *Options) {
			o.Together, o.Judge, o.Targets = true, "http://j", append(o.Targets, Target{Name: "u", URL: "http://u"})
		},
		"users: 0": func(o *Options) { o.UserStages = []arrival.Stage{{Over: time.Second}} },
	} {
		o := Options{Targets: []Target{{Name: "t", URL: "http://127.0.0.1:1/v1"}}, Model: "m", Users: 1, Tokens: 1}
		breakIt(&o)
		if report, err := Run(t.Context(), o); err == nil || report != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
