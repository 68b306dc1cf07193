package promql

import (
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	guidePath  = "../../docs/guide/metrics.md"
	alertsPath = "../../examples/prometheus/alerts.yaml"
	boardPath  = "../../examples/grafana/millrace.json"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	row  = regexp.MustCompile("(?m)^\\| `(millrace_[a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ([^|]+) \\|")
	word = regexp.MustCompile("`([a-z0-9_]+)`")
)

// vocabulary is what the guide knows: the labels of each series, and all words.
type vocabulary struct {
	series map[string][]string
	words  map[string]bool
}

func vocabularyOf(t *testing.T) vocabulary {
	t.Helper()
	guide := read(t, guidePath)
	v := vocabulary{series: map[string][]string{}, words: map[string]bool{}}
	for _, m := range row.FindAllStringSubmatch(guide, -1) {
		var names []string
		for _, l := range word.FindAllStringSubmatch(m[3], -1) {
			names = append(names, l[1])
		}
		if m[2] != "histogram" {
			v.series[m[1]] = names
			continue
		}
		v.series[m[1]+"_bucket"] = append(slices.Clone(names), "le")
		v.series[m[1]+"_sum"], v.series[m[1]+"_count"] = names, names
	}
	for _, w := range word.FindAllStringSubmatch(guide, -1) {
		v.words[w[1]] = true
	}
	if len(v.series) < 15 {
		t.Fatalf("the guide has %d series only; has its table changed?", len(v.series))
	}
	return v
}

// check returns what is wrong with a query, and the labels of its series.
func (v vocabulary) check(query string) (faults, known []string) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return []string{err.Error()}, nil
	}
	var grouped []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			names, found := v.series[n.Name]
			if !found {
				faults = append(faults, "there is no series "+n.Name)
			}
			known = append(known, names...)
			for _, m := range n.LabelMatchers {
				faults = append(faults, v.matcher(m, names)...)
			}
		case *parser.AggregateExpr:
			grouped = append(grouped, n.Grouping...)
		}
		return nil
	})
	for _, l := range grouped {
		if !slices.Contains(known, l) {
			faults = append(faults, "nothing has the label "+l)
		}
	}
	return faults, known
}

// matcher checks the label, and the words of labels whose values are words of ours.
func (v vocabulary) matcher(m *labels.Matcher, names []string) (faults []string) {
	if m.Name == labels.MetricName {
		return nil
	}
	if !slices.Contains(names, m.Name) {
		return []string{"the label " + m.Name + " is not of this series"}
	}
	if m.Name != "outcome" && m.Name != "kind" && m.Name != "limit" && m.Name != "held" {
		return nil
	}
	for value := range strings.SplitSeq(m.Value, "|") {
		if !v.words[value] && value != "false" {
			faults = append(faults, m.Name+" is never "+value)
		}
	}
	return faults
}

func TestVocabularyCanObject(t *testing.T) {
	v := vocabularyOf(t)
	for query, sound := range map[string]bool{
		`sum by (class) (rate(millrace_requests_total{outcome=~"served|cached"}[5m]))`: true,
		`histogram_quantile(0.9, sum by (le) (millrace_queue_wait_seconds_bucket))`:    true,
		`rate(millrace_requests_total[5m]`:                                             false,
		`millrace_requests`:                                                            false,
		`millrace_queue_wait_seconds`:                                                  false,
		`millrace_requests_total{user="x"}`:                                            false,
		`millrace_requests_total{outcome="refuse"}`:                                    false,
		`sum by (upstream) (rate(millrace_requests_total[5m]))`:                        false,
		`millrace_requests_total + rate(millrace_flows_active[5m`:                      false,
	} {
		if faults, _ := v.check(query); (len(faults) == 0) != sound {
			t.Errorf("%s: faults %v", query, faults)
		}
	}
}

func TestAlerts(t *testing.T) {
	v := vocabularyOf(t)
	groups, errs := rulefmt.Parse([]byte(read(t, alertsPath)), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.Fatal("no groups")
	}
	template := regexp.MustCompile(`\$labels\.([a-z_]+)`)
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			faults, known := v.check(r.Expr)
			for _, f := range faults {
				t.Errorf("%s: %s", r.Alert, f)
			}
			if r.Annotations["summary"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s: no summary or no severity", r.Alert)
			}
			for _, text := range r.Annotations {
				for _, l := range template.FindAllStringSubmatch(text, -1) {
					if !slices.Contains(known, l[1]) {
						t.Errorf("%s: its text names the label %s", r.Alert, l[1])
					}
				}
			}
		}
	}
}

// TestScansRaiseNoAlert: what came to no route, such as unknown paths and wrong keys, is of
// the class other, and says nothing of the demand.
func TestScansRaiseNoAlert(t *testing.T) {
	for _, path := range []string{alertsPath, guidePath} {
		for _, selector := range regexp.MustCompile(`rate\(millrace_requests_total(\{[^}]*\})?`).FindAllString(read(t, path), -1) {
			if !strings.Contains(selector, `class!="other"`) {
				t.Errorf("%s: %s counts those who scan", path, selector)
			}
		}
	}
}

// The alerts of the guide are those of the file: the same questions, asked for as long.
func TestGuideHasAlertsOfTheFile(t *testing.T) {
	_, shown, _ := strings.Cut(read(t, guidePath), "```yaml\ngroups:\n")
	shown, _, _ = strings.Cut(shown, "```")
	file, guide := alerts(t, read(t, alertsPath)), alerts(t, "groups:\n"+shown)
	if len(guide) == 0 {
		t.Error("the guide shows no alert")
	}
	for name, said := range guide {
		switch meant, found := file[name]; {
		case !found:
			t.Errorf("%s is not in the file", name)
		case said != meant:
			t.Errorf("%s is %q in the guide and %q in the file", name, said, meant)
		}
	}
}

// alerts are the questions of a file of rules in one spelling, and for how long each
// must hold, by the names of the alerts.
func alerts(t *testing.T, text string) map[string]string {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	all := map[string]string{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				t.Fatal(err)
			}
			all[r.Alert] = expr.String() + " for " + r.For.String()
		}
	}
	return all
}

// dashboard is what matters of Grafana's model.
type dashboard struct {
	Title         string
	UID           string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		ID         int
		Type       string
		Title      string
		Datasource struct{ Type, UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct{ RefID, Expr, LegendFormat string }
	}
}

func TestDashboard(t *testing.T) {
	v := vocabularyOf(t)
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, boardPath)), &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 38 {
		t.Errorf("title %q, uid %q, schema %d: Grafana 10 has 38", d.Title, d.UID, d.SchemaVersion)
	}
	variable := strings.NewReplacer("$__rate_interval", "5m", "$class", "chat", "$upstream", "main")
	for _, l := range d.Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(l.Definition); l.Type == "query" && (m == nil || !slices.Contains(v.series[m[1]], m[2])) {
			t.Errorf("variable %s: %s", l.Name, l.Definition)
		}
	}
	ids, legend := map[int]bool{}, regexp.MustCompile(`\{\{(\w+)\}\}`)
	for i, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d, %q: its id is missing or taken", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H || a.X+a.W > 24 {
				t.Errorf("%q lies over %q, or beyond the edge", p.Title, q.Title)
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("%q asks nothing, or not the chosen source", p.Title)
		}
		for _, target := range p.Targets {
			faults, known := v.check(variable.Replace(target.Expr))
			for _, f := range faults {
				t.Errorf("%q: %s", p.Title, f)
			}
			for _, l := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(known, l[1]) {
					t.Errorf("%q: its legend names the label %s", p.Title, l[1])
				}
			}
		}
	}
}
