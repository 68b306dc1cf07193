package capacity

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// WriteText writes the report for people: a table, then a line for each row that says
// what it means. Nothing is wider than 120 columns but long names. The error is the
// writer's.
func (r *Report) WriteText(w io.Writer) error {
	t := table{{"users", "wanted/min", "served/min", "tokens/min", "seats", "wait p50", "wait p95", "refused", "used", "of", "Jain"}}
	for i := range r.Rows {
		t = append(t, r.Rows[i].cells())
	}
	var b strings.Builder
	t.write(&b)
	b.WriteByte('\n')
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(&b, "%6d users  %s.\n", row.Users, row.Verdict)
		if row.Advice != "" {
			fold(&b, row.Advice, "              ", 120)
		}
	}
	if r.Serves > 0 {
		fmt.Fprintf(&b, "\nThis configuration serves %d users with a p95 wait of at most %s.\n", r.Serves, wait(r.MaxP95))
	}
	for _, n := range r.Notes {
		fold(&b, n, "", 120)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Row) cells() []string {
	limit, used := "-", "-"
	for _, u := range r.Use {
		if u.Used >= r.Utilization && !u.Shadow {
			limit, used = u.What, percent(u.Used)
		}
	}
	return []string{
		strconv.Itoa(r.Users), number(r.Wanted), number(r.Served), grouped(int64(r.Tokens + 0.5)),
		fmt.Sprintf("%s of %d", number(r.Seats), r.Most), wait(r.WaitP50), wait(r.WaitP95),
		percent(lostShare(r)), used, limit, fmt.Sprintf("%.2f", r.Jain),
	}
}

func lostShare(r *Row) float64 {
	if r.Requests == 0 {
		return 0
	}
	return float64(r.Requests-r.Answered) / float64(r.Requests)
}

// table is rows of cells; all but the column of words are set to the right.
type table [][]string

func (t table) write(b *strings.Builder) {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range t {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if t[0][i] == "of" {
				line.WriteString("  " + cell + pad)
			} else {
				line.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String()[2:], " ") + "\n")
	}
}

// fold writes text in lines of at most width, each indented.
func fold(b *strings.Builder, text, indent string, width int) {
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line) > len(indent) && len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
}

// number is a quantity with the digits that matter.
func number(v float64) string {
	if v < 100 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return grouped(int64(v + 0.5))
}

// grouped is a whole number with a comma between thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func percent(v float64) string {
	switch {
	case v == 0:
		return "0 %"
	case v < 0.001:
		return "<0.1 %"
	case v < 0.0995:
		return strconv.FormatFloat(100*v, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(100*v, 'f', 0, 64) + " %"
}

// wait is a time in seconds for people.
func wait(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return "0 s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 100*time.Second:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	}
	return strconv.FormatFloat(s, 'f', 0, 64) + " s"
}
