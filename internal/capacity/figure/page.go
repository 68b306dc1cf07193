package figure

import (
	_ "embed"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

//go:embed page.css
var style string

// Page is what has been written of a document. Use NewPage.
type Page struct{ out strings.Builder }

// NewPage begins a document with a title, which is its heading too.
func NewPage(title string) *Page {
	p := &Page{}
	p.Add(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">`)
	p.Add(`<meta name="color-scheme" content="light dark"><title>`, html.EscapeString(title), `</title><style>`, style, `</style></head><body><main>`)
	p.Add(`<h1>`, html.EscapeString(title), `</h1>`)
	return p
}

// Add writes markup as it is.
func (p *Page) Add(parts ...string) {
	for _, s := range parts {
		p.out.WriteString(s)
	}
}

// Text writes what is no markup.
func (p *Page) Text(s string) { p.out.WriteString(html.EscapeString(s)) }

// Close ends the document and returns it.
func (p *Page) Close() []byte {
	p.Add(`</main></body></html>`, "\n")
	return []byte(p.out.String())
}

// Grid writes rows below a head, the first cell of each being its name. Cells of
// columns in words are set to the left.
func (p *Page) Grid(label string, head []string, rows [][]string, words ...string) {
	class := func(column int) string {
		if slices.Contains(words, head[column]) {
			return ` class="word"`
		}
		return ""
	}
	p.Add(`<div class="wide" tabindex="0" role="region" aria-label="`, html.EscapeString(label), `"><table><thead><tr>`)
	for i, h := range head {
		p.Add(`<th scope="col"`, class(i), `>`, html.EscapeString(h), `</th>`)
	}
	p.Add(`</tr></thead><tbody>`)
	for _, row := range rows {
		p.Add(`<tr>`)
		for i, cell := range row {
			if i == 0 {
				p.Add(`<th scope="row"`, class(i), `>`, html.EscapeString(cell), `</th>`)
			} else {
				p.Add(`<td`, class(i), `>`, html.EscapeString(cell), `</td>`)
			}
		}
		p.Add(`</tr>`)
	}
	p.Add(`</tbody></table></div>`)
}

// Line is one curve of a plot.
type Line struct {
	Name  string
	Class string // of its color: a to f
	Y     []float64
	Shape Shape
}

// class is that of its dots, and of its key.
func (l *Line) class() string {
	if l.Shape == Hollow {
		return l.Class + " hollow"
	}
	return l.Class
}

// Shape is how a curve is drawn.
type Shape uint8

// The shapes.
const (
	Both   Shape = iota // a line, with dots where they are few
	Path                // a line alone
	Dots                // dots alone
	Hollow              // hollow dots
)

// Plot is curves over points that stand at equal distances.
type Plot struct {
	Title string
	Ticks []string             // names of the points, or fewer, spread over the whole
	Say   func(float64) string // how a value is written
	Lines []Line
}

// The size of a plot, and of its margins.
const (
	plotWidth, plotHeight = 340, 200
	left, right           = 64, 22
	top, bottom           = 12, 24
	dotted                = 60 // points up to which each is a dot
)

// Plot draws. What is no finite number is no point.
func (p *Page) Plot(d Plot) {
	most := 0.0
	for _, l := range d.Lines {
		for _, y := range l.Y {
			if !missing(y) {
				most = max(most, y)
			}
		}
	}
	p.Add(`<figure><figcaption>`, html.EscapeString(d.Title), `<span class="key">`)
	for _, l := range d.Lines {
		p.Add(`<span class="`, l.class(), `">`, html.EscapeString(l.Name), `</span>`)
	}
	p.Add(`</span></figcaption>`)
	p.addf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s, at most %s">`, plotWidth, plotHeight, html.EscapeString(d.Title), html.EscapeString(d.Say(most)))
	step := half(most)
	for i, said := 0, ""; i <= 2 && (i == 0 || most > 0); i++ {
		y := height(float64(i) / 2)
		p.addf(`<path class="grid" d="M%d %.1fH%d"/>`, left, y, plotWidth-right)
		if tick := d.Say(float64(i) * step); tick != said && (i != 1 || tick != d.Say(2*step)) {
			p.addf(`<text class="tick y" x="%d" y="%.1f">%s</text>`, left-6, y+4, html.EscapeString(tick))
			said = tick
		}
	}
	for i, t := range d.Ticks {
		p.addf(`<text class="tick x" x="%.1f" y="%d">%s</text>`, across(i, len(d.Ticks)), plotHeight-6, html.EscapeString(t))
	}
	for _, l := range d.Lines {
		p.curve(l, 2*step)
	}
	p.Add(`</svg></figure>`)
}

func (p *Page) addf(format string, args ...any) { fmt.Fprintf(&p.out, format, args...) }

// half is a round number that is at least half of most.
func half(most float64) float64 {
	if most <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(most/2)))
	for _, round := range []float64{1, 1.5, 2, 2.5, 3, 4, 5, 6, 8} {
		whole := round == math.Trunc(round) || unit >= 10
		if whole && 2*round*unit >= most {
			return round * unit
		}
	}
	return 10 * unit
}

// height is where a share of the axis stands.
func height(share float64) float64 { return top + (1-share)*(plotHeight-top-bottom) }

// across is where the i-th of n points stands.
func across(i, n int) float64 {
	if n < 2 {
		return left + (plotWidth-left-right)/2
	}
	return left + float64(i)*(plotWidth-left-right)/float64(n-1)
}

func (p *Page) curve(l Line, most float64) {
	var path, dots strings.Builder
	pen := 'M'
	for i, y := range l.Y {
		if missing(y) {
			pen = 'M'
			continue
		}
		if most > 0 {
			y /= most
		}
		x, y := across(i, len(l.Y)), height(max(y, 0))
		fmt.Fprintf(&path, "%c%.1f %.1f", pen, x, y)
		fmt.Fprintf(&dots, `<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>`, l.class(), x, y)
		pen = 'L'
	}
	if l.Shape <= Path {
		p.Add(`<path class="line `, l.Class, `" d="`, path.String(), `"/>`)
	}
	if l.Shape >= Dots || l.Shape == Both && len(l.Y) <= dotted {
		p.Add(dots.String())
	}
}

func missing(y float64) bool { return math.IsNaN(y) || math.IsInf(y, 0) }
