package gate

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// TestHeadersAreAboutTheirOwnSpan: what a header says of a second or of a minute is not
// taken for the limit of a minute or of a day.
func TestHeadersAreAboutTheirOwnSpan(t *testing.T) {
	for name, c := range map[string]struct {
		limit   quota.Limit
		header  map[string][]string
		learned int64
	}{
		"a second's beside a minute's": {
			quota.Limit{Dim: quota.Requests, Max: 600},
			map[string][]string{"Ratelimit-Policy": {`"second";q=10;w=1, "minute";q=500;w=60`}, "Ratelimit": {`"second";r=9;t=1, "minute";r=499;t=60`}},
			500,
		},
		"a second's alone": {
			quota.Limit{Dim: quota.Requests, Max: 600},
			map[string][]string{"Ratelimit-Policy": {"10;w=1"}, "Ratelimit-Limit": {"10"}, "Ratelimit-Remaining": {"9"}, "Ratelimit-Reset": {"1"}},
			600,
		},
		"a minute's tokens, where a day's are bounded": {
			quota.Limit{Dim: quota.Total, Max: 2_000_000, Span: 24 * time.Hour},
			map[string][]string{"X-Ratelimit-Limit-Tokens": {"30000"}, "X-Ratelimit-Remaining-Tokens": {"29900"}, "X-Ratelimit-Reset-Tokens": {"200ms"}},
			2_000_000,
		},
		"a minute's requests, where a day's are bounded": {
			quota.Limit{Dim: quota.Requests, Max: 10_000, Span: 24 * time.Hour},
			map[string][]string{"X-Ratelimit-Limit-Requests": {"500"}, "X-Ratelimit-Remaining-Requests": {"499"}, "X-Ratelimit-Reset-Requests": {"120ms"}},
			10_000,
		},
		"a minute's tokens": {
			quota.Limit{Dim: quota.Total, Max: 60_000},
			map[string][]string{"X-Ratelimit-Limit-Tokens": {"30000"}, "X-Ratelimit-Remaining-Tokens": {"29900"}, "X-Ratelimit-Reset-Tokens": {"200ms"}},
			30_000,
		},
	} {
		w := newWorld(t, single(0, c.limit))
		id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
		w.step(Event{Kind: Settle, ID: id, Result: Result{Sent: true, Usage: llm.Usage{Input: 100}, Limits: backoff.ReadLimits(w.now, c.header)}})
		if got := w.gate.Snapshot(w.now).Upstreams[0].Windows[0].Learned; got != c.learned {
			t.Errorf("%s: learned %d, want %d", name, got, c.learned)
		}
	}
}
