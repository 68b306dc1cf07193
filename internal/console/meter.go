package console

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// What a Meter keeps.
const (
	sliceLen   = 5 * time.Second
	slices5m   = 60 // of sliceLen: what "lately" means
	slices1m   = 12 // likewise: what the verdict looks back on
	maxClasses = 64 // as many as a configuration may have
	otherClass = "other"

	perOctave = 8 // classes of waiting times, 9 % apart
	octaves   = 21
	minWait   = time.Millisecond // shorter ones did not wait
)

// Meter counts how requests end: over the last five minutes by slices of 5 s, and
// since midnight UTC. It implements event.Sink. Use NewMeter.
type Meter struct {
	mu        sync.Mutex
	ring      [slices5m]slice
	day       int64 // days since 1970, of today
	today     today
	since     time.Time // the first record of all, or the start of today
	classes   map[flow.Class]*classCount
	upstreams map[string]*upstreamCount
}

// slice is what ended within one sliceLen.
type slice struct {
	number   int64 // since 1970
	finished int64
	refused  int64
	told429  int64
	failed   int64 // no upstream helped, or it ran too long
	away     int64 // turned away, but by no operator
	waits    histogram
}

// today is what ended since midnight UTC.
type today struct {
	Finished  int64 `json:"finished"`
	Served    int64 `json:"served"`
	Waited    int64 `json:"waited"`    // of those served: after a wait
	Told429   int64 `json:"told_429"`  // answered with 429
	Refused   int64 `json:"refused"`   // turned away, or held in vain
	Throttled int64 `json:"throttled"` // attempts that a provider answered with 429
}

// classCount is a class since the start.
type classCount struct{ finished, served, refused int64 }

// upstreamCount is an upstream since the start.
type upstreamCount struct {
	attempts, throttles, failures int64
	lastThrottle                  time.Time
}

// NewMeter returns a Meter that has counted nothing.
func NewMeter() *Meter {
	return &Meter{classes: make(map[flow.Class]*classCount), upstreams: make(map[string]*upstreamCount)}
}

// histogram counts waits by size.
type histogram [perOctave * octaves]uint32

func (h *histogram) add(wait time.Duration) {
	i := 0
	if wait > minWait {
		i = int(perOctave * math.Log2(float64(wait)/float64(minWait)))
	}
	h[min(i, len(h)-1)]++
}

// quantile is the upper end of the class of waits that holds the p-th of them,
// or 0 where there are none, or those are too short to count.
func (h *histogram) quantile(p float64) time.Duration {
	var all uint64
	for _, n := range h {
		all += uint64(n)
	}
	need := uint64(math.Ceil(p * float64(all)))
	for i, n := range h {
		if need <= uint64(n) {
			if i == 0 {
				return 0
			}
			return time.Duration(float64(minWait) * math.Exp2(float64(i+1)/perOctave)).Round(minWait)
		}
		need -= uint64(n)
	}
	return 0
}

// Record implements event.Sink.
func (m *Meter) Record(r *event.Record) {
	end := r.Arrived.Add(r.Total)
	m.mu.Lock()
	defer m.mu.Unlock()
	refused, served := turnedAway(r.Outcome), answered(r.Outcome)
	m.turn(end)
	m.today.Finished++
	c := m.class(r.Key.Class)
	c.finished++
	s := m.at(end)
	if s != nil {
		s.finished++
		s.lose(r)
		if r.Attempts > 0 {
			s.waits.add(r.Queued)
		}
	}
	switch {
	case served:
		c.served++
		m.today.Served++
		if r.Queued > minWait {
			m.today.Waited++
		}
	case refused:
		c.refused++
		m.today.Refused++
		if s != nil {
			s.refused++
		}
	}
	if r.Status == 429 {
		m.today.Told429++
		if s != nil {
			s.told429++
		}
	}
}

// lose counts an outcome that somebody should look after. What came to no route, for it
// asked for what is not there or without a key, is nobody's loss.
func (s *slice) lose(r *event.Record) {
	if r.Route == "" {
		return
	}
	switch r.Outcome {
	case flow.OutcomeFailed, flow.OutcomeDeadline:
		s.failed++
	case flow.OutcomeRefused, flow.OutcomeHoldExpired:
		s.away++
	default:
	}
}

// answered reports whether the client got what it asked for.
func answered(o flow.Outcome) bool {
	return o == flow.OutcomeServed || o == flow.OutcomeCached || o == flow.OutcomeCoalesced
}

// turnedAway reports whether it was the gateway that did not let it run.
func turnedAway(o flow.Outcome) bool {
	return o == flow.OutcomeRefused || o == flow.OutcomeHoldExpired || o == flow.OutcomeEvicted
}

