package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestI2Charges: each meter charges its formula, once.
func TestI2Charges(t *testing.T) {
	t.Parallel()
	prompt := strings.Repeat("é", 1001) // 1,001 characters, 2,002 bytes
	for _, c := range []struct {
		meter, more string
		want        func(u usage) int64
	}{
		{"openai", `"max_tokens":500`, func(usage) int64 { return 500 }},
		{"openai", `"max_completion_tokens":300`, func(usage) int64 { return 300 }},
		{"openai", `"max_tokens":10`, func(usage) int64 { return 251 }},
		{"openai", ``, func(usage) int64 { return 251 }},
		{"azure", `"max_tokens":500`, func(usage) int64 { return 751 }},
		{"azure", `"max_tokens":500,"n":2`, func(usage) int64 { return 1251 }},
		{"usage", `"max_tokens":500`, func(u usage) int64 { return u.Total }},
		{"usage", `"max_tokens":5,"n":3`, func(u usage) int64 { return u.Prompt + 15 }},
	} {
		for _, stream := range []string{`"stream":false`, `"stream":true,"stream_options":{"include_usage":true}`} {
			p := instant(t, Options{Meter: c.meter, Limits: Limits{Requests: 100, Tokens: 100_000, DayTokens: 1e6}})
			more := strings.TrimPrefix(c.more+","+stream, ",")
			res := post(p, chatPath, chat(prompt, more))
			var u *usage
			if strings.Contains(stream, "true") {
				u = collect(t, res.events()).usage
			} else {
				u = parseAnswer(t, res.Body.String()).Usage
			}
			s := p.Stats()
			for i, want := range []int64{1, c.want(*u), c.want(*u)} {
				if got := s.Limits[i].Admitted; got != want {
					t.Errorf("%s %s: charged %d to %s, want %d", c.meter, more, got, s.Limits[i].Name, want)
				}
			}
		}
	}
}

func TestI2FailedRequestsCount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    Options
		left string // requests of a minute, after one that failed
	}{
		{Options{}, "9"},
		{Options{Profile: "azure", Window: WindowBucket, Burst: time.Minute}, "10"},
	} {
		for _, model := range []string{"sim-400", "sim-insufficient_quota", "sim-slow_down"} {
			c.o.Limits.Requests, c.o.Burst = 10, time.Minute
			p := instant(t, c.o)
			res := post(p, chatPath, strings.Replace(chat("x", ""), `"m"`, `"`+model+`"`, 1))
			if got := res.Header().Get("X-Ratelimit-Remaining-Requests"); got != c.left {
				t.Errorf("%s %s: %s requests left, want %s", c.o.Profile, model, got, c.left)
			}
		}
	}
	for free, want := range map[bool]int64{false: 10, true: 11} {
		p := instant(t, Options{
			FreeThrottled: free, Burst: time.Minute, Limits: Limits{Requests: 11, Tokens: 100},
		})
		post(p, chatPath, chat("x", `"max_tokens":90`))
		post(p, chatPath, chat("x", `"max_tokens":90`)) // throttled by tokens
		got := p.books.limits[0].remaining(p.books.now())
		if got != want-1 {
			t.Errorf("free throttles %v: %d requests left, want %d", free, got, want-1)
		}
	}
}

// TestI1NeverOverAdmits drives random traffic through the handler and checks
// the log of answers against the limits, with no use of the books.
func TestI1NeverOverAdmits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom(Windows()).Draw(rt, "kind")
		limit := rapid.Int64Range(60, 100).Draw(rt, "limit")
		seats := rapid.IntRange(1, 8).Draw(rt, "seats")
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(t, Options{
				Seed: seed, Window: kind, Slice: 10 * time.Second, Limits: Limits{Requests: limit, Seats: seats},
				Latency: Latency{Total: 300 * time.Millisecond, Sigma: 0.5},
			})
			starts, most := drive(p, seed, int(limit)*2)
			if most > seats {
				t.Errorf("%d at once, %d seats", most, seats)
			}
			allowed := map[string]int64{
				WindowBucket: limit + limit/10 + 1, WindowSliding: limit, WindowPaced: limit,
				WindowFixed: 2 * limit, WindowSlice: limit + limit/6 + 1,
			}[kind]
			if worst := worstMinute(starts); worst > allowed {
				t.Errorf("%s of %d: %d in a minute, at most %d", kind, limit, worst, allowed)
			}
			if s := p.Stats(); s.Answered != int64(len(starts)) || s.Limits[0].Worst != worstMinute(starts) {
				t.Errorf("books say %d answered and worst %d, the log %d and %d", s.Answered, s.Limits[0].Worst,
					len(starts), worstMinute(starts))
			}
		})
	})
}

