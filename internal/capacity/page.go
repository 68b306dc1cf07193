package capacity

import (
	_ "embed"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
)

//go:embed page.css
var style string

// Page is the report as one page that needs nothing else: no script, no font, no network.
func (r *Report) Page() []byte {
	p := &page{}
	p.add(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">`)
	p.add(`<meta name="color-scheme" content="light dark"><title>Capacity plan</title><style>`, style, `</style></head><body><main>`)
	p.add(`<h1>Capacity plan</h1>`)
	if r.Serves > 0 {
		p.add(`<p class="lead">This configuration serves <strong>`, strconv.Itoa(r.Serves), ` users</strong> with a p95 wait of at most `, wait(r.MaxP95), `.</p>`)
	}
	p.matrix(r)
	p.verdicts(r)
	p.plots(r)
	for _, n := range r.Notes {
		p.add(`<p>`, html.EscapeString(n), `</p>`)
	}
	p.add(`</main></body></html>`, "\n")
	return []byte(p.String())
}

// page is what has been written of one.
type page struct{ strings.Builder }

func (p *page) add(parts ...string) {
	for _, s := range parts {
		p.WriteString(s)
	}
}

// head are the columns of the matrix: short ones stand in a narrow page too.
var head = []string{"Users", "Wanted / min", "Served / min", "Tokens / min", "Seats: mean of most", "Wait p50", "Wait p95", "No answer", "Used", "of", "Fairness (Jain)"}

func (p *page) matrix(r *Report) {
	p.add(`<div class="wide" tabindex="0" role="region" aria-label="Capacity matrix"><table><thead><tr>`)
	for _, h := range head {
		p.add(`<th scope="col"`, map[bool]string{true: ` class="word"`}[h == "of"], `>`, h, `</th>`)
	}
	p.add(`</tr></thead><tbody>`)
	for i := range r.Rows {
		for j, cell := range r.Rows[i].cells() {
			switch {
			case j == 0:
				p.add(`<tr><th scope="row">`, cell, `</th>`)
			case head[j] == "of":
				p.add(`<td class="word">`, html.EscapeString(cell), `</td>`)
			default:
				p.add(`<td>`, html.EscapeString(cell), `</td>`)
			}
		}
		p.add(`</tr>`)
	}
	p.add(`</tbody></table></div>`)
}

func (p *page) verdicts(r *Report) {
	p.add(`<h2>In words</h2><dl>`)
	for i := range r.Rows {
		row := &r.Rows[i]
		class := "bad"
		if row.Good {
			class = "good"
		}
		p.add(`<dt>`, strconv.Itoa(row.Users), ` users</dt><dd class="`, class, `">`, html.EscapeString(row.Verdict), `.`)
		if row.Advice != "" {
			p.add(` <span>`, html.EscapeString(row.Advice), `</span>`)
		}
		p.add(`</dd>`)
	}
	p.add(`</dl>`)
}

// line is one curve of a plot.
type line struct {
	name  string
	class string // of its color
	y     []float64
}

func (p *page) plots(r *Report) {
	var users []string
	of := func(f func(*Row) float64) []float64 {
		var y []float64
		for i := range r.Rows {
			y = append(y, f(&r.Rows[i]))
		}
		return y
	}
	for i := range r.Rows {
		users = append(users, strconv.Itoa(r.Rows[i].Users))
	}
	p.add(`<h2>By users</h2><div class="plots">`)
	p.plot("Requests a minute", users, number, []line{
		{"wanted", "b", of(func(r *Row) float64 { return r.Wanted })}, {"served", "a", of(func(r *Row) float64 { return r.Served })},
	})
	p.plot("Wait in the queue", users, wait, []line{
		{"p95", "b", of(func(r *Row) float64 { return r.WaitP95 })}, {"p50", "a", of(func(r *Row) float64 { return r.WaitP50 })},
	})
	p.plot("Use of the limits", users, percent, p.uses(r))
	if lost := of(lostShare); slices.Max(append(lost, 0)) > 0 {
		p.plot("Requests without an answer", users, percent, []line{{"share", "b", lost}})
	}
	p.add(`</div><h2>Over time</h2><div class="plots">`)
	for i := range r.Rows {
		s := &r.Rows[i].Series
		ends := []string{"0", minutes(s.Step * points / 2), minutes(s.Step * points)}
		p.plot(users[i]+" users: requests", ends, number, []line{{"waiting", "b", s.Waiting}, {"running", "a", s.Running}})
	}
	p.add(`</div>`)
}

func minutes(s float64) string { return strconv.FormatFloat(s/60, 'f', 0, 64) + " min" }

// uses are the curves of the limits, at most as many as there are colors.
func (p *page) uses(r *Report) []line {
	var lines []line
	if len(r.Rows) == 0 {
		return nil
	}
	for i := range min(len(r.Rows[0].Use), 6) {
		l := line{name: r.Rows[0].Use[i].Path, class: string(rune('a' + i))}
		for j := range r.Rows {
			l.y = append(l.y, r.Rows[j].Use[i].Used)
		}
		lines = append(lines, l)
	}
	return lines
}

// The size of a plot, and of its margins.
const (
	plotWidth, plotHeight = 340, 200
	left, right           = 52, 22
	top, bottom           = 12, 24
)

// plot draws curves over points that stand at equal distances; ticks are their names,
// or fewer, spread over the whole.
func (p *page) plot(title string, ticks []string, say func(float64) string, lines []line) {
	most := 0.0
	for _, l := range lines {
		for _, y := range l.y {
			most = max(most, y)
		}
	}
	p.add(`<figure><figcaption>`, html.EscapeString(title), `<span class="key">`)
	for _, l := range lines {
		p.add(`<span class="`, l.class, `">`, html.EscapeString(l.name), `</span>`)
	}
	p.add(`</span></figcaption>`)
	_, _ = fmt.Fprintf(p, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s, at most %s">`, plotWidth, plotHeight, html.EscapeString(title), html.EscapeString(say(most)))
	for _, share := range []float64{0, 0.5, 1} {
		y := height(share)
		_, _ = fmt.Fprintf(p, `<path class="grid" d="M%d %.1fH%d"/><text class="tick y" x="%d" y="%.1f">%s</text>`,
			left, y, plotWidth-right, left-6, y+4, html.EscapeString(say(share*most)))
		if most == 0 {
			break
		}
	}
	for i, t := range ticks {
		_, _ = fmt.Fprintf(p, `<text class="tick x" x="%.1f" y="%d">%s</text>`, across(i, len(ticks)), plotHeight-6, html.EscapeString(t))
	}
	for _, l := range lines {
		p.curve(l, most)
	}
	p.add(`</svg></figure>`)
}

// height is where a share of the largest value stands.
func height(share float64) float64 { return top + (1-share)*(plotHeight-top-bottom) }

// across is where the i-th of n points stands.
func across(i, n int) float64 {
	if n < 2 {
		return left + (plotWidth-left-right)/2
	}
	return left + float64(i)*(plotWidth-left-right)/float64(n-1)
}

func (p *page) curve(l line, most float64) {
	p.add(`<path class="line `, l.class, `" d="`)
	for i, y := range l.y {
		if most > 0 {
			y /= most
		}
		_, _ = fmt.Fprintf(p, "%c%.1f %.1f", "ML"[min(i, 1)], across(i, len(l.y)), height(y))
	}
	p.add(`"/>`)
	if len(l.y) > points/2 {
		return
	}
	for i, y := range l.y {
		if most > 0 {
			y /= most
		}
		_, _ = fmt.Fprintf(p, `<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>`, l.class, across(i, len(l.y)), height(y))
	}
}
