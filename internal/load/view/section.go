package view

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/load/gauge"
)

// maxUsers is how many users a table names.
const maxUsers = 20

// overTime is everything that has a time.
func (p *page) overTime() {
	p.put(`<p class="soft">%s</p><div class="plots">`+"\n", p.intervals())
	p.timePlot("Answers a second", "", round, func(x *load.Result, at *gauge.Point) float64 { return float64(at.Answered) / x.Interval })
	p.timePlot("Latency p95", "of the answers that ended in an interval; p50 thin", axisMS, func(_ *load.Result, at *gauge.Point) float64 {
		return orGap(at.P95, at.Answered)
	}, func(_ *load.Result, at *gauge.Point) float64 { return orGap(at.P50, at.Answered) })
	p.timePlot("Errors a second", "", round, func(x *load.Result, at *gauge.Point) float64 { return float64(at.Errors) / x.Interval })
	p.timePlot("Requests in flight", "the most at once; waiting ones included", round, func(_ *load.Result, at *gauge.Point) float64 { return float64(at.InFlight) })
	p.timePlot("Requests begun a second", "", round, func(x *load.Result, at *gauge.Point) float64 { return float64(at.Started) / x.Interval })
	p.timePlot("Tokens served a minute", "", round, func(x *load.Result, at *gauge.Point) float64 { return 60 * float64(at.Tokens) / x.Interval })
	if slices.ContainsFunc(p.targets, func(x load.Result) bool { return x.Wait.Count > 0 }) {
		p.timePlot("Told wait p95", "in the queue", axisMS, func(_ *load.Result, at *gauge.Point) float64 {
			if at.Wait == 0 && at.Answered == 0 {
				return math.NaN()
			}
			return at.Wait
		})
	}
	p.put("</div>\n")
}

// orGap is a value, or a gap where there was nothing to measure.
func orGap(v float64, n int64) float64 {
	if n == 0 {
		return math.NaN()
	}
	return v
}

func (p *page) intervals() string {
	every := p.targets[0].Interval
	words := "Each point stands for " + clockLabel(every) + ". The time begins when a target is first asked"
	if p.targets[0].WarmUpSeconds > 0 {
		words += "; the shaded part is the warm-up, which no figure outside these plots counts"
	}
	return words + "."
}

// timePlot draws a value of each point for all targets; the second one thin.
func (p *page) timePlot(title, note string, unit func(float64) string, values ...func(*load.Result, *gauge.Point) float64) {
	d := plot{title: title, note: note, x: clockLabel, y: unit}
	end := 0.
	for i := range p.targets {
		x := &p.targets[i]
		d.warm = x.WarmUpSeconds
		for v, value := range values {
			c := curve{name: x.Target, color: i, thin: v > 0}
			if v > 0 {
				c.name += ", p50"
			}
			for k := range x.Series {
				at := &x.Series[k]
				middle := at.At + x.Interval/2
				c.points = append(c.points, xy{middle, value(x, at)})
				end = max(end, at.At+x.Interval)
			}
			d.curves = append(d.curves, c)
		}
	}
	d.ticks = timeTicks(max(end, 1))
	p.figure(&d)
}

// percentiles is the latency's distribution.
func (p *page) percentiles() {
	d := plot{title: "Latency by percentile", note: "each step to the right is a tenth as many requests", y: axisMS, ticks: []float64{0, 1, 2, 3, 4, 5}}
	d.x = func(v float64) string { return []string{"0", "90 %", "99 %", "99.9 %", "99.99 %", "100 %"}[int(v)] }
	most := 1
	for i := range p.targets {
		c := curve{name: p.targets[i].Target, color: i}
		for _, q := range p.targets[i].Curve {
			if q.Percent >= 100 { // the maximum stands a step behind the last percentage
				break
			}
			at := -math.Log10(1 - q.Percent/100)
			c.points = append(c.points, xy{at, q.MS})
			most = max(most, int(math.Ceil(at)))
		}
		d.curves = append(d.curves, c)
	}
	d.ticks = d.ticks[:most+1]
	p.put(`<div class="plots">`)
	p.figure(&d)
	p.put("</div>\n")
	rows := [][]string{}
	for i := range p.targets {
		x := &p.targets[i]
		for _, s := range []struct {
			name string
			of   *load.Summary
		}{{"latency", &x.Latency}, {"first byte", &x.FirstByte}, {"told wait", &x.Wait}, {"latency of the others", x.Others}, {"latency of the greedy one", x.Greedy}} {
			if s.of != nil && s.of.Count > 0 {
				rows = append(rows, summaryRow(x.Target+": "+s.name, s.of))
			}
		}
	}
	p.table("Percentiles of what was answered, by target.", summaryHead("times"), rows)
}

func summaryHead(first string) []string {
	return []string{first, "count", "mean", "p50", "p90", "p95", "p99", "max"}
}

