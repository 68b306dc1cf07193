package view

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The drawing's own units; the page stretches them to its width.
const (
	plotWidth  = 1000.
	plotHeight = 240.
	colors     = 6
)

// xy is one point of a curve.
type xy struct{ x, y float64 }

// curve is one line of a plot. A NaN as y is a gap.
type curve struct {
	name   string
	color  int
	thin   bool // drawn thin and dashed
	points []xy
}

// plot is a drawing with axes. Its words are HTML beside the drawing, so that
// they stay legible when the drawing is squeezed.
type plot struct {
	title, note string
	x, y        func(float64) string // how values are written
	ticks       []float64            // of x; the plot ends at the last
	warm        float64              // the warm-up ends here
	least       float64              // y reaches at least so high
	curves      []curve
}

// top is where the y axis ends, and the step between its lines.
func (p *plot) top() (top, step float64) {
	most := 0.
	for _, c := range p.curves {
		for _, at := range c.points {
			if !math.IsNaN(at.y) {
				most = max(most, at.y)
			}
		}
	}
	most = max(most, p.least)
	if most == 0 {
		most = 1
	}
	step = nice(most / 4)
	return math.Ceil(most/step) * step, step
}

// nice is the number 1, 2, 2.5 or 5 times a power of ten that is at least v.
func nice(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power >= v*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// timeTicks divides a time in seconds into at most six parts of a round length.
func timeTicks(end float64) []float64 {
	step := 1.
	for _, s := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400} {
		if step = s; end/s <= 6 {
			break
		}
	}
	var ticks []float64
	for t := 0.; t < end-0.7*step; t += step {
		ticks = append(ticks, t)
	}
	return append(ticks, end)
}

// figure writes the plot.
func (p *page) figure(d *plot) {
	top, step := d.top()
	end := d.ticks[len(d.ticks)-1]
	if end <= 0 {
		end = 1
	}
	p.put(`<figure><figcaption><strong>%s</strong>%s</figcaption><div class="area">`, d.title, lead(d.note))
	p.put(`<svg viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`, int(plotWidth), int(plotHeight), d.describe())
	if d.warm > 0 {
		p.put(`<rect class="warm" x="0" y="0" width="%s" height="%d"/>`, coordinate(min(d.warm/end, 1)*plotWidth), int(plotHeight))
	}
	for v := 0.; v <= top*1.0001; v += step {
		p.put(`<path class="grid" d="M0 %sH%d"/>`, coordinate(plotHeight*(1-v/top)), int(plotWidth))
	}
	for i := range d.curves {
		p.curve(&d.curves[i], end, top)
	}
	p.put(`</svg>`)
	for v := 0.; v <= top*1.0001; v += step {
		p.put(`<span class="y" style="bottom:%s%%">%s</span>`, coordinate(100*v/top), d.y(v))
	}
	for _, t := range d.ticks {
		p.put(`<span class="x" style="left:%s%%">%s</span>`, coordinate(100*t/end), d.x(t))
	}
	p.put(`</div>`)
	p.legend(d.curves)
	p.put("</figure>\n")
}

// lead puts a note behind a title.
func lead(note string) string {
	if note == "" {
		return ""
	}
	return " " + note
}

func (p *page) curve(c *curve, end, top float64) {
	var path strings.Builder
	var single strings.Builder
	down := false
	for i, at := range c.points {
		if math.IsNaN(at.y) {
			down = false
			continue
		}
		x, y := coordinate(at.x/end*plotWidth), coordinate(plotHeight*(1-at.y/top))
		if !down {
			alone := i+1 == len(c.points) || math.IsNaN(c.points[i+1].y)
			if alone {
				single.WriteString("M" + x + " " + y + "h0")
			}
			path.WriteString("M" + x + " " + y)
			down = true
			continue
		}
		path.WriteString("L" + x + " " + y)
	}
	if path.Len() > 0 {
		p.put(`<path class="l %s" d="%s"/>`, c.style(), path.String())
	}
	if single.Len() > 0 {
		p.put(`<path class="l dot %s" d="%s"/>`, c.style(), single.String())
	}
}

func (c *curve) style() string {
	style := "k" + strconv.Itoa(c.color%colors)
	if c.thin {
		style += " thin"
	}
	return style
}

func (p *page) legend(curves []curve) {
	p.put(`<ul class="legend">`)
	for i := range curves {
		p.put(`<li><svg viewBox="0 0 30 10" aria-hidden="true"><path class="l %s" d="M1 5H29"/></svg>%s</li>`, curves[i].style(), curves[i].name)
	}
	p.put(`</ul>`)
}

// describe is the plot in words.
func (p *plot) describe() string {
	var parts []string
	for _, c := range p.curves {
		least, most, sum, n := math.Inf(1), 0., 0., 0
		for _, at := range c.points {
			if !math.IsNaN(at.y) {
				least, most, sum, n = min(least, at.y), max(most, at.y), sum+at.y, n+1
			}
		}
		if n == 0 {
			parts = append(parts, c.name+": no values")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s: from %s to %s, %s on average", c.name, p.y(least), p.y(most), p.y(sum/float64(n))))
	}
	return "Plot. " + p.title + ". " + strings.Join(parts, "; ")
}

// coordinate writes a number with at most one digit behind the point.
func coordinate(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

// clockLabel writes seconds as people write them on an axis.
func clockLabel(s float64) string {
	switch {
	case s < 120 && (s >= 10 || s == math.Trunc(s)):
		return strconv.Itoa(int(math.Round(s))) + " s"
	case s < 120:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	case s < 7200:
		return strings.TrimSuffix(strconv.FormatFloat(s/60, 'f', 1, 64), ".0") + " min"
	}
	return strings.TrimSuffix(strconv.FormatFloat(s/3600, 'f', 1, 64), ".0") + " h"
}

// round writes a number as short as its size allows.
func round(v float64) string {
	switch {
	case v >= 1e6:
		return strings.TrimSuffix(strconv.FormatFloat(v/1e6, 'f', 1, 64), ".0") + "M"
	case v >= 10_000:
		return strings.TrimSuffix(strconv.FormatFloat(v/1e3, 'f', 1, 64), ".0") + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// axisMS writes milliseconds on an axis.
func axisMS(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 60_000:
		return clockLabel(v / 1000)
	case v >= 1000:
		return strconv.FormatFloat(v/1000, 'g', 3, 64) + " s"
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + " ms"
}

func percent(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) + " %" }
