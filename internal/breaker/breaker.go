package breaker

import (
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// State is where a breaker stands.
type State uint8

// The states. Closed is the zero value.
const (
	Closed   State = iota // everything passes
	Open                  // nothing passes
	HalfOpen              // a few probes pass
)

// String returns the state as it appears in metrics and logs.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	}
	return "unknown"
}

// Pass is the permission to send one request. It must be given back by Done.
// The zero value was given by no breaker and changes nothing.
type Pass struct {
	generation uint64
	probe      uint64 // serial number of the probe; 0 if it is none
}

// Probe reports whether the request tests a half-open breaker.
func (p Pass) Probe() bool { return p.probe != 0 }

// Breaker guards one upstream. Use New.
type Breaker struct {
	o          Options
	generation uint64
	tripped    bool      // open or half-open
	until      time.Time // end of the open time; only if tripped
	cause      Cause     // why it tripped last; only if tripped
	failures   int64     // of so many verdicts, those that tripped it
	verdicts   int64
	kind       llm.ErrorKind // of the last failure
	since      time.Time     // when it tripped or closed last
	trips      int64
	run        int // consecutive failures
	good       int // probes that succeeded in this generation
	window     window
	probes     []probe // one place per probe that may be outstanding
	serial     uint64
}

// probe is a place that a half-open breaker may give away.
type probe struct {
	serial  uint64    // 0 when free
	expires time.Time // from then on it is free again
}

// New returns a closed breaker. Values of o that make no sense count as zero;
// ask Options.Validate first where a person wrote them.
func New(o Options) *Breaker {
	o = o.withDefaults()
	return &Breaker{
		o:          o,
		generation: 1,
		window:     window{width: o.Window / slots},
		probes:     make([]probe, o.Probes),
	}
}

// Allow asks to send one request now. If the answer is yes, the pass must be
// given back by Done, whatever happens.
func (b *Breaker) Allow(now time.Time) (Pass, bool) {
	switch b.State(now) {
	case Closed:
		return Pass{generation: b.generation}, true
	case Open:
		return Pass{}, false
	case HalfOpen:
		return b.takeProbe(now)
	}
	return Pass{}, false
}

// Ready reports whether Allow would succeed now. It takes nothing.
func (b *Breaker) Ready(now time.Time) bool {
	switch b.State(now) {
	case Closed:
		return true
	case Open:
		return false
	case HalfOpen:
		return b.outstanding(now) < len(b.probes)
	}
	return false
}

// NextProbe is when Ready may become true without any further event. It is the
// zero time if Ready is true already, or if it is held open by hand.
func (b *Breaker) NextProbe(now time.Time) time.Time {
	if b.byHand() || b.Ready(now) {
		return time.Time{}
	}
	next := b.until
	if next.Before(now) {
		next = now
	}
	if b.outstanding(next) < len(b.probes) {
		return next
	}
	return b.earliestExpiry(next)
}

// Done gives a pass back and says how the request ended: KindNone for success.
func (b *Breaker) Done(now time.Time, p Pass, kind llm.ErrorKind) {
	live := p.generation == b.generation
	if p.Probe() {
		live = b.releaseProbe(now, p) && live
	}
	if !live || (kind != llm.KindNone && !kind.Faulty()) {
		return
	}
	if kind.Faulty() {
		b.kind = kind
	}
	if p.Probe() {
		b.judgeProbe(now, kind.Faulty())
		return
	}
	b.judge(now, kind.Faulty())
}

// Reconfigure changes the options; the state and what was counted stay. Another
// window counts from now on.
func (b *Breaker) Reconfigure(o Options) {
	o = o.withDefaults()
	if o.Window != b.o.Window {
		b.window = window{width: o.Window / slots}
	}
	for len(b.probes) < o.Probes {
		b.probes = append(b.probes, probe{})
	}
	b.probes = b.probes[:o.Probes]
	b.o = o
}

