package sim

import (
	"maps"
	"net/http"
	"strconv"
	"time"
)

// outcome is how an admitted request ended.
type outcome uint8

const (
	answered outcome = iota
	aborted          // the client left before the last byte
	faulted          // the fault script broke it
)

// ending is what finish books.
type ending struct {
	outcome        outcome
	stream         bool
	prompt, output int64 // as usage reported them; 0 when it was not sent
}

// maxMinutes bounds the list of throttles per minute to a day.
const maxMinutes = 24 * 60

// tally counts what happened since the reset. It is guarded by the books.
type tally struct {
	zero         int64 // when it began, on the books' clock
	first        int64 // first request since then, -1 when there was none
	carried      int   // in progress at the reset
	requests     int64
	accepted     int64
	outcomes     [faulted + 1]int64
	throttled    [dimensions]int64
	early        int64 // throttled in the first second after the first request
	minutes      []int64
	statuses     map[int]int64
	faults       map[string]int64
	meteredSum   int64
	prompt       int64
	output       int64
	produced     int64
	streams      int64
	streamsEnded int64
	mostInFlight int
}

func newTally() tally {
	return tally{first: -1, statuses: map[int]int64{}, faults: map[string]int64{}}
}

func (t *tally) begin(now int64) {
	t.requests++
	if t.first < 0 {
		t.first = now
	}
}

func (t *tally) accept(c cost) {
	t.accepted++
	t.meteredSum += c[dimTokens]
}

func (t *tally) throttle(now int64, d dimension) {
	t.throttled[d]++
	if now-t.first < int64(time.Second) {
		t.early++
	}
	minute := min(int((now-t.zero)/int64(time.Minute)), maxMinutes-1)
	for len(t.minutes) <= minute {
		t.minutes = append(t.minutes, 0)
	}
	t.minutes[minute]++
}

func (t *tally) end(e ending) {
	t.outcomes[e.outcome]++
	t.prompt += e.prompt
	t.output += e.output
	if e.stream && e.outcome == answered {
		t.streamsEnded++
	}
}

// Stats is what the provider has booked since the last reset.
type Stats struct {
	Profile   string           `json:"profile"`
	Meter     string           `json:"meter"`
	Speed     float64          `json:"speed"` // how many times as fast as that of the machine the time below passed
	Elapsed   Duration         `json:"elapsed"`
	Requests  int64            `json:"requests"`  // that reached a model route
	Accepted  int64            `json:"accepted"`  // admitted by every limit
	Answered  int64            `json:"answered"`  // to the last byte
	Aborted   int64            `json:"aborted"`   // left by the client before that
	Faulted   int64            `json:"faulted"`   // admitted, then broken by the fault script
	Throttled int64            `json:"throttled"` // refused by a limit
	By        map[string]int64 `json:"throttled_by"`
	// FirstSecond is how many of Throttled came within a second of the first
	// request.
	FirstSecond int64            `json:"first_second_throttled"`
	PerMinute   []int64          `json:"throttled_per_minute"`
	InFlight    int              `json:"in_flight"`
	Waiting     int              `json:"waiting"` // accepted, but without a seat yet
	MostFlight  int              `json:"most_in_flight"`
	Carried     int              `json:"carried"` // in progress when the books were reset
	Statuses    map[string]int64 `json:"statuses"`
	Faults      map[string]int64 `json:"faults"`
	Metered     int64            `json:"tokens_charged"` // by the meter, in its tokens dimension
	Prompt      int64            `json:"prompt_tokens"`  // as reported in usage
	Output      int64            `json:"output_tokens"`  // as reported in usage
	Produced    int64            `json:"output_produced"`
	Streams     int64            `json:"streams_started"`
	StreamsDone int64            `json:"streams_finished"`
	Limits      []LimitStats     `json:"limits"`
}

// LimitStats is one limit's part of Stats.
type LimitStats struct {
	Name       string   `json:"name"`
	Configured int64    `json:"configured"`
	Current    int64    `json:"current"` // differs while a quota fault holds
	Span       Duration `json:"span"`
	Kind       string   `json:"kind"`
	Burst      Duration `json:"burst,omitempty"`
	Slice      Duration `json:"slice,omitempty"`
	Admitted   int64    `json:"admitted"`    // charge since the reset
	Worst      int64    `json:"worst_span"`  // most admitted within any one span
	WorstRatio float64  `json:"worst_ratio"` // against the limit of that moment
	// Utilization is Admitted / (Configured x elapsed time in spans).
	Utilization float64 `json:"utilization"`
}

func (b *books) stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, t := b.now(), &b.tally
	s := Stats{
		Profile: b.profile.name, Meter: b.meter.name, Speed: b.clock.speed, Elapsed: Duration(now - t.zero),
		Requests: t.requests, Accepted: t.accepted, Answered: t.outcomes[answered],
		Aborted: t.outcomes[aborted], Faulted: t.outcomes[faulted], FirstSecond: t.early,
		PerMinute: append([]int64{}, t.minutes...), InFlight: b.inFlight, Waiting: len(b.waiting),
		MostFlight: t.mostInFlight, Carried: t.carried, Metered: t.meteredSum,
		Prompt: t.prompt, Output: t.output, Produced: t.produced,
		Streams: t.streams, StreamsDone: t.streamsEnded,
		By: map[string]int64{}, Statuses: map[string]int64{}, Faults: map[string]int64{},
		Limits: []LimitStats{},
	}
	for d, n := range t.throttled {
		s.Throttled += n
		if n > 0 {
			s.By[dimensionNames[d]] = n
		}
	}
	for code, n := range t.statuses {
		s.Statuses[strconv.Itoa(code)] = n
	}
	maps.Copy(s.Faults, t.faults)
	for _, l := range b.limits {
		s.Limits = append(s.Limits, l.stats(now-t.zero))
	}
	return s
}

func (l *limit) stats(elapsed int64) LimitStats {
	s := LimitStats{
		Name: dimensionNames[l.dim], Configured: l.configured, Current: l.current,
		Span: Duration(l.span), Kind: l.shape.Kind, Admitted: l.charged,
		Worst: l.worst, WorstRatio: l.worstRatio,
	}
	switch l.shape.Kind {
	case WindowBucket, WindowPaced:
		s.Burst = Duration(l.shape.Burst)
	case WindowSlice:
		s.Slice = Duration(l.shape.Slice)
	}
	if elapsed > 0 {
		s.Utilization = float64(l.charged) * float64(l.span) / (float64(l.configured) * float64(elapsed))
	}
	return s
}

// reset zeroes the books. The windows keep what they hold unless fresh: who
// used the quota before the measurement does not get it twice.
func (b *books) reset(fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.tally = newTally()
	b.tally.zero, b.tally.carried, b.tally.mostInFlight = now, b.inFlight+len(b.waiting), b.inFlight
	for _, l := range b.limits {
		l.charged, l.worst, l.worstRatio = 0, 0, 0
		l.admitted = ledger{span: int64(l.span)}
		if fresh {
			l.windows = newWindows(l.shape, l.current, l.span, b.clock.origin.UnixNano())
		}
	}
	if fresh {
		b.ramp = newRamp(Ramp{Above: b.ramp.above})
	}
}

func (b *books) status(code int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.statuses[code]++
}

func (b *books) fault(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.faults[name]++
}

func (b *books) streamStarted() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.streams++
	b.tally.statuses[http.StatusOK]++
}
