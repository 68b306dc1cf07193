package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// WriteText writes the report for people, the targets side by side. The error
// is the writer's.
func (r *Report) WriteText(w io.Writer) error {
	t := &table{targets: r.Targets}
	t.all("", func(x *Result) string { return x.Target })
	t.counts()
	t.times()
	t.service()
	t.judges()
	t.all("generator: CPU of one core", func(x *Result) string { return fmt.Sprintf("%.0f %%", 100*x.Generator.CPUShare) })
	t.all("generator: most behind", func(x *Result) string { return ms(x.Generator.BehindMS) })
	t.write()
	for _, x := range r.Targets {
		for _, label := range slices.Sorted(maps.Keys(x.Samples)) {
			fmt.Fprintf(&t.out, "%s, first %s: %s\n", x.Target, label, strings.Join(strings.Fields(x.Samples[label]), " "))
		}
	}
	if r.Interrupted {
		fmt.Fprintln(&t.out, "The run was interrupted: this is the report so far.")
	}
	_, err := io.WriteString(w, t.out.String())
	return err
}

// table collects rows of one label and one cell for each target.
type table struct {
	targets []Result
	rows    [][]string
	out     strings.Builder
}

// all adds a row.
func (t *table) all(label string, cell func(*Result) string) {
	row := []string{label}
	for i := range t.targets {
		row = append(row, cell(&t.targets[i]))
	}
	t.rows = append(t.rows, row)
}

// some adds a row if any cell is not empty; the others show a dash.
func (t *table) some(label string, cell func(*Result) string) {
	if !slices.ContainsFunc(t.targets, func(x Result) bool { return cell(&x) != "" }) {
		return
	}
	t.all(label, func(x *Result) string {
		if s := cell(x); s != "" {
			return s
		}
		return "-"
	})
}

// count adds a row if any target's number is not 0.
func (t *table) count(label string, n func(*Result) int64) {
	t.some(label, func(x *Result) string {
		if v := n(x); v != 0 {
			return decimal(v)
		}
		return ""
	})
}

func (t *table) counts() {
	t.all("started", func(x *Result) string { return decimal(x.Started) })
	t.all("answered", func(x *Result) string { return decimal(x.Answered) })
	t.all("errors", func(x *Result) string {
		return fmt.Sprintf("%d (%.2f %%)", x.Errors, 100*share(x.Errors, x.Answered+x.Errors))
	})
	labels := map[string]bool{}
	for _, x := range t.targets {
		for label := range x.ByError {
			labels[label] = true
		}
	}
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		t.count("  "+label, func(x *Result) int64 { return x.ByError[label] })
	}
	if slices.ContainsFunc(t.targets, func(x Result) bool { return x.Canceled+x.Disconnected+x.Stalled > 0 }) {
		t.all("errors of the well-behaved", func(x *Result) string { return decimal(x.ErrorsBehaved) })
	}
	t.count("we left", func(x *Result) int64 { return x.Canceled })
	t.count("we hung up", func(x *Result) int64 { return x.Disconnected })
	t.count("we stalled", func(x *Result) int64 { return x.Stalled })
	t.count("unfinished at the end", func(x *Result) int64 { return x.Unfinished })
	t.count("not sent, too many in flight", func(x *Result) int64 { return x.Unsent })
	t.count("in the warm-up", func(x *Result) int64 { return x.WarmUp })
}

func (t *table) times() {
	t.summary("latency", func(x *Result) *Summary { return &x.Latency })
	t.summary("others' latency", func(x *Result) *Summary { return x.Others })
	t.summary("greedy latency", func(x *Result) *Summary { return x.Greedy })
	t.summary("first byte", func(x *Result) *Summary { return &x.FirstByte })
	t.summary("told wait", func(x *Result) *Summary { return &x.Wait })
	classes := map[string]bool{}
	for _, x := range t.targets {
		for class := range x.Classes {
			classes[class] = true
		}
	}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		t.summary("class "+class, func(x *Result) *Summary {
			s := x.Classes[class]
			return &s
		})
	}
}