// Attempt implements event.Sink.
func (m *Meter) Attempt(a *event.Attempt) {
	end := a.Started.Add(a.Total)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(end)
	u := m.upstreams[a.Upstream]
	if u == nil {
		u = &upstreamCount{}
		m.upstreams[strings.Clone(a.Upstream)] = u // as many as are configured
	}
	u.attempts++
	switch a.Kind {
	case llm.KindNone, llm.KindCanceled:
	case llm.KindThrottle:
		u.throttles++
		u.lastThrottle = end
		m.today.Throttled++
	default:
		u.failures++
	}
}

// turn begins a new day if it is one. What ended yesterday and is told late counts
// for today.
func (m *Meter) turn(at time.Time) {
	day := at.Unix() / (24 * 60 * 60)
	if day > m.day {
		m.day, m.today = day, today{}
		if m.since.IsZero() {
			m.since = at
		} else {
			m.since = time.Unix(day*24*60*60, 0)
		}
	}
}

// at is the slice of a time; nil if that is no longer kept.
func (m *Meter) at(t time.Time) *slice {
	number := t.UnixNano() / int64(sliceLen)
	s := &m.ring[number%slices5m]
	if s.number < number {
		*s = slice{number: number}
	}
	if s.number > number {
		return nil
	}
	return s
}

// class is the count of a class, or of all the others once there are too many.
func (m *Meter) class(name flow.Class) *classCount {
	c := m.classes[name]
	if c == nil && len(m.classes) >= maxClasses {
		name = otherClass
		c = m.classes[name]
	}
	if c == nil {
		c = &classCount{}
		m.classes[flow.Class(strings.Clone(string(name)))] = c
	}
	return c
}

// lately is the last five minutes.
type lately struct {
	Finished int64   `json:"finished"`
	Refused  int64   `json:"refused"`
	Told429  int64   `json:"told_429"`
	WaitP50  float64 `json:"wait_p50_ms"`
	WaitP95  float64 `json:"wait_p95_ms"`
	Series   series  `json:"series"`
}

// series is the same by slices, oldest first, up to the last that is over.
type series struct {
	Start    int64     `json:"start"` // Unix seconds of the first slice's end
	Step     int64     `json:"step"`  // seconds
	Finished []int64   `json:"finished"`
	Refused  []int64   `json:"refused"`
	WaitP95  []float64 `json:"wait_p95_ms"`
}

// minute is the last minute, for the verdict.
type minute struct{ finished, failed, away int64 }

// figures is a Meter at one moment.
type figures struct {
	lately    lately
	minute    minute
	today     today
	since     time.Time
	classes   map[flow.Class]classCount
	upstreams map[string]upstreamCount
}

func (m *Meter) figures(now time.Time) figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	f := figures{today: m.today, since: m.since, classes: make(map[flow.Class]classCount), upstreams: make(map[string]upstreamCount)}
	for name, c := range m.classes {
		f.classes[name] = *c
	}
	for name, u := range m.upstreams {
		f.upstreams[name] = *u
	}
	f.lately, f.minute = m.lately(now), m.minute(now)
	return f
}

func (m *Meter) minute(now time.Time) (sum minute) {
	last := now.UnixNano() / int64(sliceLen)
	for number := last - slices1m; number <= last; number++ {
		if s := &m.ring[number%slices5m]; s.number == number {
			sum.finished += s.finished
			sum.failed += s.failed
			sum.away += s.away
		}
	}
	return sum
}

func (m *Meter) lately(now time.Time) lately {
	last := now.UnixNano() / int64(sliceLen) // under way
	l := lately{Series: series{Start: (last - slices5m + 1) * int64(sliceLen/time.Second), Step: int64(sliceLen / time.Second)}}
	var all histogram
	for number := last - slices5m + 1; number <= last; number++ {
		s := &m.ring[number%slices5m]
		if s.number != number {
			s = &slice{}
		}
		l.Finished += s.finished
		l.Refused += s.refused
		l.Told429 += s.told429
		for i, n := range s.waits {
			all[i] += n
		}
		if number < last {
			l.Series.Finished = append(l.Series.Finished, s.finished)
			l.Series.Refused = append(l.Series.Refused, s.refused)
			l.Series.WaitP95 = append(l.Series.WaitP95, ms(s.waits.quantile(0.95)))
		}
	}
	l.WaitP50, l.WaitP95 = ms(all.quantile(0.5)), ms(all.quantile(0.95))
	l.Series.Start += l.Series.Step
	return l
}

// names are the keys of a map in order.
func names[K ~string, V any](m map[K]V) []K {
	all := make([]K, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
