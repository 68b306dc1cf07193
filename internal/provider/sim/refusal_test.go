package sim

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// limitHeaders are those of a response that a pacer reads.
func limitHeaders(h http.Header) map[string]string {
	out := map[string]string{}
	for key, values := range h {
		if strings.HasPrefix(key, "X-Ratelimit") || strings.HasPrefix(key, "Retry-After") {
			out[key] = values[0]
		}
	}
	return out
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	limits := Limits{Requests: 600, Tokens: 60_000}
	for _, c := range []struct {
		name   string
		o      Options
		first  map[string]string
		second map[string]string // throttled: the tokens are spent
	}{
		{
			name: "openai bucket", o: Options{Limits: limits},
			first: map[string]string{
				"X-Ratelimit-Limit-Requests": "600", "X-Ratelimit-Remaining-Requests": "59", "X-Ratelimit-Reset-Requests": "100ms",
				"X-Ratelimit-Limit-Tokens": "60000", "X-Ratelimit-Remaining-Tokens": "500", "X-Ratelimit-Reset-Tokens": "5.5s",
			},
			second: map[string]string{
				"X-Ratelimit-Limit-Requests": "600", "X-Ratelimit-Remaining-Requests": "58", "X-Ratelimit-Reset-Requests": "200ms",
				"X-Ratelimit-Limit-Tokens": "60000", "X-Ratelimit-Remaining-Tokens": "500", "X-Ratelimit-Reset-Tokens": "5.5s",
				"Retry-After": "5", "Retry-After-Ms": "5000",
			},
		},
		{
			name: "openai sliding", o: Options{Limits: limits, Window: WindowSliding},
			first: map[string]string{
				"X-Ratelimit-Limit-Requests": "600", "X-Ratelimit-Remaining-Requests": "599", "X-Ratelimit-Reset-Requests": "1m0s",
				"X-Ratelimit-Limit-Tokens": "60000", "X-Ratelimit-Remaining-Tokens": "54500", "X-Ratelimit-Reset-Tokens": "1m0s",
			},
		},
		{
			name: "azure", o: Options{Profile: "azure", Limits: Limits{Requests: 600, Tokens: 6000}},
			first:  map[string]string{"X-Ratelimit-Remaining-Requests": "99", "X-Ratelimit-Remaining-Tokens": "499"},
			second: map[string]string{"X-Ratelimit-Remaining-Requests": "99", "X-Ratelimit-Remaining-Tokens": "499", "Retry-After": "60", "Retry-After-Ms": "60000"},
		},
		{name: "hidden", o: Options{Limits: limits, HideLimits: true, HideRetryAfter: true}, first: map[string]string{}, second: map[string]string{}},
		{name: "vllm", o: Options{Profile: "vllm", Limits: limits}, first: map[string]string{}},
		{name: "unlimited", first: map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // the clock begins at a full minute
				p := instant(t, c.o)
				body := chat("x", `"max_tokens":5500`)
				for i, want := range []map[string]string{c.first, c.second} {
					if want == nil {
						continue
					}
					res := post(p, chatPath, body)
					if diff := cmp.Diff(want, limitHeaders(res.Header())); diff != "" {
						t.Errorf("answer %d, status %d: %s", i, res.Code, diff)
					}
				}
			})
		})
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, Options{Latency: Latency{Total: 250 * time.Millisecond}, Output: 1})
		res := post(p, chatPath, chat("x", ""), "X-Client-Request-Id", "mine")
		for key, want := range map[string]string{
			"X-Client-Request-Id": "mine", "Openai-Version": "2020-10-01", "Openai-Processing-Ms": "250",
		} {
			if got := res.Header().Get(key); got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		first := res.Header().Get("X-Request-Id")
		if second := post(p, chatPath, chat("x", "")).Header().Get("X-Request-Id"); first == "" || first == second {
			t.Errorf("request ids %q and %q", first, second)
		}
	})
}