func (t *table) summary(label string, of func(*Result) *Summary) {
	t.some(label+" p50/p90/p95", func(x *Result) string {
		s := of(x)
		if s == nil || s.Count == 0 {
			return ""
		}
		return ms(s.P50) + " " + ms(s.P90) + " " + ms(s.P95)
	})
	t.some(label+" p99/max", func(x *Result) string {
		s := of(x)
		if s == nil || s.Count == 0 {
			return ""
		}
		return ms(s.P99) + " " + ms(s.Max)
	})
}

func (t *table) service() {
	t.all("answers a second", func(x *Result) string { return fmt.Sprintf("%.2f", x.AnswersPerSecond) })
	t.all("tokens a minute", func(x *Result) string { return fmt.Sprintf("%.0f", 60*x.TokensPerSecond) })
	t.some("attempts an answer", func(x *Result) string {
		if x.AttemptsPerAnswer == 0 {
			return ""
		}
		return fmt.Sprintf("%.4f", x.AttemptsPerAnswer)
	})
	t.count("streams complete", func(x *Result) int64 { return x.Streams.Complete })
	t.count("streams cut", func(x *Result) int64 { return x.Streams.Cut })
	t.count("stream comments", func(x *Result) int64 { return x.Streams.Comments })
	t.all("fairness (Jain, served cost)", func(x *Result) string {
		return fmt.Sprintf("%.4f of %d users", x.Fairness.Jain, x.Fairness.Users)
	})
	t.all("answers a user", func(x *Result) string {
		return fmt.Sprintf("%d to %d", x.Fairness.LeastAnswers, x.Fairness.MostAnswers)
	})
}

func (t *table) judges() {
	books := func(label string, cell func(*JudgeReport) string) {
		t.some("judge: "+label, func(x *Result) string {
			if x.Judge == nil {
				return ""
			}
			return cell(x.Judge)
		})
	}
	books("accepted", func(j *JudgeReport) string { return decimal(j.Final.Accepted) })
	books("throttled", func(j *JudgeReport) string { return decimal(j.Final.Throttled) + byName(j.Final.ThrottledBy) })
	books("aborted", func(j *JudgeReport) string { return decimal(j.Final.Aborted) })
	books("faulted", func(j *JudgeReport) string { return decimal(j.Final.Faulted) })
	books("most in flight", func(j *JudgeReport) string { return decimal(j.Final.MostInFlight) })
	books("in flight at the very end", func(j *JudgeReport) string { return decimal(j.Final.InFlight) })
	names := map[string]bool{}
	for _, x := range t.targets {
		if x.Judge != nil {
			for _, l := range x.Judge.AtEnd.Limits {
				names[l.Name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		books(name+", worst span", func(j *JudgeReport) string {
			l := j.Final.limit(name)
			return fmt.Sprintf("%d of %d (%.3f)", l.WorstSpan, l.Configured, l.WorstRatio)
		})
		books(name+", used", func(j *JudgeReport) string {
			return fmt.Sprintf("%.2f %%", 100*j.AtEnd.limit(name).Utilization)
		})
	}
}

func (b *JudgeBooks) limit(name string) JudgeLimit {
	for _, l := range b.Limits {
		if l.Name == name {
			return l
		}
	}
	return JudgeLimit{}
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

// Line shows a snapshot in one line.
func (s Snapshot) Line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %4ds", s.Target, int(s.Elapsed/time.Second))
	if s.WarmUp {
		b.WriteString(" warm-up")
	}
	failed := int64(0)
	for _, n := range s.Errors {
		failed += n
	}
	fmt.Fprintf(&b, "  in flight %d  answered %d  errors %d%s", s.InFlight, s.Answered, failed, byName(s.Errors))
	fmt.Fprintf(&b, "  p50 %s  p95 %s  %.1f/s", ms(float64(s.P50.Microseconds())/1000), ms(float64(s.P95.Microseconds())/1000), s.Rate)
	return b.String()
}
