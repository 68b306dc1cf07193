package explain

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Text is the story for a terminal, in several lines.
func (s *Story) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(Inert(fmt.Sprintf(format, args...)) + "\n") }
	line("%s  %s", s.ID, s.Summary)
	line("")
	facts := []struct{ name, value string }{
		{"class", s.Class},
		{"tenant", s.Tenant},
		{"user", s.User},
		{"model", s.Model},
		{"route", s.Route},
		{"upstream", s.Upstream},
		{"outcome", s.Outcome},
		{"arrived", s.Arrived.UTC().Format("2006-01-02 15:04:05.000 UTC")},
	}
	for _, f := range facts {
		if f.value != "" {
			line("  %-9s %s", f.name, f.value)
		}
	}
	help := "What would have helped"
	if s.State != Over {
		help = "What would help"
	}
	for _, part := range []struct {
		title string
		lines []string
	}{{"Why", s.Why}, {help, s.Help}, {"What happened", s.moments()}} {
		if len(part.lines) == 0 {
			continue
		}
		line("")
		line("%s", part.title)
		for _, text := range part.lines {
			line("  %s", text)
		}
	}
	return b.String()
}

func (s *Story) moments() []string {
	all := make([]string, len(s.Timeline))
	for i, m := range s.Timeline {
		all[i] = fmt.Sprintf("%9.3f s  %s", m.At/1000, m.Text)
	}
	return all
}

// Inert takes out of a text what a terminal would obey.
func Inert(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == '\u2028' || c == '\u2029' || c >= '\u202a' && c <= '\u202e' || c >= '\u2066' && c <= '\u2069' {
			return '_'
		}
		return c
	}, strings.ToValidUTF8(s, "_"))
}

// Line is what a list shows of a story.
type Line struct {
	ID       string    `json:"id"`
	Arrived  time.Time `json:"arrived"`
	Class    string    `json:"class"`
	Model    string    `json:"model"`
	Outcome  string    `json:"outcome"`
	Status   int       `json:"status,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Queued   float64   `json:"queued_ms"`
	Total    float64   `json:"total_ms"`
	Upstream string    `json:"upstream,omitempty"`
	Attempts int       `json:"attempts"`
}

// Table is a list of stories for a terminal, in the order it is given.
func Table(lines []Line) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tARRIVED\tCLASS\tOUTCOME\tWAITED\tFOR\tTOOK\tATTEMPTS\tUPSTREAM\tMODEL")
	for _, l := range lines {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", Inert(l.ID), l.Arrived.UTC().Format("15:04:05"), Inert(l.Class),
			Inert(l.Outcome), span(of(l.Queued)), dash(Inert(l.Reason)), span(of(l.Total)), l.Attempts, dash(Inert(l.Upstream)), dash(Inert(l.Model)))
	}
	_ = w.Flush()
	return b.String()
}

// of is ms the other way round.
func of(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
