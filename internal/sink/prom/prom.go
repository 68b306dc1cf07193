package prom

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

const (
	namespace = "millrace"
	other     = "other"
	maxNames  = 1001 // of classes, and of upstreams; one of each is "other"
)

// Options says which names may become labels.
type Options struct {
	Classes   []string       // classes of the configuration; every other one is "other"
	Upstreams []string       // upstreams of the configuration; every other one is "other"
	Runtime   bool           // tell about the process and the Go runtime as well
	Snapshot  func() []Gauge // read at each scrape; nil for none
}

func (o Options) validate() error {
	var faults []error
	for _, list := range []struct {
		what  string
		names []string
	}{{"classes", o.Classes}, {"upstreams", o.Upstreams}} {
		if len(list.names) > maxNames {
			faults = append(faults, fmt.Errorf("metrics: %d %s would be labels; configure at most %d", len(list.names), list.what, maxNames))
		}
		for _, name := range list.names {
			if !utf8.ValidString(name) {
				faults = append(faults, fmt.Errorf("metrics: %s: %q is not UTF-8; rename it", list.what, name))
			}
		}
	}
	return errors.Join(faults...)
}

// Sink counts records and attempts. Use New.
type Sink struct {
	registry *prometheus.Registry
	vectors  *vectors
	strays   []prometheus.Counter // by event.Stray
	names    atomic.Pointer[names]
	mu       sync.Mutex // held by who makes new names
}

// names are the series by the names of the configuration. They are never changed,
// but replaced as a whole.
type names struct {
	classes   map[flow.Class]*class
	upstreams map[string]*upstream
}

var _ event.Sink = (*Sink)(nil)

// class holds the series of one class, so that a record needs one lookup.
type class struct {
	outcomes           []prometheus.Counter // by flow.Outcome
	wait, first, total prometheus.Observer
	held, broken       prometheus.Counter
	waits              []prometheus.Counter // as a flow.Waits
}

// upstream holds the series of one upstream.
type upstream struct {
	kinds                                []prometheus.Counter // by llm.ErrorKind
	input, output, cacheRead, cacheWrite prometheus.Counter
}

// New returns a sink with a registry of its own.
func New(o Options) (*Sink, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Sink{registry: prometheus.NewRegistry()}
	s.vectors = newVectors(s.registry)
	s.strays = s.vectors.unrouted()
	s.names.Store(&names{})
	if err := s.Name(append([]string{other}, o.Classes...), append([]string{other}, o.Upstreams...)); err != nil {
		return nil, err
	}
	if o.Snapshot != nil {
		s.registry.MustRegister(reader{o.Snapshot})
	}
	if o.Runtime {
		s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return s, nil
}

// Name makes labels of more classes and upstreams: those of a configuration that
// was loaded later. Series that exist stay and go on counting. If it fails nothing
// has changed.
func (s *Sink) Name(classes, upstreams []string) error {
	if err := (Options{Classes: classes, Upstreams: upstreams}).validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.names.Load()
	next := &names{classes: make(map[flow.Class]*class), upstreams: make(map[string]*upstream)}
	maps.Copy(next.classes, old.classes)
	maps.Copy(next.upstreams, old.upstreams)
	for _, name := range classes {
		if next.classes[flow.Class(name)] == nil && len(next.classes) <= maxNames {
			next.classes[flow.Class(name)] = s.vectors.class(name)
		}
	}
	for _, name := range upstreams {
		if next.upstreams[name] == nil && len(next.upstreams) <= maxNames {
			next.upstreams[name] = s.vectors.upstream(name)
		}
	}
	s.names.Store(next)
	return nil
}

// Handler serves the metrics page.
func (s *Sink) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Record implements event.Sink.
func (s *Sink) Record(r *event.Record) {
	if i := int(r.Stray); r.Stray != event.StrayNone && i < len(s.strays) {
		s.strays[i].Inc()
		return // who scans the gateway is no demand
	}
	named := s.names.Load().classes
	c := named[r.Key.Class]
	if c == nil {
		c = named[other]
	}
	if i := int(r.Outcome); i < len(c.outcomes) {
		c.outcomes[i].Inc()
	}
	if r.FirstByte > 0 {
		c.first.Observe(r.FirstByte.Seconds())
	}
	for i, d := range r.Waits {
		if d > 0 {
			c.waits[i].Add(d.Seconds())
		}
	}
	ran := r.Attempts > 0
	if ran {
		c.wait.Observe(r.Queued.Seconds())
		c.total.Observe(r.Total.Seconds())
	}
	// Who left the queue by himself proves a promise neither kept nor broken.
	if !r.Quoted || !ran && r.Outcome != flow.OutcomeHoldExpired {
		return
	}
	if r.EtaHeld() {
		c.held.Inc()
		return
	}
	c.broken.Inc()
}

// Attempt implements event.Sink.
func (s *Sink) Attempt(a *event.Attempt) {
	named := s.names.Load().upstreams
	u := named[a.Upstream]
	if u == nil {
		u = named[other]
	}
	if i := int(a.Kind); i < len(u.kinds) {
		u.kinds[i].Inc()
	}
	addTokens(u.input, a.Used.Input)
	addTokens(u.output, a.Used.Output)
	addTokens(u.cacheRead, a.Used.CacheRead)
	addTokens(u.cacheWrite, a.Used.CacheWrite)
}

// addTokens leaves out what a counter may not be given: less than nothing.
func addTokens(c prometheus.Counter, n int64) {
	if n > 0 {
		c.Add(float64(n))
	}
}

// vectors are the metric families.
type vectors struct {
	requests, strays, attempts, tokens, eta, waits *prometheus.CounterVec
	wait, first, total                             *prometheus.HistogramVec
}

// Bounds of the histograms, in seconds. Queues are held for minutes, answers
// stream for minutes.
var (
	waitBounds   = []float64{0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800}
	answerBounds = []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800}
)

