package dispatch

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

func TestThrottleNamesItsDimension(t *testing.T) {
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	for name, c := range map[string]struct {
		err    llm.Error
		header http.Header
		want   quota.DimSet
	}{
		"tokens in words":     {err: llm.Error{Message: "Rate limit reached for m on tokens per min (TPM): Limit 1, Used 1, Requested 1."}, want: anyTokens},
		"input in words":      {err: llm.Error{Message: "your rate limit of 50,000 input tokens per minute", Type: "rate_limit_error"}, want: quota.Dims(quota.Input)},
		"output in words":     {err: llm.Error{Message: "on output tokens per min (OTPM)"}, want: quota.Dims(quota.Output)},
		"requests in words":   {err: llm.Error{Message: "on Requests per min (RPM)", Type: "tokens"}, want: requestDims},
		"Azure":               {err: llm.Error{Message: "have exceeded token rate limit of your current pricing tier"}, want: anyTokens},
		"type of tokens":      {err: llm.Error{Message: "slow", Type: "tokens"}, want: anyTokens},
		"type of requests":    {err: llm.Error{Message: "slow", Type: "requests"}, want: requestDims},
		"nothing remains":     {err: llm.Error{Message: "slow"}, header: header("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Remaining-Tokens", "7"), want: requestDims},
		"nothing of both":     {err: llm.Error{Message: "slow"}, header: header("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Remaining-Tokens", "0"), want: requestDims | anyTokens},
		"nobody says":         {err: llm.Error{Message: "slow", Type: "rate_limit_error"}, header: header("X-Ratelimit-Remaining-Requests", "3")},
		"type before headers": {err: llm.Error{Message: "slow", Type: "tokens"}, header: header("X-Ratelimit-Remaining-Requests", "0"), want: anyTokens},
	} {
		if got := throttled(&c.err, backoff.ReadLimits(time.Now(), c.header)); got != c.want {
			t.Errorf("%s: dimensions %b, want %b", name, got, c.want)
		}
	}
}

// taught is a Dispatcher over one upstream of 600 requests and 600,000 tokens a
// minute, whose calls end as answer says.
func taught(t *testing.T, answer func(n int) *exchange) (states func() []quota.State, ask func() flow.Outcome) {
	t.Helper()
	control, err := admission.New(admission.Options{
		Upstreams: []gate.Upstream{{Name: "only", Quota: quota.Options{Limits: []quota.Limit{
			{Dim: quota.Requests, Max: 600, Span: time.Minute},
			{Dim: quota.Total, Max: 600_000, Span: time.Minute},
		}}}},
		Routes: []gate.Route{{Upstreams: []int{0}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	p := &provider{make: answer}
	d, err := New(Options{Upstreams: []Upstream{{Name: "only"}}}, Deps{Admission: control, Providers: []Provider{p}})
	if err != nil {
		t.Fatal(err)
	}
	return func() []quota.State { return control.Snapshot().Upstreams[0].Windows },
		func() flow.Outcome { return d.Do(t.Context(), request(0, false), &client{t: t}) }
}

// A throttle teaches only the window it was about: requests go on at their pace
// when it was tokens that ran out.
func TestThrottleTeachesTheRightWindow(t *testing.T) {
	for typ, learner := range map[string]quota.Dim{"requests": quota.Requests, "tokens": quota.Total} {
		t.Run(typ, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				states, ask := taught(t, func(n int) *exchange {
					if n > 0 {
						return whole(n)
					}
					return &exchange{atStart: func(context.Context) error {
						e := failure(llm.KindThrottle)
						e.Type, e.RetryAfter = typ, 3*time.Second
						return e
					}}
				})
				before, start := states(), time.Now()
				if got := ask(); got != flow.OutcomeServed {
					t.Fatalf("outcome %v", got)
				}
				if took := time.Since(start); took < 3*time.Second {
					t.Errorf("asked again after %v, though told 3 s", took)
				}
				for i, s := range states() {
					if learned := s.Burst != before[i].Burst || s.Learned != before[i].Learned; learned != (s.Dim == learner) {
						t.Errorf("%v: burst %d -> %d, limit %d -> %d", s.Dim, before[i].Burst, s.Burst, before[i].Learned, s.Learned)
					}
				}
			})
		})
	}
}

// Each answer's header reaches the books, not only a refusal's.
func TestHeadersOfAnswersTeach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := "600000"
		states, ask := taught(t, func(n int) *exchange {
			e := whole(n)
			e.header = http.Header{"X-Ratelimit-Limit-Tokens": {limit}, "X-Ratelimit-Remaining-Tokens": {"1000"}, "X-Ratelimit-Reset-Tokens": {"1s"}}
			return e
		})
		for _, limit = range []string{"480000", "240000"} {
			ask()
			if got := states()[1].Learned; strconv.FormatInt(got, 10) != limit {
				t.Errorf("learned %d, want %s", got, limit)
			}
		}
	})
}
