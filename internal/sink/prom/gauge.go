package prom

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// maxGauges bounds what one scrape takes from a snapshot.
const maxGauges = 20_000

// Gauge is one value read at a scrape. All of one Name must agree in Help,
// Counter and the names of their labels.
type Gauge struct {
	Name    string  // with its unit, without the millrace_ in front, such as quota_used_tokens
	Help    string  // one sentence
	Labels  []Label // values from closed lists or the configuration only
	Value   float64
	Counter bool // it only grows; Name ends in _total
}

// Label is one label of a Gauge.
type Label struct{ Name, Value string }

// reader is a collector over a snapshot. It describes nothing in advance, so
// the registry asks no questions until it scrapes.
type reader struct{ snapshot func() []Gauge }

// Describe implements prometheus.Collector.
func (reader) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r reader) Collect(out chan<- prometheus.Metric) {
	gauges := r.read()
	seen := make(map[string]bool, len(gauges))
	shapes := make(map[string]string)
	for _, g := range gauges[:min(len(gauges), maxGauges)] {
		if !g.fits(seen, shapes) {
			continue
		}
		if m, err := g.metric(); err == nil {
			out <- m
		}
	}
}

// read takes the snapshot; one that panics is empty.
func (r reader) read() (gauges []Gauge) {
	defer func() {
		if recover() != nil {
			gauges = nil
		}
	}()
	return r.snapshot()
}

// fits reports whether the registry will take g beside those before it. One
// that it refuses would cost the whole scrape.
func (g *Gauge) fits(seen map[string]bool, shapes map[string]string) bool {
	parts := []string{g.Help, strconv.FormatBool(g.Counter)}
	for _, l := range g.Labels {
		parts = append(parts, l.Name)
	}
	shape := strings.Join(parts, "\xff")
	parts = append(parts[:0], g.Name)
	for _, l := range g.Labels {
		parts = append(parts, l.Name, valid(l.Value))
	}
	id := strings.Join(parts, "\xff")
	if known, ok := shapes[g.Name]; seen[id] || ok && known != shape {
		return false
	}
	seen[id] = true
	shapes[g.Name] = shape
	return true
}

// valid makes s fit to be a label's value.
func valid(s string) string { return strings.ToValidUTF8(s, "?") }

func (g *Gauge) metric() (prometheus.Metric, error) {
	names := make([]string, len(g.Labels))
	values := make([]string, len(g.Labels))
	for i, l := range g.Labels {
		names[i], values[i] = l.Name, valid(l.Value)
	}
	kind := prometheus.GaugeValue
	if g.Counter {
		kind = prometheus.CounterValue
	}
	desc := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", g.Name), g.Help, names, nil)
	return prometheus.NewConstMetric(desc, kind, g.Value, values...)
}