func newVectors(to prometheus.Registerer) *vectors {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
		to.MustRegister(v)
		return v
	}
	histogram := func(name, help string, bounds []float64) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: bounds}, []string{"class"})
		to.MustRegister(v)
		return v
	}
	return &vectors{
		requests: counter("requests_total", "Requests by how they ended.", "class", "outcome"),
		strays:   counter("unrouted_total", "Requests that came to no route, by what of them was unknown.", "cause"),
		attempts: counter("attempts_total", "Attempts at an upstream by what became of them; none is success.", "upstream", "kind"),
		tokens:   counter("tokens_total", "Tokens settled with an upstream.", "upstream", "direction"),
		eta:      counter("eta_quoted_total", "Waits promised on arrival, by whether the 90th percentile held.", "class", "held"),
		waits:    counter("queue_wait_reason_seconds_total", "Time in the queue of requests that have ended, by what it was for.", "class", "reason"),
		wait:     histogram("queue_wait_seconds", "Time in the queue of requests that were dispatched.", waitBounds),
		first:    histogram("time_to_first_byte_seconds", "Arrival to the first answer byte.", answerBounds),
		total:    histogram("request_duration_seconds", "Arrival to the end of requests that were dispatched.", answerBounds),
	}
}

func (v *vectors) unrouted() []prometheus.Counter {
	all := make([]prometheus.Counter, len(event.Strays())+1)
	all[event.StrayNone] = prometheus.NewCounter(prometheus.CounterOpts{}) // told to nobody
	for _, s := range event.Strays() {
		all[s] = v.strays.WithLabelValues(s.String())
	}
	return all
}

func (v *vectors) class(name string) *class {
	c := &class{
		outcomes: make([]prometheus.Counter, len(flow.Outcomes())+1),
		wait:     v.wait.WithLabelValues(name),
		first:    v.first.WithLabelValues(name),
		total:    v.total.WithLabelValues(name),
		held:     v.eta.WithLabelValues(name, "true"),
		broken:   v.eta.WithLabelValues(name, "false"),
	}
	c.outcomes[flow.OutcomeNone] = prometheus.NewCounter(prometheus.CounterOpts{}) // told to nobody
	for _, why := range flow.Reasons() {
		c.waits = append(c.waits, v.waits.WithLabelValues(name, string(why)))
	}
	for _, o := range flow.Outcomes() {
		c.outcomes[o] = v.requests.WithLabelValues(name, o.String())
	}
	return c
}

func (v *vectors) upstream(name string) *upstream {
	u := &upstream{
		kinds:      make([]prometheus.Counter, len(llm.Kinds())),
		input:      v.tokens.WithLabelValues(name, "input"),
		output:     v.tokens.WithLabelValues(name, "output"),
		cacheRead:  v.tokens.WithLabelValues(name, "cache_read"),
		cacheWrite: v.tokens.WithLabelValues(name, "cache_write"),
	}
	for _, k := range llm.Kinds() {
		u.kinds[k] = v.attempts.WithLabelValues(name, k.String())
	}
	return u
}