func summaryRow(name string, s *load.Summary) []string {
	return []string{name, decimal(s.Count), ms(s.Mean), ms(s.P50), ms(s.P90), ms(s.P95), ms(s.P99), ms(s.Max)}
}

// waits is who waited how long.
func (p *page) waits() {
	var rows [][]string
	for _, group := range []struct {
		name string
		of   func(*load.Result) map[string]load.Summary
	}{
		{"told wait of class", func(x *load.Result) map[string]load.Summary { return x.Waits }},
		{"latency of class", func(x *load.Result) map[string]load.Summary { return x.Classes }},
		{"latency of", func(x *load.Result) map[string]load.Summary { return x.Paths }},
	} {
		for i := range p.targets {
			of := group.of(&p.targets[i])
			for _, name := range slices.Sorted(maps.Keys(of)) {
				s := of[name]
				rows = append(rows, summaryRow(p.targets[i].Target+": "+group.name+" "+name, &s))
			}
		}
	}
	if len(rows) > 0 {
		p.table("By class as the gateway named it, and by path where there was a mix.", summaryHead("class"), rows)
	} else {
		p.put(`<p>No target named a class.</p>`)
	}
	p.put(`<div class="plots">`)
	p.userPlot("Wait of the users", "p95 of each as told, from the shortest to the longest", axisMS, func(u *load.UserResult) float64 { return u.WaitP95 })
	p.userPlot("Latency of the users", "p95 of each, from the shortest to the longest", axisMS, func(u *load.UserResult) float64 { return u.P95 })
	p.put("</div>\n")
	for i := range p.targets {
		p.userTable(&p.targets[i])
	}
}

// userPlot draws a value of all users in order of size, for the targets where it
// is not 0 for all.
func (p *page) userPlot(title, note string, unit func(float64) string, value func(*load.UserResult) float64) {
	d := plot{title: title, note: note, y: unit, ticks: []float64{0, 25, 50, 75, 100}}
	d.x = func(v float64) string { return round(v) + " %" }
	for i := range p.targets {
		values := make([]float64, len(p.targets[i].Users))
		for k := range values {
			values[k] = value(&p.targets[i].Users[k])
		}
		slices.Sort(values)
		if len(values) == 0 || values[len(values)-1] == 0 {
			continue
		}
		d.curves = append(d.curves, curve{name: p.targets[i].Target, color: i, points: spread(values)})
	}
	if len(d.curves) > 0 {
		p.figure(&d)
	}
}

// spread is sorted values from 0 to 100 percent, at most 200 of them.
func spread(values []float64) []xy {
	n := min(len(values), 200)
	if n == 1 {
		return []xy{{0, values[0]}, {100, values[0]}}
	}
	points := make([]xy, n)
	for k := range points {
		at := k * (len(values) - 1) / (n - 1)
		points[k] = xy{100 * float64(at) / float64(len(values)-1), values[at]}
	}
	return points
}

// userTable names the users who fared worst.
func (p *page) userTable(x *load.Result) {
	users := slices.Clone(x.Users)
	slices.SortStableFunc(users, func(a, b load.UserResult) int {
		return cmp.Or(cmp.Compare(b.WaitP95, a.WaitP95), cmp.Compare(b.P95, a.P95))
	})
	caption := fmt.Sprintf("%s: all %d users, the longest waits first.", x.Target, len(users))
	if len(users) > maxUsers {
		caption = fmt.Sprintf("%s: the %d of %d users who waited longest.", x.Target, maxUsers, len(users))
		users = users[:maxUsers]
	}
	rows := make([][]string, 0, len(users))
	for _, u := range users {
		rows = append(rows, []string{
			u.User, decimal(u.Asked), decimal(u.Answers), decimal(u.Errors), decimal(u.Cost),
			orDash(u.WaitP50, x.Wait.Count), orDash(u.WaitP95, x.Wait.Count), orDash(u.P50, u.Answers), orDash(u.P95, u.Answers),
		})
	}
	p.table(caption, []string{"user", "asked", "answers", "errors", "tokens", "wait p50", "wait p95", "latency p50", "latency p95"}, rows)
}

// orDash is a time, or a dash where there was nothing to measure.
func orDash(v float64, n int64) string {
	if n == 0 {
		return "-"
	}
	return ms(v)
}

// jain is the index of fairness; none where nobody has got anything.
func jain(f *load.Fairness) string {
	if f.Jain == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f", f.Jain)
}