// drive sends n requests over about 80 s and returns when those that
// were answered began, and how many ran at once.
func drive(p *Provider, seed uint64, n int) (starts []time.Duration, most int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	rng := rand.New(rand.NewPCG(seed, 1))
	type span struct{ from, to time.Duration }
	var spans []span
	begin := time.Now()
	for range n {
		<-time.After(time.Duration(rng.ExpFloat64() * float64(80*time.Second) / float64(n)))
		from := time.Since(begin)
		wg.Go(func() {
			if post(p, chatPath, chat("x", "")).Code != http.StatusOK {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			spans = append(spans, span{from, time.Since(begin)})
		})
		synctest.Wait() // so that requests arrive in the order of the log
	}
	wg.Wait()
	for _, s := range spans {
		starts = append(starts, s.from)
		at := 0
		for _, o := range spans {
			if o.from <= s.from && s.from < o.to {
				at++
			}
		}
		most = max(most, at)
	}
	return starts, most
}

func worstMinute(starts []time.Duration) int64 {
	worst := int64(0)
	for _, s := range starts {
		n := int64(0)
		for _, o := range starts {
			if o > s-time.Minute && o <= s {
				n++
			}
		}
		worst = max(worst, n)
	}
	return worst
}

// TestI3AbortFreesTheSeat: whenever the client leaves, the seat is free within
// the same moment and the books say so.
func TestI3AbortFreesTheSeat(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		for _, after := range []time.Duration{0, 100 * time.Millisecond, 700 * time.Millisecond, 999 * time.Millisecond} {
			t.Run(fmt.Sprintf("stream %v after %v", stream, after), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					p := newProvider(t, Options{
						Meter: "usage", Output: 100, Latency: Latency{Total: time.Second},
						Limits: Limits{Seats: 1, Tokens: 1e6},
					})
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan struct{})
					go func() {
						defer close(done)
						postContext(ctx, p, chatPath, chat("x", fmt.Sprintf(`"stream":%v`, stream)))
					}()
					<-time.After(after)
					if res := post(p, chatPath, chat("x", "")); res.Code != http.StatusTooManyRequests && after > 0 {
						t.Errorf("second request: status %d while the seat is taken", res.Code)
					}
					left := time.Now()
					cancel()
					<-done
					checkAborted(t, p, time.Since(left), after)
				})
			})
		}
	}
}

func checkAborted(t *testing.T, p *Provider, took, after time.Duration) {
	t.Helper()
	s := p.Stats()
	if after == 0 { // the second request ran to its end first or was throttled
		if s.InFlight != 0 {
			t.Errorf("in flight %d", s.InFlight)
		}
		return
	}
	if s.Aborted != 1 || s.InFlight != 0 || s.Answered != 0 || took > 0 {
		t.Errorf("aborted %d, in flight %d, answered %d, took %v", s.Aborted, s.InFlight, s.Answered, took)
	}
	want := int64(100 * (after - 300*time.Millisecond) / (700 * time.Millisecond))
	if after < 300*time.Millisecond {
		want = 0
	}
	if math.Abs(float64(s.Produced-want)) > 5 || s.Output != 0 || s.Prompt != 0 {
		t.Errorf("produced %d, want about %d; reported %d and %d", s.Produced, want, s.Prompt, s.Output)
	}
	if charged := s.Limits[0].Admitted - s.Produced; charged != 4+1 {
		t.Errorf("charged %d beyond what was produced, want the prompt's 5", charged)
	}
	if res := post(p, chatPath, chat("x", "")); res.Code != http.StatusOK {
		t.Errorf("next request: status %d", res.Code)
	}
}

// TestI4SameSeedSameAnswers also shows that another seed answers otherwise.
func TestI4SameSeedSameAnswers(t *testing.T) {
	t.Parallel()
	transcript := func(seed uint64) (out []string) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(t, Options{Seed: seed, Limits: Limits{Requests: 60, Seats: 2}})
			for i := range 8 {
				start := time.Now()
				res := post(p, chatPath, chat(fmt.Sprintf("question %d", i%3), fmt.Sprintf(`"stream":%v`, i%2 == 1)))
				out = append(out, fmt.Sprint(res.Code, time.Since(start), res.Header(), res.Body))
			}
		})
		return out
	}
	first := transcript(7)
	if diff := cmp.Diff(first, transcript(7)); diff != "" {
		t.Error(diff)
	}
	for i, other := range transcript(8) {
		if first[i] == other {
			t.Errorf("answer %d is the same for another seed", i)
		}
	}
}