func TestThrottleBodies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    Options
		n    int // requests before the one that is refused
		more string
		want refusal
	}{
		{
			name: "tokens", o: Options{Limits: Limits{Tokens: 60_000}}, n: 1, more: `"max_tokens":4000`,
			want: refusal{
				status: 429, kind: "tokens", code: codeRateLimit,
				message: "Rate limit reached for m in organization org-sim on tokens per min (TPM): Limit 60000, Used 58000, " +
					"Requested 4000. Please try again in 2s. Visit https://platform.openai.com/account/rate-limits to learn more.",
			},
		},
		{
			name: "requests", o: Options{Limits: Limits{Requests: 10}}, n: 1,
			want: refusal{
				status: 429, kind: "requests", code: codeRateLimit,
				message: "Rate limit reached for m in organization org-sim on requests per min (RPM): Limit 10, Used 10, " +
					"Requested 1. Please try again in 6s. Visit https://platform.openai.com/account/rate-limits to learn more.",
			},
		},
		{
			name: "requests a day", o: Options{Limits: Limits{DayRequests: 1}}, n: 1,
			want: refusal{
				status: 429, kind: "requests", code: codeRateLimit,
				message: "Rate limit reached for m in organization org-sim on requests per day (RPD): Limit 1, Used 1, Requested 1. " +
					"Please try again in 24h0m0s. Visit https://platform.openai.com/account/rate-limits to learn more.",
			},
		},
		{
			name: "too large", o: Options{Limits: Limits{Tokens: 1000}}, more: `"max_tokens":1001`,
			want: refusal{
				status: 429, kind: "tokens", code: codeRateLimit,
				message: "Request too large for m in organization org-sim on tokens per min (TPM): Limit 1000, Requested 1001. " +
					"The input or output tokens must be reduced in order to run successfully.",
			},
		},
		{
			name: "ramp", o: Options{Ramp: Ramp{Above: 2}}, n: 3,
			want: refusal{status: 429, kind: "requests", code: codeSlowDown, message: slowDownMessage},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := instant(t, c.o)
				for range c.n {
					if res := post(p, chatPath, chat("x", c.more)); res.Code != http.StatusOK {
						t.Fatalf("status %d: %s", res.Code, res.Body)
					}
				}
				res := post(p, chatPath, chat("x", c.more))
				if want := string(p.errorBody(c.want)); res.Code != c.want.status || res.Body.String() != want {
					t.Errorf("status %d: %s\nwant %d: %s", res.Code, res.Body, c.want.status, want)
				}
				if wait := res.Header().Get("Retry-After-Ms"); (wait == "") != (c.name == "too large") {
					t.Errorf("Retry-After-Ms %q", wait)
				}
			})
		})
	}
}

// TestRetryAfterIsEnough: who waits as told is admitted, in every kind.
func TestRetryAfterIsEnough(t *testing.T) {
	t.Parallel()
	for _, kind := range Windows() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := instant(t, Options{Window: kind, FreeThrottled: true, Limits: Limits{Requests: 61, Tokens: 100_003}})
				throttled := 0
				for range 200 {
					res := post(p, chatPath, chat("x", `"max_tokens":1500`))
					if res.Code == http.StatusOK {
						continue
					}
					throttled++
					wait, err := time.ParseDuration(res.Header().Get("Retry-After-Ms") + "ms")
					if err != nil {
						t.Fatal(err)
					}
					<-time.After(wait)
					if again := post(p, chatPath, chat("x", `"max_tokens":1500`)); again.Code != http.StatusOK {
						t.Fatalf("after %v: %s", wait, again.Body)
					}
				}
				if throttled == 0 {
					t.Error("nothing was throttled")
				}
			})
		})
	}
}

func TestVLLMBodies(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Profile: "vllm", Context: 10})
	res := post(p, chatPath, chat("many words that do not fit the context of the model", ""))
	want := `"type":"BadRequestError","param":null,"code":400}}`
	if res.Code != http.StatusBadRequest || !strings.HasSuffix(res.Body.String(), want) {
		t.Errorf("status %d: %s", res.Code, res.Body)
	}
}

// TestVLLMQueue: requests over the seats wait in order, those over the queue
// get a 503, and one that leaves the queue frees its place.
func TestVLLMQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, Options{Profile: "vllm", Queue: 2, Limits: Limits{Seats: 1}, Latency: Latency{Total: time.Second}})
		order := make(chan int, 4)
		start := func(i int, leave time.Duration) {
			go func() {
				ctx, cancel := contextFor(t, leave)
				defer cancel()
				if postContext(ctx, p, chatPath, chat("x", "")).Body.Len() > 0 {
					order <- i
				}
			}()
			synctest.Wait()
		}
		start(1, time.Hour)
		start(2, 500*time.Millisecond)
		start(3, time.Hour)
		if s := p.Stats(); s.InFlight != 1 || s.Waiting != 2 {
			t.Errorf("in flight %d, waiting %d", s.InFlight, s.Waiting)
		}
		if res := post(p, chatPath, chat("x", "")); res.Code != http.StatusServiceUnavailable {
			t.Errorf("over the queue: status %d", res.Code)
		}
		<-time.After(600 * time.Millisecond)
		start(4, time.Hour)
		begin := time.Now()
		got := []int{<-order, <-order, <-order}
		if diff := cmp.Diff([]int{1, 3, 4}, got); diff != "" || time.Since(begin).Round(time.Millisecond) != 2400*time.Millisecond {
			t.Errorf("after %v: %s", time.Since(begin), diff)
		}
		synctest.Wait()
		if s := p.Stats(); s.InFlight != 0 || s.Waiting != 0 || s.MostFlight != 1 || s.Aborted != 1 || s.By["seats"] != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestRampGrowsByHalf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := instant(t, Options{Ramp: Ramp{Above: 100}})
		body := chat(strings.Repeat("word", 10), "") // 10 input tokens
		minute := func() (admitted int) {
			for range 60 {
				if post(p, chatPath, body).Code == http.StatusOK {
					admitted++
				}
				<-time.After(time.Second)
			}
			return admitted
		}
		var got []int
		for range 4 {
			got = append(got, minute())
			<-time.After(14 * time.Minute)
		}
		if diff := cmp.Diff([]int{15, 22, 33, 49}, got); diff != "" {
			t.Error(diff)
		}
	})
}
