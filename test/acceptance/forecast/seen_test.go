package forecast

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/load"
)

// bench counts what it is told.
type bench struct{ shown, faults []string }

func (b *bench) Show(format string, args ...any) {
	b.shown = append(b.shown, fmt.Sprintf(format, args...))
}

func (b *bench) Fault(format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// TestI1Strict: beyond the bounds, and without a figure, it is a fault.
func TestI1Strict(t *testing.T) {
	tokens := capacity.Use{Limit: capacity.Limit{Path: "tokens", Max: 100}, What: "tokens", Used: 0.9}
	rate := capacity.Use{Limit: capacity.Limit{Path: "rate", Max: 20}, What: "class rate", Used: 0.95}
	books := &load.JudgeBooks{Limits: []load.JudgeLimit{
		{Name: "requests", Configured: 60, Utilization: 0.31}, {Name: "tokens", Configured: 100, Utilization: 0.88},
	}}
	for name, c := range map[string]struct {
		judge func(*bench)
		kept  bool
	}{
		"use": {func(b *bench) { CompareUse(b, &capacity.Row{Use: []capacity.Use{tokens}, Utilization: 0.9}, books) }, true},
		"rate": {func(b *bench) {
			CompareUse(b, &capacity.Row{Use: []capacity.Use{tokens, rate}, Utilization: 0.95}, books)
		}, true},
		"other use": {func(b *bench) {
			more := tokens
			more.Used = 0.92
			CompareUse(b, &capacity.Row{Use: []capacity.Use{more}, Utilization: 0.92}, books)
		}, false},
		"no books": {func(b *bench) {
			CompareUse(b, &capacity.Row{Use: []capacity.Use{tokens}, Utilization: 0.9}, &load.JudgeBooks{})
		}, false},
		"no limit":        {func(b *bench) { CompareUse(b, &capacity.Row{}, books) }, false},
		"wait":            {func(b *bench) { CompareWait(b, "", 11.4, 10) }, true},
		"short wait":      {func(b *bench) { CompareWait(b, "", 1.4, 1) }, true},
		"other wait":      {func(b *bench) { CompareWait(b, "", 11.6, 10) }, false},
		"short of a wait": {func(b *bench) { CompareWait(b, "", 8.4, 10) }, false},
	} {
		var b bench
		if c.judge(&b); len(b.faults) != map[bool]int{true: 0, false: 1}[c.kept] || len(b.shown)+len(b.faults) != 1 {
			t.Errorf("%s: %q, faults %q", name, b.shown, b.faults)
		}
	}
}

// TestRecords: each request counts once, if it was answered and came in time.
func TestRecords(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf(`{"id":"r%d","class":"chat","outcome":"served","arrived":%q,"queued_ms":%d}`, i, at.Add(time.Duration(i)*time.Second).Format(time.RFC3339), i*1000))
	}
	lines = append(lines, fmt.Sprintf(`{"id":"x","class":"chat","outcome":"canceled","arrived":%q,"queued_ms":1e9}`, at.Format(time.RFC3339)))
	all := Records{}
	for range 2 {
		if err := all.Add(strings.NewReader(`{"requests":[` + strings.Join(lines, ",") + `]}`)); err != nil {
			t.Fatal(err)
		}
	}
	if p95, n := all.P95("", at, at.Add(time.Hour)); p95 != 95 || n != 100 {
		t.Errorf("p95 %v of %d", p95, n)
	}
	if p95, n := all.P95("chat", at.Add(10*time.Second), at.Add(20*time.Second)); p95 != 19 || n != 10 {
		t.Errorf("p95 %v of %d", p95, n)
	}
	if _, n := all.P95("batch", at, at.Add(time.Hour)); n != 0 {
		t.Errorf("%d of another class", n)
	}
	if err := all.Add(strings.NewReader("<html>")); err == nil {
		t.Error("what is no list is accepted")
	}
}

// TestWorkloads: each names itself once and has flags for all sides.
func TestWorkloads(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range append(Workloads(), Recorded("trace.csv")) {
		if seen[w.Name] || w.Users == 0 || w.Seats == 0 || len(w.Judge) == 0 || len(w.PlanArgs("f")) < 9 || len(w.LoadArgs()) < 4 || w.Span() < 10*time.Minute {
			t.Errorf("%+v", w)
		}
		seen[w.Name] = true
		if got := w.Configuration("http://x"); !strings.Contains(got, "base_url: http://x/v1") || !strings.Contains(got, w.Rules) {
			t.Error(got)
		}
	}
}