// TestI5StatsEqualTheLog counts everything on the client's side.
func TestI5StatsEqualTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, Options{
			Seed: 5, Limits: Limits{Requests: 300, Tokens: 40_000, Seats: 6}, Latency: Latency{Total: time.Second, Sigma: 0.4},
			Faults: []Fault{
				{Kind: FaultStatus, Status: 500, Probability: 0.1},
				{Kind: FaultCut, Probability: 0.1, AfterChunks: 3},
				{Kind: FaultHang, Every: 50},
			},
		})
		log := newLog()
		rng := rand.New(rand.NewPCG(5, 5))
		var wg sync.WaitGroup
		for i := range 600 {
			<-time.After(time.Duration(rng.ExpFloat64() * float64(150*time.Millisecond)))
			patience := 10 * time.Second
			if rng.IntN(5) == 0 {
				patience = time.Duration(rng.Int64N(int64(time.Second))) + 1
			}
			wg.Go(func() { log.request(t.Context(), p, i, patience) })
		}
		wg.Wait()
		log.compare(t, p.Stats())
	})
}

// clientLog is what the clients saw.
type clientLog struct {
	mu             sync.Mutex
	statuses       map[string]int64
	prompt, output int64
	finished, cut  int64
}

func newLog() *clientLog { return &clientLog{statuses: map[string]int64{}} }

func (l *clientLog) request(ctx context.Context, p *Provider, i int, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream := i%2 == 0
	more := `"max_tokens":400`
	if stream {
		more += `,"stream":true,"stream_options":{"include_usage":true}`
	}
	res := postContext(ctx, p, chatPath, chat("x", more))
	l.mu.Lock()
	defer l.mu.Unlock()
	text := res.Body.String()
	if text == "" && !res.Flushed {
		return // no answer came
	}
	l.statuses[fmt.Sprint(res.Code)]++
	if res.aborted {
		l.cut++
	}
	var u usage
	if i := strings.LastIndex(text, `"usage":{`); i >= 0 && json.NewDecoder(strings.NewReader(text[i+8:])).Decode(&u) == nil {
		l.finished++
		l.prompt += u.Prompt
		l.output += u.Completion
	}
}

func (l *clientLog) compare(t *testing.T, s Stats) {
	t.Helper()
	if diff := cmp.Diff(l.statuses, s.Statuses); diff != "" {
		t.Errorf("statuses: %s", diff)
	}
	if s.Answered != l.finished || s.Prompt != l.prompt || s.Output != l.output || s.Faults[FaultCut] < l.cut {
		t.Errorf("books %+v, clients finished %d, tokens %d and %d, cut %d", s, l.finished, l.prompt, l.output, l.cut)
	}
	if s.Requests != 600 || s.Accepted != s.Answered+s.Aborted+s.Faulted || s.InFlight != 0 {
		t.Errorf("requests %d, accepted %d is not answered %d + aborted %d + faulted %d", s.Requests, s.Accepted, s.Answered,
			s.Aborted, s.Faulted)
	}
	if s.Requests != s.Accepted+s.Throttled || s.Throttled != s.Statuses["429"] || s.Aborted == 0 || s.Faulted == 0 || s.Throttled == 0 {
		t.Errorf("throttled %d, aborted %d, faulted %d of %d", s.Throttled, s.Aborted, s.Faulted, s.Requests)
	}
	perMinute := int64(0)
	for _, n := range s.PerMinute {
		perMinute += n
	}
	if perMinute != s.Throttled || s.Metered != 400*s.Accepted {
		t.Errorf("throttles per minute %v sum to %d of %d; charged %d", s.PerMinute, perMinute, s.Throttled, s.Metered)
	}
}

func TestResetKeepsTheWindows(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Window: WindowSliding, Limits: Limits{Requests: 2}})
	for range 3 {
		post(p, chatPath, chat("x", ""))
	}
	post(p, "/sim/reset", "")
	if s := p.Stats(); s.Accepted != 0 || s.Throttled != 0 || s.Limits[0].Admitted != 0 || len(s.Statuses) != 0 {
		t.Errorf("books after reset: %+v", s)
	}
	if res := post(p, chatPath, chat("x", "")); res.Code != http.StatusTooManyRequests {
		t.Errorf("status %d: the reset emptied the window", res.Code)
	}
	post(p, "/sim/reset?fresh=true", "")
	if res := post(p, chatPath, chat("x", "")); res.Code != http.StatusOK {
		t.Errorf("status %d after a fresh start", res.Code)
	}
}

func TestFirstSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := instant(t, Options{Window: WindowSliding, Limits: Limits{Requests: 1}})
		for range 4 {
			post(p, chatPath, chat("x", ""))
			<-time.After(400 * time.Millisecond)
		}
		<-time.After(57 * time.Second)
		post(p, chatPath, chat("x", ""))
		s := p.Stats()
		if s.FirstSecond != 2 || s.Throttled != 4 || !cmp.Equal(s.PerMinute, []int64{4}) {
			t.Errorf("first second %d of %d, per minute %v", s.FirstSecond, s.Throttled, s.PerMinute)
		}
	})
}
