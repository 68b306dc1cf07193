package backoff

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const unknown = time.Duration(-1)

type limitCase struct {
	name   string
	header http.Header
	want   []Limit
}

func checkLimits(t *testing.T, cases []limitCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ReadLimits(now, c.header)); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadLimits(t *testing.T) {
	checkLimits(t, []limitCase{
		{"none", header("Content-Type", "text/plain", "X-Request-Id", "1"), nil},
		{"OpenAI", header(
			"x-ratelimit-limit-requests", "60", "x-ratelimit-remaining-requests", "59", "x-ratelimit-reset-requests", "1s",
			"x-ratelimit-limit-tokens", "150000", "x-ratelimit-remaining-tokens", "149984", "x-ratelimit-reset-tokens", "6m0s",
			"x-ratelimit-limit-project-tokens", "10", "x-ratelimit-remaining-project-tokens", "1", "x-ratelimit-reset-project-tokens", "6ms",
		), []Limit{
			{Requests, SourceOpenAI, 60, 59, time.Second, 0, "requests"},
			{Tokens, SourceOpenAI, 150000, 149984, 6 * time.Minute, time.Minute, "tokens"},
			{Tokens, SourceOpenAI, 10, 1, 6 * time.Millisecond, time.Minute, "project-tokens"},
		}},
		{"Azure", header("x-ratelimit-remaining-requests", "99", "x-ratelimit-remaining-tokens", "-1"), []Limit{
			{Requests, SourceOpenAI, -1, 99, unknown, 0, "requests"},
			{Tokens, SourceOpenAI, -1, 0, unknown, time.Minute, "tokens"},
		}},
		{"LiteLLM", header(
			"x-ratelimit-limit-input-tokens", "1000", "x-ratelimit-remaining-input-tokens", "10", "x-ratelimit-reset-input-tokens", "42",
			"x-ratelimit-limit-output-tokens", "500", "x-ratelimit-remaining-output-tokens", "5.0",
		), []Limit{
			{Input, SourceOpenAI, 1000, 10, 42 * time.Second, time.Minute, "input-tokens"},
			{Output, SourceOpenAI, 500, 5, unknown, time.Minute, "output-tokens"},
		}},
		{"Anthropic", header(
			"anthropic-ratelimit-requests-limit", "50", "anthropic-ratelimit-requests-remaining", "49", "anthropic-ratelimit-requests-reset", "2026-11-22T12:00:01Z",
			"anthropic-ratelimit-tokens-limit", "100000", "anthropic-ratelimit-tokens-remaining", "99000", "anthropic-ratelimit-tokens-reset", "2026-11-22T12:00:02Z",
			"anthropic-ratelimit-input-tokens-limit", "80000", "anthropic-ratelimit-input-tokens-remaining", "79000", "anthropic-ratelimit-input-tokens-reset", "2026-11-22T13:00:03+01:00",
			"anthropic-ratelimit-output-tokens-limit", "20000", "anthropic-ratelimit-output-tokens-remaining", "0", "anthropic-ratelimit-output-tokens-reset", "2026-11-22T11:00:00Z",
		), []Limit{
			{Requests, SourceAnthropic, 50, 49, time.Second, time.Minute, "requests"},
			{Tokens, SourceAnthropic, 100000, 99000, 2 * time.Second, time.Minute, "tokens"},
			{Input, SourceAnthropic, 80000, 79000, 3 * time.Second, time.Minute, "input-tokens"},
			{Output, SourceAnthropic, 20000, 0, 0, time.Minute, "output-tokens"},
		}},
		{"legacy, epoch", header("X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "4999", "X-RateLimit-Reset", "1795348815"), []Limit{
			{Requests, SourceLegacy, 5000, 4999, 15 * time.Second, 0, ""},
		}},
		{"legacy, seconds", header("X-RateLimit-Limit", "100", "X-RateLimit-Remaining", "1", "X-RateLimit-Reset", "30"), []Limit{
			{Requests, SourceLegacy, 100, 1, 30 * time.Second, 0, ""},
		}},
		{"far reset is cut", header("X-RateLimit-Remaining", "1", "X-RateLimit-Reset", "1e8"), []Limit{
			{Requests, SourceLegacy, -1, 1, MaxReset, 0, ""},
		}},
		{"garbage", header("X-RateLimit-Limit", "many", "X-RateLimit-Remaining", "", "RateLimit", `;;,,"`), nil},
	})
}

