package view

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/millrace/millrace/internal/load"
)

// WriteText writes the report for people, the targets side by side. The error
// is the writer's.
func WriteText(w io.Writer, r *load.Report) error {
	t := &table{targets: r.Targets}
	t.all("", func(x *load.Result) string { return x.Target })
	t.counts()
	t.times()
	t.service()
	t.judges()
	t.generator()
	if words := compressed(r); words != "" {
		fmt.Fprintln(&t.out, words)
	}
	t.write()
	for i := range r.Targets {
		for _, words := range r.Targets[i].Caveats {
			fmt.Fprintf(&t.out, "%s, not comparable: %s\n", r.Targets[i].Target, words)
		}
	}
	for _, x := range r.Targets {
		for _, label := range slices.Sorted(maps.Keys(x.Samples)) {
			fmt.Fprintf(&t.out, "%s, first %s: %s\n", x.Target, label, strings.Join(strings.Fields(x.Samples[label]), " "))
		}
	}
	if r.Interrupted {
		fmt.Fprintln(&t.out, "The run was interrupted: this is the report so far.")
	}
	_, err := io.WriteString(w, printable(t.out.String()))
	return err
}

// compressed says that time was; nothing where it was not.
func compressed(r *load.Report) string {
	if r.Speed == 1 || r.Speed == 0 {
		return ""
	}
	return fmt.Sprintf("Time was compressed: it passed %s times as fast as the machine's. All times and rates are in that time.", round(r.Speed))
}

// table collects rows of one label and one cell for each target.
type table struct {
	targets []load.Result
	rows    [][]string
	out     strings.Builder
}

// all adds a row.
func (t *table) all(label string, cell func(*load.Result) string) {
	row := []string{label}
	for i := range t.targets {
		row = append(row, cell(&t.targets[i]))
	}
	t.rows = append(t.rows, row)
}

// some adds a row if any cell is not empty; the others show a dash.
func (t *table) some(label string, cell func(*load.Result) string) {
	if !slices.ContainsFunc(t.targets, func(x load.Result) bool { return cell(&x) != "" }) {
		return
	}
	t.all(label, func(x *load.Result) string {
		if s := cell(x); s != "" {
			return s
		}
		return "-"
	})
}

// count adds a row if any target's number is not 0.
func (t *table) count(label string, n func(*load.Result) int64) {
	t.some(label, func(x *load.Result) string {
		if v := n(x); v != 0 {
			return decimal(v)
		}
		return ""
	})
}

func (t *table) counts() {
	t.all("started", func(x *load.Result) string { return decimal(x.Started) })
	t.all("answered", func(x *load.Result) string { return decimal(x.Answered) })
	t.all("errors", func(x *load.Result) string {
		return fmt.Sprintf("%d (%.2f %%)", x.Errors, 100*share(x.Errors, x.Answered+x.Errors))
	})
	for _, label := range names(t.targets, func(x *load.Result) map[string]int64 { return x.ByError }) {
		t.count("  "+label, func(x *load.Result) int64 { return x.ByError[label] })
	}
	if slices.ContainsFunc(t.targets, func(x load.Result) bool { return x.Canceled+x.Disconnected+x.Stalled > 0 }) {
		t.all("errors of the well-behaved", func(x *load.Result) string { return decimal(x.ErrorsBehaved) })
	}
	t.others()
	t.count("in the warm-up", func(x *load.Result) int64 { return x.WarmUp })
}

// others counts the requests that became neither a plain answer nor an error.
func (t *table) others() {
	t.count("answers of tasks", func(x *load.Result) int64 { return x.Tasks })
	t.count("we left", func(x *load.Result) int64 { return x.Canceled })
	t.count("we hung up", func(x *load.Result) int64 { return x.Disconnected })
	t.count("we stalled", func(x *load.Result) int64 { return x.Stalled })
	t.count("unfinished at the end", func(x *load.Result) int64 { return x.Unfinished })
	t.count("not sent", func(x *load.Result) int64 { return x.Unsent })
}

func (t *table) times() {
	t.summary("latency", func(x *load.Result) *load.Summary { return &x.Latency })
	t.summary("others' latency", func(x *load.Result) *load.Summary { return x.Others })
	t.summary("greedy latency", func(x *load.Result) *load.Summary { return x.Greedy })
	t.summary("first byte", func(x *load.Result) *load.Summary { return &x.FirstByte })
	t.summary("told wait", func(x *load.Result) *load.Summary { return &x.Wait })
	for _, class := range names(t.targets, func(x *load.Result) map[string]load.Summary { return x.Classes }) {
		t.summary("class "+class, func(x *load.Result) *load.Summary { return new(x.Classes[class]) })
		t.summary("class "+class+", told wait", func(x *load.Result) *load.Summary { return new(x.Waits[class]) })
	}
	for _, path := range names(t.targets, func(x *load.Result) map[string]load.Summary { return x.Paths }) {
		t.summary(path, func(x *load.Result) *load.Summary { return new(x.Paths[path]) })
	}
}

