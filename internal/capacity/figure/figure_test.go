package figure

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestI1Whole: a page has all it needs, and names no address.
func TestI1Whole(t *testing.T) {
	p := NewPage("Plan")
	p.Grid("Rows", []string{"users", "of"}, [][]string{{"5", "seats"}}, "of")
	p.Plot(Plot{Title: "Waits", Ticks: []string{"0", "1"}, Say: Wait, Lines: []Line{{Name: "p95", Class: "a", Y: []float64{1, 2}}}})
	page := string(p.Close())
	for _, banned := range []string{"<script", "http", "url(", "@import", "src="} {
		if strings.Contains(page, banned) {
			t.Errorf("the page holds %s", banned)
		}
	}
	for _, want := range []string{`lang="en"`, `<th scope="row">5</th>`, `<td class="word">seats</td>`, "prefers-color-scheme:dark", "<title>Plan</title>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// TestI2TextIsText: nothing that is said becomes markup.
func TestI2TextIsText(t *testing.T) {
	const nasty = `<i onload="x">&"'`
	p := NewPage(nasty)
	p.Text(nasty)
	p.Grid(nasty, []string{nasty, "n"}, [][]string{{nasty, nasty}}, nasty)
	p.Plot(Plot{Title: nasty, Ticks: []string{nasty}, Say: func(float64) string { return nasty }, Lines: []Line{{Name: nasty, Class: "a", Y: []float64{1}}}})
	page := string(p.Close())
	if strings.Contains(page, "<i ") || strings.Contains(page, `"x"`) {
		t.Errorf("markup got through:\n%s", page)
	}
	figure := page[strings.Index(page, "<figure>") : strings.Index(page, "</figure>")+len("</figure>")]
	for d := xml.NewDecoder(strings.NewReader(figure)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no markup: %v", err)
		}
	}
}

var coordinates = regexp.MustCompile(`[ML](-?[\d.]+|NaN|[+-]Inf) (-?[\d.]+|NaN|[+-]Inf)`)

// TestI3Finite: whatever is drawn stays in the frame.
func TestI3Finite(t *testing.T) {
	value := rapid.OneOf(rapid.Float64(), rapid.Just(math.NaN()), rapid.Just(math.Inf(1)), rapid.Just(0.), rapid.Float64Range(-9, 9))
	rapid.Check(t, func(t *rapid.T) {
		p := NewPage("x")
		p.Plot(Plot{Title: "x", Say: Number, Lines: []Line{
			{Name: "a", Class: "a", Y: rapid.SliceOfN(value, 0, 80).Draw(t, "y")}, {Name: "b", Class: "b", Y: rapid.SliceOfN(value, 0, 5).Draw(t, "z")},
		}})
		page := string(p.Close())
		drawn := page[strings.LastIndex(page, "</text>"):]
		if strings.Contains(drawn, "NaN") || strings.Contains(drawn, "Inf") {
			t.Fatal(drawn)
		}
		for _, at := range coordinates.FindAllStringSubmatch(drawn, -1) {
			x, _ := strconv.ParseFloat(at[1], 64)
			y, _ := strconv.ParseFloat(at[2], 64)
			if x < left || x > plotWidth-right+0.1 || y < top || y > plotHeight-bottom {
				t.Fatalf("a point at %s", at[0])
			}
		}
	})
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Number(3.14159): "3.1", Number(12345.6): "12,346", Grouped(-1): "-1", Grouped(999): "999", Grouped(1_000_000): "1,000,000",
		Percent(0): "0 %", Percent(0.0004): "<0.1 %", Percent(0.05): "5.0 %", Percent(0.996): "100 %",
		Wait(0.0004): "0 s", Wait(0.25): "250 ms", Wait(12.34): "12.3 s", Wait(240): "240 s",
		Span(90 * time.Second): "90 s", Span(2 * time.Hour): "2 h", Span(150 * time.Minute): "2.5 h", Span(10 * time.Minute): "10 min", Span(1500 * time.Millisecond): "1.5 s",
		Dash(""): "-", Dash("x"): "x",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	var b strings.Builder
	Table{{"n", "of"}, {"10", "seats"}, {"5", ""}}.Write(&b)
	Fold(&b, "one two three", "> ", 9)
	if want := " n  of\n10  seats\n 5\n> one two\n> three\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestTicksAreTrue: the axis has round numbers, and none that its words make another.
func TestTicksAreTrue(t *testing.T) {
	ticks := regexp.MustCompile(`class="tick y"[^>]*>([^<]*)<`)
	whole := func(v float64) string { return Grouped(int64(v + 0.5)) }
	for _, c := range []struct {
		most float64
		say  func(float64) string
		want string
	}{
		{0, whole, "0"},
		{1, whole, "0 1"},
		{2, whole, "0 1 2"},
		{3, whole, "0 2 4"},
		{5, whole, "0 3 6"},
		{15, whole, "0 8 16"},
		{145, whole, "0 80 160"},
		{300, whole, "0 150 300"},
		{1_190_000, whole, "0 600,000 1,200,000"},
		{0.98, Percent, "0 % 50 % 100 %"},
		{8.3, Number, "0.0 5.0 10.0"},
		{0.9, Number, "0.0 0.5 1.0"},
		{610, Wait, "0 s 400 s 800 s"},
	} {
		p := NewPage("x")
		p.Plot(Plot{Say: c.say, Lines: []Line{{Y: []float64{0, c.most}}}})
		var got []string
		for _, found := range ticks.FindAllStringSubmatch(string(p.Close()), -1) {
			got = append(got, found[1])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("up to %v: %q, want %q", c.most, got, c.want)
		}
	}
}
