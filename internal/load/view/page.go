package view

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/load"
)

//go:embed style.css
var style string

// maxTargets bounds what is drawn; the tables have all.
const maxTargets = 12

// WriteHTML writes the report as one page that needs nothing else: no script, no
// font, no network. The error is the writer's.
func WriteHTML(w io.Writer, r *load.Report) error {
	p := &page{report: r, targets: r.Targets[:min(len(r.Targets), maxTargets)]}
	p.head()
	p.put("<main>\n")
	for _, s := range p.sections() {
		p.put(`<section id="%s" aria-labelledby="h-%s"><h2 id="h-%s">%s</h2>`+"\n", s.id, s.id, s.id, s.title)
		s.write()
		p.put("</section>\n")
	}
	p.put("</main>\n")
	p.foot()
	_, err := io.WriteString(w, p.out.String())
	return err
}

// page is the document so far.
type page struct {
	report  *load.Report
	targets []load.Result // that are drawn
	out     strings.Builder
}

// put writes markup. Every argument that is a string is text, whoever it comes
// from, and is escaped.
func (p *page) put(format string, args ...any) {
	if len(args) == 0 {
		p.out.WriteString(strings.ReplaceAll(format, "%%", "%"))
		return
	}
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = html.EscapeString(printable(s))
		}
	}
	fmt.Fprintf(&p.out, format, args...)
}

// section is one part of the page.
type section struct {
	id, title string
	write     func()
}

// sections are those that have something to say.
func (p *page) sections() []section {
	all := []section{{"summary", "Summary", p.summary}}
	if len(p.targets) > 0 {
		all = append(all, section{"time", "Over time", p.overTime}, section{"percentiles", "Percentiles", p.percentiles},
			section{"waits", "Waits by class and user", p.waits}, section{"statuses", "How requests ended", p.statuses},
			section{"fairness", "Fairness", p.fairness})
	}
	if len(limits(p.targets)) > 0 {
		all = append(all, section{"quota", "Quota, as the judge saw it", p.quota})
	}
	title := "All figures"
	if len(p.report.Targets) > 1 {
		title = "Targets compared"
	}
	all = append(all, section{"figures", title, p.figures})
	if len(p.report.Parameters) > 0 {
		all = append(all, section{"parameters", "Parameters", p.parameters})
	}
	return append(all, section{"words", "What the words mean", p.words})
}

func (p *page) head() {
	r := p.report
	titles := make([]string, len(p.targets))
	for i := range p.targets {
		titles[i] = p.targets[i].Target
	}
	p.put(`<!doctype html>`+"\n"+`<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">`+
		`<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">`+
		"<title>Load report: %s</title>\n", strings.Join(titles, ", "))
	p.put("<style>\n")
	p.out.WriteString(style)
	p.put("</style></head>\n<body>\n<header><h1>Load report: %s</h1>\n", strings.Join(titles, ", "))
	p.put(`<p class="soft">%s</p>`+"\n", p.facts())
	if r.Interrupted {
		p.put(`<p class="warn">The run was interrupted: this is the report so far.</p>` + "\n")
	}
	if words := compressed(r); words != "" {
		p.put(`<p class="warn">%s</p>`+"\n", words)
	}
	for i := range p.targets {
		for _, words := range p.targets[i].Caveats {
			p.put(`<p class="warn"><strong>%s, not comparable:</strong> %s</p>`+"\n", p.targets[i].Target, words)
		}
	}
	p.put(`<nav aria-label="Sections"><ul>`)
	for _, s := range p.sections() {
		p.put(`<li><a href="#%s">%s</a></li>`, s.id, s.title)
	}
	p.put("</ul></nav></header>\n")
}