// Trip opens the breaker by hand: it stays open until Reset.
func (b *Breaker) Trip(now time.Time) {
	if !b.byHand() {
		b.trip(now, CauseHand)
	}
}

// trip opens the breaker for the open time, or for good if that is done by hand.
func (b *Breaker) trip(now time.Time, why Cause) {
	failures, verdicts := b.window.bad, b.window.good+b.window.bad
	if why == CauseRun {
		failures = int64(b.run)
	}
	b.begin(now)
	b.tripped, b.cause = true, why
	b.failures, b.verdicts = failures, verdicts
	b.until = now.Add(b.o.Open)
	b.trips++
}

func (b *Breaker) byHand() bool { return b.tripped && b.cause == CauseHand }

// Reset closes the breaker by hand and forgets what it has seen.
func (b *Breaker) Reset(now time.Time) { b.begin(now) }

// State is where the breaker stands. It follows from time alone: an open
// breaker is half-open once its open time has passed, with or without traffic,
// but for one that is held open by hand.
func (b *Breaker) State(now time.Time) State {
	switch {
	case !b.tripped:
		return Closed
	case now.Before(b.until), b.byHand():
		return Open
	}
	return HalfOpen
}

// begin starts a new generation, closed and with clean books. Probes of the
// older ones stay outstanding until they come back or expire.
func (b *Breaker) begin(now time.Time) {
	b.generation++
	b.tripped, b.cause = false, CauseNone
	b.until = time.Time{}
	b.since = now
	b.run = 0
	b.good = 0
	b.window.clear()
}

// judge books a verdict while closed and trips if a rule is broken.
func (b *Breaker) judge(now time.Time, failed bool) {
	b.window.add(now, failed)
	if !failed {
		b.run = 0
		return
	}
	b.run++
	switch {
	case b.tooManyInARow():
		b.trip(now, CauseRun)
	case b.tooLargeAShare():
		b.trip(now, CauseShare)
	}
}

func (b *Breaker) tooManyInARow() bool { return b.o.Failures > 0 && b.run >= b.o.Failures }

func (b *Breaker) tooLargeAShare() bool {
	total := b.window.good + b.window.bad
	return b.o.Ratio > 0 && total >= int64(b.o.MinVolume) &&
		float64(b.window.bad) >= b.o.Ratio*float64(total)
}

func (b *Breaker) judgeProbe(now time.Time, failed bool) {
	if failed {
		b.trip(now, CauseProbe)
		return
	}
	b.good++
	if b.good >= b.o.Successes {
		b.begin(now)
	}
}

func (b *Breaker) takeProbe(now time.Time) (Pass, bool) {
	for i := range b.probes {
		p := &b.probes[i]
		if p.takenAt(now) {
			continue
		}
		b.serial++
		*p = probe{serial: b.serial, expires: now.Add(b.o.ProbeTimeout)}
		return Pass{generation: b.generation, probe: b.serial}, true
	}
	return Pass{}, false
}

// releaseProbe frees the place of p. It reports false if p no longer has one:
// given back before, or reclaimed because it took too long.
func (b *Breaker) releaseProbe(now time.Time, p Pass) bool {
	for i := range b.probes {
		place := &b.probes[i]
		if place.serial != p.probe {
			continue
		}
		held := place.takenAt(now)
		*place = probe{}
		return held
	}
	return false
}

func (p *probe) takenAt(now time.Time) bool { return p.serial != 0 && now.Before(p.expires) }

func (b *Breaker) outstanding(now time.Time) int {
	n := 0
	for i := range b.probes {
		if b.probes[i].takenAt(now) {
			n++
		}
	}
	return n
}

// earliestExpiry is the first time after now at which a place falls free. It
// is asked only when all are taken.
func (b *Breaker) earliestExpiry(now time.Time) time.Time {
	first := now.Add(b.o.ProbeTimeout)
	for i := range b.probes {
		if p := &b.probes[i]; p.takenAt(now) && p.expires.Before(first) {
			first = p.expires
		}
	}
	return first
}
