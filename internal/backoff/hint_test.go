package backoff

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// header makes a header of name, value pairs.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestI1Hint(t *testing.T) {
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for _, c := range []struct {
		name   string
		header http.Header
		body   string
		want   time.Duration
	}{
		{"nothing", nil, "", 0},
		{"seconds", header("Retry-After", "7"), "", 7 * time.Second},
		{"fraction", header("Retry-After", "0.25"), "", 250 * time.Millisecond},
		{"spaces", header("Retry-After", " 7 "), "", 7 * time.Second},
		{"milliseconds win", header("Retry-After", "7", "Retry-After-Ms", "84"), "", 84 * time.Millisecond},
		{"fraction of milliseconds", header("Retry-After-Ms", "84.5"), "", 84500 * time.Microsecond},
		{"broken milliseconds lose", header("Retry-After", "7", "Retry-After-Ms", "soon"), "", 7 * time.Second},
		{"HTTP date", header("Retry-After", in(30*time.Second).Format(http.TimeFormat)), "", 30 * time.Second},
		{"old HTTP date", header("Retry-After", in(30*time.Second).Format(time.ANSIC)), "", 30 * time.Second},
		{"RFC 3339", header("Retry-After", in(90*time.Second).Format(time.RFC3339)), "", 90 * time.Second},
		{"span", header("Retry-After", "1m30.5s"), "", 90500 * time.Millisecond},
		{"epoch", header("Retry-After", fmt.Sprint(in(20*time.Second).Unix())), "", 20 * time.Second},
		{"epoch in ms", header("Retry-After", fmt.Sprint(in(20*time.Second).UnixMilli())), "", 20 * time.Second},
		{"AWS", header("X-Amz-Retry-After", "1500"), "", 1500 * time.Millisecond},
		{"OpenAI in words", nil, `{"error":{"message":"Rate limit reached. Please try again in 84ms. Visit"}}`, 84 * time.Millisecond},
		{"minutes in words", nil, `{"error":{"message":"Please try again in 1m2.5s."}}`, 62500 * time.Millisecond},
		{"Azure in words", nil, `{"error":{"message":"Please retry after 7 seconds."}}`, 7 * time.Second},
		{"Gemini in words", nil, `{"error":{"message":"Please retry in 34.07s."}}`, 34070 * time.Millisecond},
		{"RetryInfo", nil, `[{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo", "retryDelay" : "34s"}]}}]`, 34 * time.Second},
		{"number in body", nil, `{"retry_after":12.5}`, 12500 * time.Millisecond},
		{"header before body", header("Retry-After", "3"), `try again in 84ms`, 3 * time.Second},
		{"capitals", nil, `TRY AGAIN IN 2 MINUTES`, 2 * time.Minute},
		{"no span in words", nil, `try again in a while`, 0},
		{"draft 8", header("RateLimit", `"rpm";r=0;t=9`), "", 9 * time.Second},
		{"longest of those spent", header("RateLimit", `"rpm";r=0;t=9, "tpm";r=0;t=21, "rpd";r=5;t=4000`), "", 21 * time.Second},
		{"Anthropic reset", header("Anthropic-Ratelimit-Requests-Remaining", "0", "Anthropic-Ratelimit-Requests-Reset", in(8*time.Second).Format(time.RFC3339)), "", 8 * time.Second},
		{"OpenAI reset says when full", header("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "1m"), "", 0},
		{"legacy reset", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", fmt.Sprint(in(5*time.Second).Unix())), "", 5 * time.Second},
		{"far", header("Retry-After", "86400"), "", MaxHint},
		{"absurd", header("Retry-After", "1e12"), "", MaxHint},
		{"more absurd", header("Retry-After", "1e300"), "", MaxHint},
		{"negative", header("Retry-After", "-5"), "", 0},
		{"1970", header("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"), "", 0},
		{"garbage", header("Retry-After", "0x10"), "", 0},
		{"infinity", header("Retry-After", "inf"), "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := hintOf(now, c.header, []byte(c.body)); got != c.want {
				t.Errorf("RetryAfter = %v, want %v", got, c.want)
			}
		})
	}
}

// A zero clock must not turn a hint into nonsense.
func TestHintWithZeroTime(t *testing.T) {
	if got := hintOf(time.Time{}, header("Retry-After", "1763812800"), nil); got != MaxHint {
		t.Errorf("RetryAfter = %v, want %v", got, MaxHint)
	}
}