// facts says in one line what was run.
func (p *page) facts() string {
	r := p.report
	words := []string{"Users who ask, wait and think (closed loop)"}
	if r.Mode == "open" {
		words[0] = "Arrivals that wait for nobody (open loop)"
	}
	if len(r.Targets) > 1 && r.Together {
		words = append(words, "targets asked at the same time")
	} else if len(r.Targets) > 1 {
		words = append(words, "targets asked in turn")
	}
	if !r.Begun.IsZero() {
		words = append(words, "begun "+r.Begun.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	for i := range p.targets {
		words = append(words, "measured for "+(time.Duration(p.targets[i].Seconds*10)*100*time.Millisecond).String())
		break
	}
	return strings.Join(append(words, "seed "+strconv.FormatUint(r.Seed, 10)), " · ")
}

// summary is a card for each target.
func (p *page) summary() {
	if len(p.targets) == 0 {
		p.put(`<p>No target was asked.</p>`)
		return
	}
	p.put(`<div class="cards">`)
	for i := range p.targets {
		p.card(i)
	}
	p.put("</div>\n")
}

func (p *page) card(i int) {
	x := &p.targets[i]
	p.put(`<div class="card t%d"><h3>%s</h3><div class="url">%s</div><dl>`, i%colors, x.Target, x.URL)
	p.fact("answered", decimal(x.Answered), "")
	tone := "good"
	if x.Errors > 0 {
		tone = "bad"
	}
	p.fact("errors", decimal(x.Errors), tone)
	p.fact("errors, share", percent(roundTo(100*share(x.Errors, x.Answered+x.Errors), 2)), tone)
	p.fact("answers a second", fmt.Sprintf("%.2f", x.AnswersPerSecond), "")
	p.fact("tokens a minute", round(60*x.TokensPerSecond), "")
	p.fact("latency p50", orDash(x.Latency.P50, x.Answered), "")
	p.fact("latency p95", orDash(x.Latency.P95, x.Answered), "")
	if x.Wait.Count > 0 {
		p.fact("told wait p95", ms(x.Wait.P95), "")
	}
	p.fact("fairness (Jain)", jain(&x.Fairness), "")
	if x.Judge != nil {
		p.fact("quota used", percent(roundTo(100*x.Judge.Utilization(), 1)), "")
		tone = "good"
		if x.Judge.Final.Throttled > 0 {
			tone = "bad"
		}
		p.fact("throttled by the judge", decimal(x.Judge.Final.Throttled), tone)
	}
	if x.Unsent > 0 {
		p.fact("arrivals not sent", decimal(x.Unsent), "bad")
	}
	p.fact("the load's own CPU", fmt.Sprintf("%.0f %%", 100*x.Generator.CPUShare), "")
	if x.Generator.PeakBytes > 0 {
		p.fact("the load's own memory", fmt.Sprintf("%.0f MB", float64(x.Generator.PeakBytes)/1e6), "")
	}
	p.put("</dl></div>\n")
}

func (p *page) fact(name, value, tone string) {
	if tone != "" {
		p.put(`<div><dt>%s</dt><dd class="%s">%s</dd></div>`, name, tone, value)
		return
	}
	p.put(`<div><dt>%s</dt><dd>%s</dd></div>`, name, value)
}

// figures is the text report's table.
func (p *page) figures() {
	t := &table{targets: p.report.Targets}
	t.counts()
	t.times()
	t.service()
	t.judges()
	t.generator()
	head := []string{"figure"}
	for i := range p.report.Targets {
		head = append(head, p.report.Targets[i].Target)
	}
	p.table("Every figure of the run, by target.", head, t.rows)
}

// table writes rows whose first cell names them; two spaces in front indent it.
func (p *page) table(caption string, head []string, rows [][]string) {
	width := "scroll"
	if len(head) == 2 && head[1] == "value" {
		width = "scroll narrow"
	}
	p.put(`<div class="%s" tabindex="0" role="region" aria-label="%s"><table><caption>%s</caption><thead><tr>`, width, "Table: "+caption, caption)
	for _, cell := range head {
		p.put(`<th scope="col">%s</th>`, cell)
	}
	p.put("</tr></thead><tbody>\n")
	for _, row := range rows {
		if name, inner := strings.CutPrefix(row[0], "  "); inner {
			p.put(`<tr><th scope="row" class="in">%s</th>`, name)
		} else {
			p.put(`<tr><th scope="row">%s</th>`, row[0])
		}
		for _, cell := range row[1:] {
			p.put(`<td>%s</td>`, cell)
		}
		p.put("</tr>\n")
	}
	p.put("</tbody></table></div>\n")
}

func (p *page) parameters() {
	for _, chosen := range []bool{true, false} {
		var rows [][]string
		for _, q := range p.report.Parameters {
			if q.Default != chosen {
				rows = append(rows, []string{q.Name, q.Value})
			}
		}
		caption := "Chosen for this run."
		if !chosen {
			caption = "Left as they are by default."
		}
		if len(rows) > 0 {
			p.table(caption, []string{"parameter", "value"}, rows)
		}
	}
}

// words is the glossary.
func (p *page) words() {
	p.put(`<p><strong>Latency</strong> is counted from the moment a user meant to ask, not from the moment of sending: a load that ` +
		`falls behind, or a target that stalls it, does not make waits look short.</p>` +
		`<p><strong>First byte</strong> is the first byte that is no comment of a stream. <strong>Told wait</strong> is the time in ` +
		`the queue that the gateway reports in Millrace-Queue-Wait-Ms; a target without it has none.</p>` +
		`<p><strong>Fairness</strong> is Jain's index of the tokens served per user: 1 when all got the same, 1/n when one got all.</p>` +
		`<p><strong>Errors</strong> are the target's. What the load broke off itself, as drawn, is counted beside them.</p>` +
		`<p><strong>The judge</strong> is the simulated provider, which keeps its own books: what it admitted, and what it throttled.</p>` +
		`<p>Percentiles have three digits; those of single users are within a tenth.</p>` + "\n")
}

func (p *page) foot() {
	p.put("<footer><p>Written by <code>millrace load</code>. This page holds all it shows and asks no network for anything.</p></footer>\n</body></html>\n")
}
