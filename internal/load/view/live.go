package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/load"
)

// Line shows a snapshot in one line.
func Line(s load.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %4ds", s.Target, int(s.Elapsed/time.Second))
	if s.WarmUp {
		b.WriteString(" warm-up")
	}
	fmt.Fprintf(&b, "  in flight %d  answered %d  errors %d%s", s.InFlight, s.Answered, total(s.Errors), byName(s.Errors))
	fmt.Fprintf(&b, "  p50 %s  p95 %s  %.1f/s", duration(s.P50), duration(s.P95), s.Rate)
	return oneLine(b.String())
}

func total(counts map[string]int64) (sum int64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

func duration(d time.Duration) string { return ms(float64(d.Microseconds()) / 1000) }

// sparkWidth is how many snapshots a sparkline shows.
const sparkWidth = 24

// Live is a table on a terminal that is drawn again over itself with every
// snapshot. Use NewLive.
type Live struct {
	mu      sync.Mutex
	w       io.Writer
	targets []*liveTarget
	drawn   int // lines on the screen
}

// liveTarget is the rows of one target.
type liveTarget struct {
	last             load.Snapshot
	shown            bool      // a snapshot has come
	rate, p95, error []float64 // the latest at the end
}

// NewLive draws on w. The named targets stand in their order, others below them.
func NewLive(w io.Writer, targets ...string) *Live {
	l := &Live{w: w}
	for _, name := range targets {
		l.target(name)
	}
	return l
}

// Show adds a snapshot and draws.
func (l *Live) Show(s load.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.target(s.Target)
	t.last, t.shown = s, true
	t.rate = latest(t.rate, s.Rate)
	t.p95 = latest(t.p95, float64(s.P95))
	t.error = latest(t.error, s.Failing)
	l.draw()
}

// Close wipes the table off.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn > 0 {
		_, _ = fmt.Fprintf(l.w, "\r\x1b[%dA\x1b[J", l.drawn) // an echoed ^C has moved the cursor
		l.drawn = 0
	}
}

func (l *Live) target(name string) *liveTarget {
	for _, t := range l.targets {
		if t.last.Target == name {
			return t
		}
	}
	t := &liveTarget{last: load.Snapshot{Target: name}}
	l.targets = append(l.targets, t)
	return t
}

func latest(values []float64, v float64) []float64 {
	return append(values[max(0, len(values)-sparkWidth+1):], v)
}

// draw writes the table in one piece. Lines are not wrapped meanwhile: on a narrow
// terminal they are cut, and the cursor still finds its way back.
func (l *Live) draw() {
	var b strings.Builder
	b.WriteString("\x1b[?7l")
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	lines := l.table()
	for _, line := range lines {
		b.WriteString("\r" + line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J\x1b[?7h")
	l.drawn = len(lines)
	_, _ = io.WriteString(l.w, b.String())
}

func (l *Live) table() []string {
	var lines []string
	for _, t := range l.targets {
		if !t.shown {
			continue
		}
		s := &t.last
		head := fmt.Sprintf("%.30s  %s", oneLine(s.Target), clock(s.Elapsed))
		if s.Of > 0 {
			head += fmt.Sprintf(" of %s %s", clock(s.Of), bar(float64(s.Elapsed)/float64(s.Of)))
		}
		switch {
		case s.WarmUp:
			head += "  warming up"
		case s.Of > 0 && s.Elapsed > s.Of:
			head += "  waiting for the last answers"
		}
		lines = append(
			lines, head,
			fmt.Sprintf("  answers a second %9.1f  %-*s  answered %d", s.Rate, sparkWidth, spark(t.rate), s.Answered),
			fmt.Sprintf("  latency p95      %9s  %-*s  p50 %s", duration(s.P95), sparkWidth, spark(t.p95), duration(s.P50)),
			fmt.Sprintf("  errors a second  %9.1f  %-*s  %d%s", s.Failing, sparkWidth, spark(t.error), total(s.Errors), oneLine(byName(s.Errors))),
			fmt.Sprintf("  in flight        %9d  told wait p95 %s", s.InFlight, duration(s.Wait)),
		)
	}
	return lines
}

// oneLine is printable and stays on its line.
func oneLine(s string) string { return strings.ReplaceAll(printable(s), "\n", " ") }

// printable keeps what a target invents from steering the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, s)
}

func clock(d time.Duration) string {
	s := int(d / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func bar(share float64) string {
	const width = 20
	full := int(min(max(share, 0), 1) * width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// spark draws values from 0 to the largest, a character each.
func spark(values []float64) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	most := 0.
	for _, v := range values {
		most = max(most, v)
	}
	line := make([]rune, len(values))
	for i, v := range values {
		line[i] = levels[0]
		if most > 0 {
			line[i] = levels[min(int(v/most*float64(len(levels))), len(levels)-1)]
		}
	}
	return string(line)
}
