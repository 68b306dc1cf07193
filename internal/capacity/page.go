package capacity

import (
	"math"
	"slices"
	"strconv"

	"github.com/millrace/millrace/internal/capacity/figure"
)

// Page is the report as one page that needs nothing else: no script, no font, no network.
func (r *Report) Page() []byte {
	p := &page{figure.NewPage("Capacity plan")}
	if r.Serves > 0 {
		p.Add(`<p class="lead">This configuration serves <strong>`, strconv.Itoa(r.Serves), ` users</strong> with a p95 wait of at most `, figure.Wait(r.MaxP95), `.</p>`)
	}
	var names, titles []string
	for i := range r.Rows {
		names = append(names, strconv.Itoa(r.Rows[i].Users))
		titles = append(titles, names[i]+" users")
	}
	p.matrix("Users", names, r.Rows)
	p.verdicts(titles, r.Rows)
	p.byUsers(names, r.Rows)
	p.overTime(titles, r.Rows)
	p.notes(r.Notes)
	return p.Close()
}

// page is one that is being written.
type page struct{ *figure.Page }

// columns are those of the matrix behind the first: short ones stand in a narrow page too.
var columns = []string{"Wanted / min", "Served / min", "Tokens / min", "Seats: mean of most", "Wait p50", "Wait p95", "No answer", "Used", "of", "Fairness (Jain)"}

func (p *page) matrix(what string, names []string, rows []Row) {
	var cells [][]string
	for i := range rows {
		cells = append(cells, append([]string{names[i]}, rows[i].cells()[1:]...))
	}
	p.Grid("Capacity matrix", append([]string{what}, columns...), cells, "of")
}

func (p *page) verdicts(titles []string, rows []Row) {
	p.Add(`<h2>In words</h2><dl>`)
	for i := range rows {
		row := &rows[i]
		p.Add(`<dt>`)
		p.Text(titles[i])
		p.Add(`</dt><dd class="`, map[bool]string{true: "good", false: "bad"}[row.Good], `">`)
		p.Text(row.Verdict + ".")
		if row.Advice != "" {
			p.Add(` <span>`)
			p.Text(row.Advice)
			p.Add(`</span>`)
		}
		p.Add(`</dd>`)
	}
	p.Add(`</dl>`)
}

func (p *page) notes(notes []string) {
	for _, n := range notes {
		p.Add(`<p>`)
		p.Text(n)
		p.Add(`</p>`)
	}
}

func (p *page) byUsers(users []string, rows []Row) {
	line := func(name, class string, f func(*Row) float64) figure.Line {
		l := figure.Line{Name: name, Class: class}
		for i := range rows {
			l.Y = append(l.Y, f(&rows[i]))
		}
		return l
	}
	plot := func(title string, say func(float64) string, lines ...figure.Line) {
		p.Plot(figure.Plot{Title: title, Ticks: users, Say: say, Lines: lines})
	}
	p.Add(`<h2>By users</h2><div class="plots">`)
	plot("Requests a minute", figure.Number,
		line("wanted", "b", func(r *Row) float64 { return r.Wanted }), line("served", "a", func(r *Row) float64 { return r.Served }))
	plot("Wait in the queue", figure.Wait,
		line("p95", "b", func(r *Row) float64 { return r.WaitP95 }), line("p50", "a", func(r *Row) float64 { return r.WaitP50 }))
	var uses []figure.Line
	for i := 0; len(rows) > 0 && i < min(len(rows[0].Use), 6); i++ { // as many as there are colors
		uses = append(uses, line(rows[0].Use[i].Path, string(rune('a'+i)), func(r *Row) float64 { return r.Use[i].Used }))
	}
	plot("Use of the limits", figure.Percent, uses...)
	if lost := line("share", "b", lostShare); slices.Max(append(lost.Y, 0)) > 0 {
		plot("Requests without an answer", figure.Percent, lost)
	}
	p.Add(`</div>`)
}

func (p *page) overTime(titles []string, rows []Row) {
	p.Add(`<h2>Over time</h2><div class="plots">`)
	for i := range rows {
		s := &rows[i].Series
		p.Plot(figure.Plot{
			Title: titles[i] + ": requests", Say: figure.Number,
			Ticks: []string{"0", figure.Minutes(s.Step * points / 2), figure.Minutes(s.Step * points)},
			Lines: []figure.Line{{Name: "waiting", Class: "b", Y: s.Waiting}, {Name: "running", Class: "a", Y: s.Running}},
		})
	}
	p.Add(`</div>`)
}

// Page is the need as one page that needs nothing else: the quota, the run with it and
// with a tenth less, and how it was found.
func (n *Need) Page() []byte {
	p := &page{figure.NewPage("Quota for " + strconv.Itoa(n.Users) + " users")}
	p.Add(`<p class="lead">What <strong>`, strconv.Itoa(n.Users), ` users</strong> need for a p95 wait of at most `, figure.Wait(n.MaxP95), `.</p>`)
	var cells [][]string
	for _, l := range n.Limits {
		cells = append(cells, []string{l.Setting, l.Alone, figure.Dash(l.Configured)})
	}
	p.Grid("Quota", []string{"Needed", "Alone", "Configured"}, cells, "Needed")
	names, rows := []string{"With it", "10 % less"}, []Row{n.With, n.Less}
	p.Add(`<h2>Played</h2>`)
	p.matrix("Quota", names, rows)
	p.verdicts(names, rows)
	p.overTime(names, rows)
	p.tries(n)
	p.notes(n.Notes)
	return p.Close()
}

// tries are the plots of the search, one for each limit.
func (p *page) tries(n *Need) {
	p.Add(`<h2>How it was found</h2><p>Alone is what would do if nothing else were limited. Each limit is tried alone first, then all together, then each as far as the others allow: `, strconv.Itoa(len(n.Tries)), ` tries.</p><div class="plots">`)
	for i, l := range n.Limits {
		var all, good, bad figure.Line
		for _, try := range n.Tries {
			v := try.Values[i]
			if v == 0 {
				continue
			}
			yes, no := float64(v), math.NaN()
			if !try.Good {
				yes, no = no, yes
			}
			all.Y, good.Y, bad.Y = append(all.Y, float64(v)), append(good.Y, yes), append(bad.Y, no)
		}
		all.Name, all.Class, all.Shape = "tried", "a", figure.Path
		good.Name, good.Class, good.Shape = "enough", "c", figure.Dots
		bad.Name, bad.Class, bad.Shape = "not enough", "b", figure.Hollow
		p.Plot(figure.Plot{Title: l.Setting, Ticks: []string{"1", strconv.Itoa(len(all.Y))}, Say: count, Lines: []figure.Line{all, good, bad}})
	}
	p.Add(`</div>`)
}

func count(v float64) string { return figure.Grouped(int64(v + 0.5)) }
