package load

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// near reports whether got milliseconds are want but for the histogram's rounding.
func near(got, want float64) bool { return got >= want*0.999 && got <= want*1.002 }

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, answer)
		o.Users, o.Think, o.Duration, o.MaxTokens, o.Key, o.Class = 10, 3*time.Second, 59*time.Second, 99, "sk-secret", "batch"
		begun := time.Now()
		r := runOne(t, o)
		// One second of answer and three of thinking: starts at 0, 4, .. 56.
		if r.Started != 150 || r.Answered != 150 || r.Fairness != (Fairness{Users: 10, Jain: 1, LeastAnswers: 15, MostAnswers: 15}) {
			t.Errorf("%+v", r)
		}
		if s := r.Latency; s.Count != 150 || !near(s.P50, 1000) || !near(s.P99, 1000) || !near(s.Max, 1000) || !near(s.Mean, 1000) {
			t.Errorf("latency %+v, want 1 s", s)
		}
		if r.PromptTokens != 150*50 || r.CompletionTokens != 150*10 || r.Users[3].User != "user-003" || r.Users[3].Asked != 15 || r.Users[3].Answers != 15 || r.Users[3].Cost != 900 {
			t.Errorf("%d prompt and %d completion tokens, %+v", r.PromptTokens, r.CompletionTokens, r.Users[3])
		}
		if !near(r.AnswersPerSecond, 150./59) || !near(r.TokensPerSecond, 150*60./59) {
			t.Errorf("%v answers and %v tokens a second", r.AnswersPerSecond, r.TokensPerSecond)
		}
		if took := time.Since(begun); took != 59*time.Second {
			t.Errorf("the run took %v", took)
		}
		for _, s := range x.requests {
			if name := s.Header.Get("Millrace-User"); name != s.User || len(name) != len("user-000") {
				t.Fatalf("user %q in the header, %q in the body", name, s.User)
			}
		}
		checkRequest(t, x.requests[0])
	})
}

func checkRequest(t *testing.T, s seen) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(s.Body), &body); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"model": "m", "user": s.User, "max_tokens": 99.,
		"messages": []any{map[string]any{"role": "user", "content": s.Prompt}},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"Authorization": "Bearer sk-secret", "Millrace-Class": "batch", "Sim-Output-Tokens": ""} {
		if got := s.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// perUser counts requests by user.
func perUser(x *target) map[string]int {
	n := map[string]int{}
	for _, s := range x.requests {
		n[s.User]++
	}
	return n
}

func TestGreedyAndPaced(t *testing.T) {
	for _, c := range []struct {
		name           string
		set            func(*Options)
		greedy, others int // requests in 59 s, each answered after 1 s
		told           bool
	}{
		{"all alike", func(*Options) {}, 15, 15, false},
		{"loops without thinking", func(o *Options) { o.GreedyLoops = 4 }, 4 * 59, 15, true},
		{"ten times as often", func(o *Options) { o.GreedyFactor = 10 }, 150, 15, true},
		{"paced", func(o *Options) { o.PacedRate = 0.1 }, 6, 6, false},
		{"paced faster than answered", func(o *Options) { o.PacedRate = 10 }, 59, 59, false},
		{"loops, the others paced", func(o *Options) { o.GreedyLoops, o.PacedRate = 2, 0.1 }, 2 * 59, 6, true},
		{"paced and ten times", func(o *Options) { o.GreedyFactor, o.PacedRate = 10, 0.1 }, 60, 6, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, o := start(t, answer)
				o.Users, o.Think, o.Duration = 3, 3*time.Second, 58*time.Second+500*time.Millisecond
				c.set(&o)
				r := runOne(t, o)
				want := map[string]int{"user-000": c.greedy, "user-001": c.others, "user-002": c.others}
				if diff := cmp.Diff(want, perUser(x)); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				if (r.Others != nil) != c.told || (r.Greedy != nil) != c.told {
					t.Fatalf("others %v, greedy %v", r.Others, r.Greedy)
				}
				if c.told && (r.Others.Count != int64(2*c.others) || r.Greedy.Count != int64(c.greedy) || r.Fairness.Users != 2 || r.Fairness.Jain != 1) {
					t.Errorf("others %+v greedy %+v fairness %+v", r.Others, r.Greedy, r.Fairness)
				}
			})
		})
	}
}

