package figure

import (
	"strconv"
	"strings"
	"time"
)

// Number is a quantity with the digits that matter.
func Number(v float64) string {
	if v < 100 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return Grouped(int64(v + 0.5))
}

// Grouped is a whole number with a comma between thousands.
func Grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Percent is a share, 0 to 1, in percent.
func Percent(v float64) string {
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

// Wait is a time in seconds for people who would wait for it.
func Wait(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return "0 s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 100*time.Second:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	case d < time.Hour:
		return strconv.FormatFloat(s, 'f', 0, 64) + " s"
	}
	return strconv.FormatFloat(d.Hours(), 'f', 1, 64) + " h"
}

// Span is a time for people, exact to a tenth or so.
func Span(d time.Duration) string {
	unit := time.Second
	for _, u := range []time.Duration{time.Minute, time.Hour} {
		if d >= 2*u {
			unit = u
		}
	}
	name := map[time.Duration]string{time.Second: "s", time.Minute: "min", time.Hour: "h"}[unit]
	if n := d.Seconds() / unit.Seconds(); n < 10 && d%unit != 0 {
		return strconv.FormatFloat(n, 'f', 1, 64) + " " + name
	}
	return strconv.FormatFloat(d.Seconds()/unit.Seconds(), 'f', 0, 64) + " " + name
}

// Minutes is a time in seconds on the axis of a plot.
func Minutes(s float64) string { return strconv.FormatFloat(s/60, 'f', 0, 64) + " min" }

// Dash is s, or a dash in place of nothing.
func Dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Table is rows of cells below a head; all but the column "of" are set to the right.
type Table [][]string

// Write appends the table as text.
func (t Table) Write(b *strings.Builder) {
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

// Fold appends text in lines of at most width, each indented.
func Fold(b *strings.Builder, text, indent string, width int) {
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