// statuses is how requests ended, in the target's words and in ours.
func (p *page) statuses() {
	t := &table{targets: p.report.Targets}
	t.all("answered", func(x *load.Result) string { return counted(x.Answered, x.Started-x.WarmUp) })
	t.all("errors of the target", func(x *load.Result) string { return counted(x.Errors, x.Started-x.WarmUp) })
	for _, label := range names(t.targets, func(x *load.Result) map[string]int64 { return x.ByStatus }) {
		t.count("  "+statusName(label), func(x *load.Result) int64 { return x.ByStatus[label] })
	}
	t.others()
	t.count("in the warm-up, counted nowhere else", func(x *load.Result) int64 { return x.WarmUp })
	head := []string{"outcome"}
	for i := range t.targets {
		head = append(head, t.targets[i].Target)
	}
	p.table("Requests by how they ended.", head, t.rows)
	for i := range p.targets {
		samples := p.targets[i].Samples
		for _, label := range slices.Sorted(maps.Keys(samples)) {
			p.put(`<h3>%s, the first %s</h3><pre>%s</pre>`+"\n", p.targets[i].Target, statusName(label), strings.TrimSpace(samples[label]))
		}
	}
}

func counted(n, of int64) string { return fmt.Sprintf("%d (%.2f %%)", n, 100*share(n, of)) }

// statusName says what a label means where it does not say it itself.
func statusName(label string) string {
	switch label {
	case "200":
		return "200 OK"
	case "429":
		return "429 too many requests"
	case "503":
		return "503 unavailable"
	case "cut":
		return "stream cut before its end"
	case "eof":
		return "connection closed early"
	case "format":
		return "an answer of another form"
	case "error_frame":
		return "error within a stream"
	case "task_failed":
		return "task failed"
	case "task_revoked":
		return "task revoked"
	case "success_false":
		return "answer that says success: false"
	}
	return label
}

// fairness is how evenly the users were served.
func (p *page) fairness() {
	var rows [][]string
	for i := range p.targets {
		f := &p.targets[i].Fairness
		rows = append(rows, []string{
			p.targets[i].Target, jain(f), decimal(int64(f.Users)), decimal(f.LeastAnswers), decimal(f.MostAnswers),
		})
	}
	p.table("Jain's index of the tokens served per user; a greedy user is left out.", []string{"target", "Jain", "users", "least answers", "most answers"}, rows)
	p.put(`<div class="plots">`)
	p.userPlot("Tokens served per user", "from the least to the most", round, func(u *load.UserResult) float64 { return float64(u.Cost) })
	p.userPlot("Answers per user", "from the least to the most", round, func(u *load.UserResult) float64 { return float64(u.Answers) })
	p.put("</div>\n")
}

// quota is the judge's books.
func (p *page) quota() {
	var rows [][]string
	for i := range p.targets {
		j := p.targets[i].Judge
		if j == nil {
			continue
		}
		for _, l := range j.AtEnd.Limits {
			final := limit(&j.Final, l.Name)
			rows = append(rows, []string{
				p.targets[i].Target + ": " + l.Name, decimal(l.Configured), percent(roundTo(100*l.Utilization, 2)), decimal(l.Admitted),
				fmt.Sprintf("%d (%.3f)", final.WorstSpan, final.WorstRatio), decimal(j.Final.ThrottledBy[l.Name]),
			})
		}
	}
	p.table("Each limit of the simulated provider, in its own books.", []string{"limit", "allowed a span", "used", "admitted", "most in any span", "throttled"}, rows)
	p.put(`<div class="plots">`)
	for _, name := range limits(p.targets) {
		p.quotaPlot(name)
	}
	p.put("</div>\n")
}

// quotaPlot draws the use of one limit: what the judge charged between two looks
// into its books, against what the limit allows in that time.
func (p *page) quotaPlot(name string) {
	d := plot{title: "Use of " + name, note: "of what the limit allows, between two looks into the books", x: clockLabel, y: percent, least: 100}
	end := 0.
	for i := range p.targets {
		x := &p.targets[i]
		if x.Judge == nil {
			continue
		}
		l := limit(&x.Judge.AtEnd, name)
		span, err := time.ParseDuration(l.Span)
		if err != nil || span <= 0 {
			span = time.Minute
		}
		c := curve{name: x.Target, color: i}
		for k := 1; k < len(x.Judge.Series); k++ {
			before, now := &x.Judge.Series[k-1], &x.Judge.Series[k]
			charged := now.Admitted[name] - before.Admitted[name]
			if charged < 0 { // the books were reset in between
				charged = now.Admitted[name]
			}
			allowed := float64(l.Configured) * (now.At - before.At) / span.Seconds()
			if allowed > 0 {
				c.points = append(c.points, xy{(now.At + before.At) / 2, 100 * float64(charged) / allowed})
			}
			end = max(end, now.At)
		}
		d.curves = append(d.curves, c)
		d.warm = x.WarmUpSeconds
	}
	if end > 0 {
		d.ticks = timeTicks(end)
		p.figure(&d)
	}
}

// roundTo rounds to so many digits behind the point.
func roundTo(v float64, digits int) float64 {
	power := math.Pow10(digits)
	return math.Round(v*power) / power
}
