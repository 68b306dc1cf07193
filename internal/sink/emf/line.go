package emf

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// Units of CloudWatch.
const (
	count   = "Count"
	millis  = "Milliseconds"
	percent = "Percent"
)

// metric is one value of a line.
type metric struct {
	name  string
	unit  string
	value float64
}

// directive names metrics that are told by the same dimensions.
type directive struct {
	dimensions [][]string
	metrics    []metric
}

// dimension is a name and its value.
type dimension struct{ name, value string }

// batch writes all lines of an interval. mu is held.
func (s *Sink) batch(now time.Time) {
	named, state := s.names.Load(), s.snapshot()
	for _, name := range slices.Sorted(maps.Keys(named.classes)) {
		s.line(now, []dimension{{"Class", string(name)}}, named.classes[name].directives(state.Waiting[string(name)]))
	}
	s.line(now, nil, []directive{{[][]string{{}}, []metric{{"Unrouted", count, float64(s.unrouted.Swap(0))}}}})
	for _, name := range slices.Sorted(maps.Keys(named.upstreams)) {
		s.line(now, []dimension{{"Upstream", name}}, named.upstreams[name].directives(state.find(name)))
	}
	for i := range state.Upstreams {
		if u := &state.Upstreams[i]; named.upstreams[u.Name] != nil {
			s.windows(now, u)
		}
	}
}

// find is the state of an upstream; nil where nothing is known.
func (s *State) find(name string) *Upstream {
	i := slices.IndexFunc(s.Upstreams, func(u Upstream) bool { return u.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Upstreams[i]
}

// maxWindows bounds the lines of one upstream.
const maxWindows = 32

func (s *Sink) windows(now time.Time, u *Upstream) {
	for i := range u.Windows[:min(len(u.Windows), maxWindows)] {
		w := &u.Windows[i]
		where := []dimension{{"Upstream", u.Name}, {"Limit", w.Limit}, {"Span", w.Span}}
		metrics := []metric{
			{"QuotaUsed", count, float64(w.Used)},
			{"QuotaReserved", count, float64(w.Reserved)},
			{"QuotaLimit", count, float64(w.Configured)},
			{"QuotaLearned", count, float64(w.Learned)},
		}
		if w.Configured > 0 {
			metrics = append(metrics, metric{"QuotaUse", percent, 100 * float64(w.Used+w.Reserved) / float64(w.Configured)})
		}
		s.line(now, where, []directive{{[][]string{{"Upstream", "Limit", "Span"}}, metrics}})
	}
}

// directives empties the counts of a class.
func (c *class) directives(waiting int) []directive {
	var ended [16]int64
	total := int64(0)
	for i := range c.outcomes {
		ended[i] = c.outcomes[i].Swap(0)
		total += ended[i]
	}
	of := func(outcomes ...flow.Outcome) (sum float64) {
		for _, o := range outcomes {
			sum += float64(ended[o])
		}
		return sum
	}
	all := []directive{{[][]string{{"Class"}, {}}, []metric{
		{"Requests", count, float64(total)},
		{"Served", count, of(flow.OutcomeServed, flow.OutcomeCached, flow.OutcomeCoalesced)},
		{"Refused", count, of(flow.OutcomeRefused)},
		{"HoldExpired", count, of(flow.OutcomeHoldExpired)},
		{"Failed", count, of(flow.OutcomeFailed, flow.OutcomeDeadline, flow.OutcomeEvicted)},
		{"Rejected", count, of(flow.OutcomeRejected)},
		{"Canceled", count, of(flow.OutcomeCanceled, flow.OutcomeDisconnected)},
		{"Answers429", count, float64(c.seen429.Swap(0))},
		{"Waiting", count, float64(waiting)},
	}}}
	wait := c.wait.take()
	if wait.count == 0 {
		return all
	}
	all[0].metrics = append(all[0].metrics, metric{"QueueWaitMax", millis, wait.max})
	return append(all, directive{[][]string{{"Class"}}, []metric{{"QueueWaitP50", millis, wait.p50}, {"QueueWaitP95", millis, wait.p95}}})
}

// directives empties the counts of an upstream.
func (u *upstream) directives(state *Upstream) []directive {
	all := []directive{{[][]string{{"Upstream"}, {}}, []metric{
		{"Attempts", count, float64(u.attempts.Swap(0))},
		{"Throttles", count, float64(u.throttles.Swap(0))},
		{"Errors", count, float64(u.faults.Swap(0))},
		{"InputTokens", count, float64(u.input.Swap(0))},
		{"OutputTokens", count, float64(u.output.Swap(0))},
	}}}
	if state == nil {
		return all
	}
	open := 0.0
	if state.Open {
		open = 1
	}
	metrics := []metric{{"SeatsUsed", count, float64(state.SeatsUsed)}, {"BreakerOpen", count, open}}
	if state.Seats > 0 {
		metrics = append(metrics, metric{"SeatsUse", percent, 100 * float64(state.SeatsUsed) / float64(state.Seats)})
	}
	return append(all, directive{[][]string{{"Upstream"}}, metrics})
}

// The parts of a document that say what its members are.
type (
	definition struct {
		Name string
		Unit string
	}
	instruction struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []definition
	}
	metadata struct {
		Timestamp         int64
		CloudWatchMetrics []instruction
	}
)

// line writes one document.
func (s *Sink) line(now time.Time, where []dimension, directives []directive) {
	about := metadata{Timestamp: now.UnixMilli()}
	document := map[string]any{}
	for _, d := range where {
		document[d.name] = printable(d.value)
	}
	for _, d := range directives {
		in := instruction{Namespace: s.options.Namespace, Dimensions: d.dimensions}
		for _, m := range d.metrics {
			in.Metrics = append(in.Metrics, definition{m.name, m.unit})
			document[m.name] = m.value
		}
		about.CloudWatchMetrics = append(about.CloudWatchMetrics, in)
	}
	document["_aws"] = about
	_ = json.NewEncoder(&s.buffer).Encode(document) // neither the buffer nor these values fail
}

// printable makes a name fit to be the value of a dimension: ASCII that can be
// seen, 1 to 1,024 bytes.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '_'
		}
		return c
	}, s)
	if strings.TrimSpace(s) == "" {
		return "_"
	}
	return s[:min(len(s), 1024)]
}
