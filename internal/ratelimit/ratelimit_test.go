package ratelimit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

func TestI1Describe(t *testing.T) {
	got := map[string]string{}
	for _, h := range Describe([]gate.Limit{
		{Dim: quota.Requests, Max: 60, Remaining: 30, Span: time.Minute, Reset: 900 * time.Millisecond},
		{Dim: quota.Requests, Max: 10, Remaining: 9, Span: 6 * time.Second, Reset: time.Second},
		{Dim: quota.Total, Max: 1000, Remaining: -5, Span: time.Minute, Reset: 1001 * time.Millisecond},
	}) {
		if len(h.Value) != 1 {
			t.Errorf("%s: %q", h.Name, h.Value)
		}
		got[h.Name] = h.Value[0]
	}
	want := map[string]string{
		"RateLimit":                      `"tokens";r=0;t=2, "requests-6s";r=9;t=1, "requests-60s";r=30;t=1`,
		"RateLimit-Policy":               `"tokens";q=1000;w=60;qu="millrace-tokens", "requests-6s";q=10;w=6, "requests-60s";q=60;w=60`,
		"X-Ratelimit-Limit-Requests":     "60",
		"X-Ratelimit-Remaining-Requests": "30",
		"X-Ratelimit-Reset-Requests":     "900ms",
		"X-Ratelimit-Limit-Tokens":       "1000",
		"X-Ratelimit-Remaining-Tokens":   "0",
		"X-Ratelimit-Reset-Tokens":       "1.001s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if Describe(nil) != nil {
		t.Error("without limits something is told")
	}
}

func TestI2NamesDiffer(t *testing.T) {
	for _, h := range Describe([]gate.Limit{
		{Dim: quota.Total, Max: 1, Span: time.Second}, {Dim: quota.Total, Max: 2, Span: time.Minute}, {Dim: quota.Total, Max: 3, Span: time.Hour}, {Dim: quota.Requests, Max: 1},
	}) {
		seen := map[string]bool{}
		for part := range strings.SplitSeq(h.Value[0], ", ") {
			name, _, _ := strings.Cut(part, ";")
			if strings.HasPrefix(h.Name, "RateLimit") && seen[name] {
				t.Errorf("%s names %s twice: %s", h.Name, name, h.Value[0])
			}
			seen[name] = true
		}
	}
}