func TestErrorsAreNotAskedForFasterThanTheyHurt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, func(w http.ResponseWriter, _ *http.Request, _ seen) { w.WriteHeader(http.StatusTooManyRequests) })
		o.Users, o.Duration = 2, time.Second-time.Millisecond
		r := runOne(t, o)
		if r.Errors != 20 || r.Answered != 0 || r.Fairness.Jain != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestRampAndThinkAreRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, answer)
		o.Users, o.Think, o.ThinkFixed, o.Ramp, o.Duration, o.TokensSigma, o.Tokens = 200, 3*time.Second, false, 0, time.Minute, 0.3, 600
		begun := time.Now()
		r := runOne(t, o)
		early, late, first := 0, 0, map[string]bool{}
		tokens := 0
		for _, s := range x.requests {
			tokens += len(s.Prompt) / charsPerToken
			if first[s.User] {
				continue
			}
			first[s.User] = true
			if after := s.At.Sub(begun); after < 1500*time.Millisecond {
				early++
			} else if after < 3*time.Second {
				late++
			}
		}
		if early+late != 200 || early < 70 || late < 70 {
			t.Errorf("%d users began in the first half of the think time, %d in the second", early, late)
		}
		if mean := 200 * 60 / float64(r.Started); mean < 3.8 || mean > 4.2 {
			t.Errorf("a cycle takes %v s on average, want 4", mean)
		}
		if mean := float64(tokens) / float64(r.Started); mean < 590 || mean > 610 {
			t.Errorf("%v tokens a prompt, want 600", mean)
		}
	})
}

func TestUntilAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
			if strings.HasSuffix(s.User, "2") {
				pause(r, 4*time.Second)
			}
			answer(w, r, s)
		})
		o.Users, o.UntilAnswers, o.WarmUp = 3, 20, 10*time.Second
		begun := time.Now()
		r := runOne(t, o)
		if r.Fairness.LeastAnswers != 20 || r.Fairness.MostAnswers < 100 || r.WarmUp != 22 {
			t.Errorf("%+v, %d in the warm-up", r.Fairness, r.WarmUp)
		}
		if took := time.Since(begun); took < 110*time.Second || took > 112*time.Second {
			t.Errorf("the run took %v, want 22 answers of 5 s", took)
		}
	})
}

func TestReplay(t *testing.T) {
	rows := []Row{{Context: 100, Generated: 7}, {At: 2 * time.Second, Context: 200, Generated: 8}, {At: 2 * time.Second, Context: 300, Generated: 9}, {At: 60 * time.Second, Context: 10}}
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
			pause(r, 10*time.Second)
			answer(w, r, s)
		})
		o.Trace, o.Speed, o.TraceUsers = rows, 2, 3
		begun := time.Now()
		r := runOne(t, o)
		if r.Answered != 4 || !near(r.Latency.Max, 22000) || r.Seconds != 60 {
			t.Errorf("%+v", r)
		}
		var got []string
		for _, s := range x.requests {
			got = append(got, fmt.Sprintf("%v %s %d %s", s.At.Sub(begun), s.User, len(s.Prompt), s.Header.Get("Sim-Output-Tokens")))
		}
		want := []string{"0s user-000 400 7", "1s user-001 800 8", "1s user-002 1200 9", "30s user-000 40 "}
		if got[1] > got[2] {
			got[1], got[2] = got[2], got[1]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestReplayLeavesOutWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
			pause(r, 10*time.Second)
			answer(w, r, s)
		})
		for i := range 20 {
			o.Trace = append(o.Trace, Row{At: time.Duration(i) * time.Second, Context: 10})
		}
		o.MaxInFlight = 5
		r := runOne(t, o)
		if r.Started != 10 || r.Unsent != 10 || r.Answered != 10 || x.most != 5 {
			t.Errorf("%d started, %d unsent, %d answered, %d at once", r.Started, r.Unsent, r.Answered, x.most)
		}
	})
}

func TestReplayEndsWithTheDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, answer)
		for i := range 100 {
			o.Trace = append(o.Trace, Row{At: time.Duration(i) * time.Second, Context: 10})
		}
		o.WarmUp, o.Duration = 10*time.Second-time.Millisecond, 20*time.Second
		r := runOne(t, o)
		if r.Started != 30 || r.WarmUp != 10 || r.Answered != 20 {
			t.Errorf("%d started, %d in the warm-up, %d answered", r.Started, r.WarmUp, r.Answered)
		}
	})
}

func TestTargetsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, answer)
		o.Targets = append(o.Targets, Target{Name: "u", URL: o.Targets[0].URL + "/"})
		o.Think, o.Duration, o.Pause = time.Second, 10*time.Second-time.Millisecond, time.Minute
		report, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Targets) != 2 || report.Targets[0].Answered != 5 || report.Targets[1].Answered != 5 || report.Targets[1].Target != "u" {
			t.Errorf("%+v", report)
		}
		if gap := x.requests[5].At.Sub(x.requests[0].At); gap != 70*time.Second-time.Millisecond {
			t.Errorf("the second target is asked %v after the first", gap)
		}
		for i := range 5 {
			if x.requests[i].Body != x.requests[5+i].Body {
				t.Errorf("request %d of the targets is not the same", i)
			}
		}
	})
}
