package sim

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestChatReply(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Output: 40})
	res := post(p, chatPath, chat("Hello, how are you today?", ""))
	if res.Code != http.StatusOK || res.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, type %q", res.Code, res.Header().Get("Content-Type"))
	}
	c := parseAnswer(t, res.Body.String())
	if c.Object != "chat.completion" || !strings.HasPrefix(c.ID, "chatcmpl-") {
		t.Errorf("object %q, id %q", c.Object, c.ID)
	}
	got := c.Choices[0]
	if got.Message.Role != "assistant" || *got.Finish != "stop" || len(got.Message.Content) < 100 {
		t.Errorf("choice %+v", got)
	}
	if c.Usage.Completion != 40 || c.Usage.Total != c.Usage.Prompt+40 || c.Usage.Prompt < 8 || c.Usage.Prompt > 14 {
		t.Errorf("usage %+v", c.Usage)
	}
}

func TestStreamEqualsReply(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{
		"prose": "", "two choices": `"n":2`, "bounded": `"max_tokens":7`,
		"tool":   `"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}}}]`,
		"schema": `"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"array","items":{"type":"integer"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := parseAnswer(t, post(instant(t, Options{}), chatPath, chat("Hello", more)).Body.String())
			if more != "" {
				more += ","
			}
			body := chat("Hello", more+`"stream":true,"stream_options":{"include_usage":true}`)
			res := post(instant(t, Options{}), chatPath, body)
			if got := res.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
				t.Errorf("type %q", got)
			}
			events := res.events()
			got := collect(t, events)
			want := collected{done: true, finish: *whole.Choices[0].Finish, usage: whole.Usage, chunks: got.chunks}
			for _, c := range whole.Choices {
				want.content += c.Message.Content
				for _, call := range c.Message.Calls {
					want.tool += call.Function.Name
					want.arguments += call.Function.Arguments
				}
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(collected{})); diff != "" {
				t.Error(diff)
			}
			usageLast(t, events)
		})
	}
}

// usageLast: every chunk carries usage null, the last before [DONE] carries
// it with no choices.
func usageLast(t *testing.T, events []string) {
	t.Helper()
	for i, e := range events[:len(events)-1] {
		last := i == len(events)-2
		if has := strings.Contains(e, `"usage":null`); has == last {
			t.Errorf("event %d of %d: usage null is %v", i, len(events), has)
		}
		if last && !strings.Contains(e, `"choices":[]`) {
			t.Errorf("last event has choices: %s", e)
		}
	}
}

func TestStreamWithoutUsage(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{})
	res := post(p, chatPath, chat("Hello", `"stream":true`))
	if strings.Contains(res.Body.String(), "usage") || !strings.HasSuffix(res.Body.String(), "data: [DONE]\n\n") {
		t.Errorf("stream %s", res.Body.String())
	}
	if s := p.Stats(); s.Streams != 1 || s.StreamsDone != 1 || s.Output != 0 || s.Produced == 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Output: 20})
	whole := parseAnswer(t, post(p, "/v1/completions", `{"model":"m","prompt":"Once upon"}`).Body.String())
	res := post(p, "/v1/completions", `{"model":"m","prompt":["Once upon"],"stream":true}`)
	got := collect(t, res.events())
	if whole.Object != "text_completion" || whole.Choices[0].Text == "" || got.content != whole.Choices[0].Text {
		t.Errorf("whole %+v, streamed %q", whole, got.content)
	}
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Seed: 3})
	var list struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
		Usage usage
	}
	fetch := func(more string) {
		list.Data = nil
		res := post(p, "/v1/embeddings", `{"model":"m","input":["a stone","a river"]`+more+`}`)
		if err := json.Unmarshal(res.Body.Bytes(), &list); err != nil {
			t.Fatalf("%v in %s", err, res.Body)
		}
	}
	fetch("")
	var plain [2][]float32
	for i, d := range list.Data {
		if err := json.Unmarshal(d.Embedding, &plain[i]); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, x := range plain[i] {
			sum += float64(x) * float64(x)
		}
		if len(plain[i]) != 256 || math.Abs(sum-1) > 1e-5 || d.Index != i {
			t.Errorf("vector %d: %d numbers, length² %v", d.Index, len(plain[i]), sum)
		}
	}
	if cmp.Equal(plain[0], plain[1]) || list.Usage.Prompt != 4 {
		t.Errorf("vectors of different texts are equal, or usage %+v is not 2 tokens each", list.Usage)
	}
	fetch(`,"encoding_format":"base64"`)
	if got := decodeVector(t, list.Data[1].Embedding); !cmp.Equal(got, plain[1]) {
		t.Errorf("base64 differs: %v", cmp.Diff(plain[1], got))
	}
	fetch(`,"encoding_format":"base64","dimensions":12`)
	if got := decodeVector(t, list.Data[0].Embedding); len(got) != 12 {
		t.Errorf("%d numbers, want 12", len(got))
	}
}

func decodeVector(t *testing.T, raw json.RawMessage) []float32 {
	t.Helper()
	bytes, err := base64.StdEncoding.DecodeString(unquote(raw))
	if err != nil {
		t.Fatal(err)
	}
	var out []float32
	for ; len(bytes) >= 4; bytes = bytes[4:] {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(bytes)))
	}
	return out
}

func TestOtherRoutes(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Profile: "azure", Models: []string{"one"}, Keys: []string{"k"}})
	get := func(path string, headers ...string) result {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, req)
		return result{ResponseRecorder: rec}
	}
	for _, c := range []struct {
		got    result
		status int
		text   string
	}{
		{get("/healthz"), 200, "ok"},
		{get("/v1/models"), 401, "invalid_api_key"},
		{get("/v1/models", "Authorization", "Bearer k"), 200, `"id":"one"`},
		{get("/v1/models/one", "Api-Key", "k"), 200, `"id":"one"`},
		{get("/v1/models/two", "Api-Key", "k"), 404, "model_not_found"},
		{get("/sim/stats"), 200, `"profile":"azure"`},
		{post(p, "/openai/deployments/dep/chat/completions?api-version=x", chat("x", ""), "Api-Key", "k"), 200, `"model":"dep"`},
		{post(p, chatPath, chat("x", "")), 401, "invalid_api_key"},
		{post(p, "/sim/fault", `[{"kind":"nothing"}]`), 400, "not known"},
		{post(p, "/sim/fault", `{"rules":`), 400, "error"},
		{post(p, "/sim/fault", `{"rules":[{"kind":"status","status":503,"to":"1h"}]}`), 200, "ok"},
		{post(p, chatPath, chat("x", ""), "Api-Key", "k"), 503, "overloaded"},
		{post(p, "/sim/fault", `[]`), 200, "ok"},
		{post(p, chatPath, chat("x", ""), "Api-Key", "k"), 200, "m"},
	} {
		if c.got.Code != c.status || !strings.Contains(c.got.Body.String(), c.text) {
			t.Errorf("status %d, want %d with %q: %s", c.got.Code, c.status, c.text, c.got.Body)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Context: 100})
	big := strings.Repeat("x", maxBody+1)
	for _, c := range []struct {
		body   string
		status int
		text   string
	}{
		{`{`, 400, "parse"},
		{``, 400, "parse"},
		{`[]`, 400, "parse"},
		{`{"model":"m","messages":[{}]}{}`, 400, "parse"},
		{strings.Repeat(`[`, 5000), 400, "parse"},
		{`{"messages":[{"role":"user","content":"x"}]}`, 400, "model"},
		{`{"model":"m"}`, 400, "messages"},
		{`{"model":"m","messages":"x"}`, 400, "messages"},
		{chat(strings.Repeat("word ", 200), ""), 400, codeContext},
		{chat(big, ""), 413, "too large"},
	} {
		res := post(p, chatPath, c.body)
		if res.Code != c.status || !strings.Contains(res.Body.String(), c.text) {
			t.Errorf("%.60s: status %d, want %d with %q: %s", c.body, res.Code, c.status, c.text, res.Body)
		}
	}
	if s := p.Stats(); s.Accepted != 0 || s.Requests != 10 {
		t.Errorf("requests %d, accepted %d", s.Requests, s.Accepted)
	}
}

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
		limit := rapid.Int64Range(60, 150).Draw(rt, "limit")
		seats := rapid.IntRange(1, 8).Draw(rt, "seats")
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(t, Options{
				Seed: seed, Window: kind, Slice: 10 * time.Second, Limits: Limits{Requests: limit, Seats: seats},
				Latency: Latency{Total: 300 * time.Millisecond, Sigma: 0.5},
			})
			starts, most := drive(p, seed, int(limit)*3)
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

// drive sends n requests over about two minutes and returns when those that
// were answered began, and how many ran at once.
func drive(p *Provider, seed uint64, n int) (starts []time.Duration, most int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	rng := rand.New(rand.NewPCG(seed, 1))
	type span struct{ from, to time.Duration }
	var spans []span
	begin := time.Now()
	for range n {
		<-time.After(time.Duration(rng.ExpFloat64() * float64(2*time.Minute) / float64(n)))
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
				{Kind: FaultStatus, Status: 500, Probability: 0.1}, {Kind: FaultCut, Probability: 0.1, AfterChunks: 3},
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
