package backoff

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// parseHeader reads "Name: value" lines, as a fuzzer can write them.
func parseHeader(text string) http.Header {
	h := http.Header{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return h
}

func FuzzHeaders(f *testing.F) {
	for _, s := range []string{
		"Retry-After: 7\nRetry-After-Ms: 84",
		"Retry-After: Sun, 22 Nov 2026 12:00:30 GMT",
		"X-Ratelimit-Limit-Tokens: 150000\nX-Ratelimit-Remaining-Tokens: 149984\nX-Ratelimit-Reset-Tokens: 6m0s",
		"Anthropic-Ratelimit-Requests-Remaining: 0\nAnthropic-Ratelimit-Requests-Reset: 2026-11-22T12:00:01Z",
		"Ratelimit: \"a;r=9,b\\\"\";r=1;t=2\nRatelimit-Policy: \"a;r=9,b\\\"\";q=9;w=60;qu=\"tokens\"",
		"Ratelimit: limit=1000, remaining=0, reset=612\nRatelimit-Policy: 1000;w=900",
		"X-Ratelimit-Remaining: 1e300\nX-Ratelimit-Reset: 99999999999999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := parseHeader(text)
		if hint := hintOf(now, h, nil); hint < 0 || hint > MaxHint {
			t.Errorf("hint = %v", hint)
		}
		for _, l := range ReadLimits(now, h) {
			if l.Limit < -1 || l.Remaining < -1 || l.Reset < -1 || l.Reset > MaxReset || l.Window < 0 || l.Window > MaxReset {
				t.Errorf("out of range: %+v", l)
			}
		}
	})
}

func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		openAIThrottle, openAITooLarge, geminiMinute, `{"error":"busy"}`, `[[[[[["x"]]]]]]`, `{"error":null}`, "plain \xff text",
		`{"error":{"details":[{"violations":[{"quotaId":7}]}]}}`, `{"message":"try again in 99999999999999999999h"}`, `Bearer aaaaaaaaaaaaaaaa`,
	} {
		f.Add(429, s)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		e := Read(now, status, nil, []byte(body))
		if e.Message == "" || len(e.Message) > 4*maxMessage || !utf8.ValidString(e.Message) {
			t.Errorf("message %q", e.Message)
		}
		if e.RetryAfter < 0 || e.RetryAfter > MaxHint {
			t.Errorf("RetryAfter = %v", e.RetryAfter)
		}
		if e.Kind.String() == "unknown" || e.Kind == 0 {
			t.Errorf("kind %d", e.Kind)
		}
		if again := Redact(e.Message); Redact(again) != again {
			t.Errorf("redaction is not final: %q", e.Message)
		}
		_ = e.Error()
	})
}

func FuzzSpan(f *testing.F) {
	for _, s := range []string{"84ms", "6m0s", "2m59.56s", "20 seconds", "1e5s", "...", "99999999999d", "5µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, rest, ok := span(s)
		if d < 0 || d > MaxReset || !strings.HasSuffix(s, rest) || ok == (len(rest) == len(s)) {
			t.Errorf("span(%q) = %v, %q, %v", s, d, rest, ok)
		}
		if std, err := time.ParseDuration(s); err == nil && std >= 0 && std <= MaxReset && ok && rest == "" {
			if diff := (d - std).Abs(); diff > time.Microsecond+std/1e9 {
				t.Errorf("span(%q) = %v, the standard library says %v", s, d, std)
			}
		}
	})
}