// names are the keys of the targets' maps, sorted.
func names[T any](targets []load.Result, of func(*load.Result) map[string]T) []string {
	all := map[string]bool{}
	for i := range targets {
		for name := range of(&targets[i]) {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (t *table) summary(label string, of func(*load.Result) *load.Summary) {
	t.some(label+" p50/p90/p95", func(x *load.Result) string {
		s := of(x)
		if s == nil || s.Count == 0 {
			return ""
		}
		return ms(s.P50) + " " + ms(s.P90) + " " + ms(s.P95)
	})
	t.some(label+" p99/max", func(x *load.Result) string {
		s := of(x)
		if s == nil || s.Count == 0 {
			return ""
		}
		return ms(s.P99) + " " + ms(s.Max)
	})
}

func (t *table) service() {
	t.all("answers a second", func(x *load.Result) string { return fmt.Sprintf("%.2f", x.AnswersPerSecond) })
	t.all("tokens a minute", func(x *load.Result) string { return fmt.Sprintf("%.0f", 60*x.TokensPerSecond) })
	t.some("attempts an answer", func(x *load.Result) string {
		if x.AttemptsPerAnswer == 0 {
			return ""
		}
		return fmt.Sprintf("%.4f", x.AttemptsPerAnswer)
	})
	t.count("streams complete", func(x *load.Result) int64 { return x.Streams.Complete })
	t.count("streams cut", func(x *load.Result) int64 { return x.Streams.Cut })
	t.count("stream comments", func(x *load.Result) int64 { return x.Streams.Comments })
	t.all("fairness (Jain, served cost)", func(x *load.Result) string {
		return fmt.Sprintf("%s of %d users", jain(&x.Fairness), x.Fairness.Users)
	})
	t.all("answers a user", func(x *load.Result) string {
		return fmt.Sprintf("%d to %d", x.Fairness.LeastAnswers, x.Fairness.MostAnswers)
	})
}

func (t *table) judges() {
	books := func(label string, cell func(*load.JudgeReport) string) {
		t.some("judge: "+label, func(x *load.Result) string {
			if x.Judge == nil {
				return ""
			}
			return cell(x.Judge)
		})
	}
	books("accepted", func(j *load.JudgeReport) string { return decimal(j.Final.Accepted) })
	books("throttled", func(j *load.JudgeReport) string { return decimal(j.Final.Throttled) + byName(j.Final.ThrottledBy) })
	books("aborted", func(j *load.JudgeReport) string { return decimal(j.Final.Aborted) })
	books("faulted", func(j *load.JudgeReport) string { return decimal(j.Final.Faulted) })
	books("most in flight", func(j *load.JudgeReport) string { return decimal(j.Final.MostInFlight) })
	books("in flight at the very end", func(j *load.JudgeReport) string { return decimal(j.Final.InFlight) })
	for _, name := range limits(t.targets) {
		books(name+", worst span", func(j *load.JudgeReport) string {
			l := limit(&j.Final, name)
			return fmt.Sprintf("%d of %d (%.3f)", l.WorstSpan, l.Configured, l.WorstRatio)
		})
		books(name+", used", func(j *load.JudgeReport) string {
			return fmt.Sprintf("%.2f %%", 100*limit(&j.AtEnd, name).Utilization)
		})
	}
}

// limits are the names of the judges' limits, sorted.
func limits(targets []load.Result) []string {
	return names(targets, func(x *load.Result) map[string]bool {
		all := map[string]bool{}
		if x.Judge != nil {
			for _, l := range x.Judge.AtEnd.Limits {
				all[l.Name] = true
			}
		}
		return all
	})
}

func (t *table) generator() {
	t.all("generator: CPU of one core", func(x *load.Result) string { return fmt.Sprintf("%.0f %%", 100*x.Generator.CPUShare) })
	t.some("generator: most memory", func(x *load.Result) string {
		if x.Generator.PeakBytes == 0 {
			return ""
		}
		return fmt.Sprintf("%.0f MB", float64(x.Generator.PeakBytes)/1e6)
	})
	t.all("generator: most behind", func(x *load.Result) string { return ms(x.Generator.BehindMS) })
}

func limit(b *load.JudgeBooks, name string) load.JudgeLimit {
	for _, l := range b.Limits {
		if l.Name == name {
			return l
		}
	}
	return load.JudgeLimit{}
}

func (t *table) write() {
	widths := make([]int, len(t.targets)+1)
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range t.rows {
		fmt.Fprintf(&t.out, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(&t.out, "  %*s", widths[i+1], cell)
		}
		t.out.WriteByte('\n')
	}
}

// ms shows milliseconds with the unit a person would choose.
func ms(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.2fs", v/1000)
	case v >= 10:
		return fmt.Sprintf("%.0fms", v)
	}
	return fmt.Sprintf("%.2fms", v)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func share(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// byName lists counts, the largest first, in parentheses; nothing for none.
func byName(counts map[string]int64) string {
	if len(counts) == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(counts))
	sort.SliceStable(names, func(i, j int) bool { return counts[names[i]] > counts[names[j]] })
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%s %d", name, counts[name])
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