func TestReadLimitsOfDrafts(t *testing.T) {
	checkLimits(t, []limitCase{
		{"draft 6", header("RateLimit-Policy", "1000;w=900", "RateLimit-Limit", "1000", "RateLimit-Remaining", "0", "RateLimit-Reset", "612"), []Limit{
			{Requests, SourceDraft, 1000, 0, 612 * time.Second, 900 * time.Second, ""},
		}},
		{"draft 6, limit with policy", header("RateLimit-Limit", "100, 100;w=60", "RateLimit-Remaining", "4"), []Limit{
			{Requests, SourceDraft, 100, 4, unknown, 0, ""},
		}},
		{"draft 7", header("RateLimit-Policy", "1000;w=900", "RateLimit", "limit=1000, remaining=0, reset=612"), []Limit{
			{Requests, SourceDraft, 1000, 0, 612 * time.Second, 900 * time.Second, ""},
		}},
		{"draft 7, limit in policy alone", header("RateLimit-Policy", "1000;w=900", "RateLimit", "remaining=3"), []Limit{
			{Requests, SourceDraft, 1000, 3, unknown, 900 * time.Second, ""},
		}},
		{"draft 8", header("RateLimit", `"1000-in-15min"; r=0; t=612`, "RateLimit-Policy", `"1000-in-15min"; q=1000; w=900; pk=:YWJj:`), []Limit{
			{Requests, SourceDraft, 1000, 0, 612 * time.Second, 900 * time.Second, "1000-in-15min"},
		}},
		{"draft 10, several", header(
			"RateLimit-Policy", `"rpm";q=60;w=60, "tpm";q=180000;w=60;qu="tokens", "bytes";q=1;qu="content-bytes"`,
			"RateLimit", `"tpm";r=5;t=7, "rpm";r=12, "bytes";r=1`,
		), []Limit{
			{Tokens, SourceDraft, 180000, 5, 7 * time.Second, time.Minute, "tpm"},
			{Requests, SourceDraft, 60, 12, unknown, time.Minute, "rpm"},
		}},
		{"draft 10, on two lines, by name", header("RateLimit", `"input-tokens";r=1`, "RateLimit", `output_tokens;r=2;t=3`), []Limit{
			{Input, SourceDraft, -1, 1, unknown, 0, "input-tokens"},
			{Output, SourceDraft, -1, 2, 3 * time.Second, 0, "output_tokens"},
		}},
		{"draft 10, separators in the name", header("RateLimit", `"a;r=9,b";r=1;t=2`), []Limit{
			{Requests, SourceDraft, -1, 1, 2 * time.Second, 0, "a;r=9,b"},
		}},
	})
}

// plainHeader is what an answer without limits looks like.
var plainHeader = header("Content-Type", "application/json", "Date", "Sun, 22 Nov 2026 12:00:00 GMT", "Server", "x",
	"Content-Length", "812", "X-Request-Id", "r", "Cache-Control", "no-store", "Vary", "Origin", "Via", "1.1 a",
	"Cf-Ray", "1", "Alt-Svc", "h3", "Strict-Transport-Security", "max-age=1", "X-Content-Type-Options", "nosniff")

func openAIHeader() http.Header {
	h := plainHeader.Clone()
	maps.Copy(h, header(
		"x-ratelimit-limit-requests", "60", "x-ratelimit-remaining-requests", "59", "x-ratelimit-reset-requests", "1s",
		"x-ratelimit-limit-tokens", "150000", "x-ratelimit-remaining-tokens", "149984", "x-ratelimit-reset-tokens", "6m0s"))
	return h
}

func TestI2NoAllocations(t *testing.T) {
	room := make([]Limit, 0, 8)
	for name, h := range map[string]http.Header{"without limits": plainHeader, "OpenAI's": openAIHeader()} {
		if n := testing.AllocsPerRun(100, func() { room = AppendLimits(room[:0], now, h) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
	if got := AppendLimits(nil, now, plainHeader); got != nil {
		t.Errorf("limits out of nothing: %v", got)
	}
}

func BenchmarkAppendLimits(b *testing.B) {
	for name, h := range map[string]http.Header{"none": plainHeader, "openai": openAIHeader()} {
		b.Run(name, func(b *testing.B) {
			room := make([]Limit, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				room = AppendLimits(room[:0], now, h)
			}
		})
	}
}
