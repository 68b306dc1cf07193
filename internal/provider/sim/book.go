package sim

import (
	"sync"
	"time"
)

// dimension is one thing a provider counts.
type dimension uint8

const (
	dimRequests dimension = iota
	dimTokens
	dimInput
	dimOutput
	dimDayRequests
	dimDayTokens
	dimRamp
	dimSeats
	dimensions
)

var dimensionNames = [dimensions]string{
	"requests", "tokens", "input", "output", "requests_day", "tokens_day", "ramp", "seats",
}

// limit is one dimension with its windows and what was admitted under it.
type limit struct {
	dim        dimension
	configured int64
	current    int64 // configured times the quota factor of the fault script
	span       time.Duration
	shape      Shape
	windows    []window
	admitted   ledger  // of the last span, for the worst sum
	charged    int64   // since the reset
	worst      int64   // largest sum of admitted charges in any span
	worstRatio float64 // largest such sum against the limit of that moment
}

// books is the judge's one account of everything: what may run, what runs, and
// what happened. All of it is behind one lock, held for about a microsecond.
type books struct {
	mu       sync.Mutex
	clock    clock // its origin is time 0 of every window
	meter    meter
	profile  profile
	seats    int
	queueCap int
	limits   []*limit
	ramp     ramp
	tally    tally
	inFlight int
	waiting  []*ticket
}

// ticket is one admitted request, from admit to finish.
type ticket struct {
	ready  chan struct{} // closed when the seat is taken; nil if it was at once
	seated bool
	cost   cost
	levels levels
}

// denial is why a request was not admitted.
type denial struct {
	dim       dimension
	limit     int64
	used      int64
	requested int64
	wait      time.Duration
	tooLarge  bool // it can never be admitted
	levels    levels
}

// level is one limit as a client sees it.
type level struct {
	known     bool
	limit     int64
	remaining int64
	reset     time.Duration
}

type levels struct{ requests, tokens level }

func newBooks(o Options, p profile, m meter) *books {
	b := &books{
		clock: newClock(o.Speed), meter: m, profile: p, seats: o.Limits.Seats, queueCap: o.Queue,
		ramp: newRamp(o.Ramp),
	}
	day := Shape{Kind: WindowBucket, Burst: 24 * time.Hour}
	b.limit(dimRequests, o.Limits.Requests, time.Minute, p.requests)
	b.limit(dimTokens, o.Limits.Tokens, time.Minute, p.tokens)
	b.limit(dimInput, o.Limits.Input, time.Minute, p.tokens)
	b.limit(dimOutput, o.Limits.Output, time.Minute, p.tokens)
	b.limit(dimDayRequests, o.Limits.DayRequests, 24*time.Hour, day)
	b.limit(dimDayTokens, o.Limits.DayTokens, 24*time.Hour, day)
	b.tally = newTally()
	return b
}

func (b *books) limit(d dimension, n int64, span time.Duration, s Shape) {
	if n == 0 {
		return
	}
	b.limits = append(b.limits, &limit{
		dim: d, configured: n, current: n, span: span, shape: s,
		windows:  newWindows(s, n, span, b.clock.origin.UnixNano()),
		admitted: ledger{span: int64(span)},
	})
}

// scale sets every limit to its configured value times factor.
func (b *books) scale(factor float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, l := range b.limits {
		n := max(1, int64(float64(l.configured)*factor))
		if n == l.current {
			continue
		}
		l.current = n
		for _, w := range l.windows {
			w.rescale(now, n)
		}
	}
}

func (b *books) now() int64 { return int64(b.clock.now()) }

// admit charges c to every limit or to none. A ticket must be given back by
// finish; if it has a ready channel, the caller waits for it first.
func (b *books) admit(c cost) (*ticket, *denial) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.tally.begin(now)
	d := b.refuse(now, c)
	if d != nil {
		b.tally.throttle(now, d.dim)
		if b.profile.countThrottled {
			b.chargeFailed(now)
		}
		d.levels = b.levels(now)
		return nil, d
	}
	for _, l := range b.limits {
		l.charge(now, c[l.dim], true)
	}
	b.ramp.add(now, c[dimRamp])
	b.tally.accept(c)
	t := &ticket{cost: c, levels: b.levels(now)}
	if b.full() {
		t.ready = make(chan struct{})
		b.waiting = append(b.waiting, t)
	} else {
		b.seat(t)
	}
	return t, nil
}

// refuse finds the limit that binds longest, nil if all fit.
func (b *books) refuse(now int64, c cost) *denial {
	var worst *denial
	for _, l := range b.limits {
		if d := l.refuse(now, c[l.dim]); d != nil && (worst == nil || d.tooLarge || d.wait > worst.wait) {
			worst = d
			if d.tooLarge {
				return d
			}
		}
	}
	if worst == nil {
		worst = b.ramp.refuse(now, c[dimRamp])
	}
	if worst == nil && b.full() && len(b.waiting) >= b.queueCap {
		worst = &denial{
			dim: dimSeats, limit: int64(b.seats), used: int64(b.inFlight), requested: 1, wait: time.Second,
		}
	}
	return worst
}

func (l *limit) refuse(now, cost int64) *denial {
	d := &denial{dim: l.dim, limit: l.current, requested: cost}
	if cost > l.current {
		d.tooLarge = true
		return d
	}
	for _, w := range l.windows {
		d.wait = max(d.wait, time.Duration(w.wait(now, max(cost, 1))))
	}
	if d.wait == 0 {
		return nil
	}
	d.used = l.current - l.remaining(now)
	return d
}

func (l *limit) remaining(now int64) int64 {
	free := l.current
	for _, w := range l.windows {
		free = min(free, w.remaining(now))
	}
	return free
}

func (l *limit) charge(now, cost int64, admitted bool) {
	if cost == 0 {
		return
	}
	for _, w := range l.windows {
		w.add(now, cost)
	}
	if !admitted {
		return
	}
	l.charged += cost
	l.admitted.add(now, cost)
	l.worst = max(l.worst, l.admitted.sum())
	l.worstRatio = max(l.worstRatio, float64(l.admitted.sum())/float64(l.current))
}

// chargeFailed lets a refused request take the place of a good one, as far as
// there is one: it never puts a window in debt.
func (b *books) chargeFailed(now int64) {
	for _, l := range b.limits {
		if l.dim == dimRequests && l.remaining(now) >= 1 {
			l.charge(now, 1, false)
		}
	}
}

// failed books a request that was refused for a reason of its own.
func (b *books) failed() levels {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.tally.begin(now)
	if b.profile.countFailed {
		b.chargeFailed(now)
	}
	return b.levels(now)
}

// produced charges output as it comes, where the meter counts it so. This may
// put a window in debt.
func (b *books) produced(tokens int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.produced += tokens
	now := b.now()
	for _, l := range b.limits {
		if b.meter.rules[l.dim].produced {
			l.charge(now, tokens, true)
		}
	}
}

func (b *books) levels(now int64) levels {
	var out levels
	for _, l := range b.limits {
		lv := &out.tokens
		switch l.dim {
		case dimRequests, dimDayRequests:
			lv = &out.requests
		case dimTokens, dimDayTokens:
		default:
			continue
		}
		if !lv.known {
			*lv = l.level(now)
		}
	}
	return out
}

func (l *limit) level(now int64) level {
	lv := level{known: true, limit: l.current, remaining: max(0, l.remaining(now))}
	for _, w := range l.windows {
		lv.reset = max(lv.reset, time.Duration(w.reset(now)))
	}
	return lv
}

// Seats.

func (b *books) full() bool { return b.seats > 0 && b.inFlight >= b.seats }

func (b *books) seat(t *ticket) {
	t.seated = true
	b.inFlight++
	b.tally.mostInFlight = max(b.tally.mostInFlight, b.inFlight)
}

// load is how full the seats are, 0 to 1.
func (b *books) load() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seats == 0 {
		return 0
	}
	return float64(b.inFlight) / float64(b.seats)
}

// finish gives the seat of t back, or its place in the queue, and books how
// it ended.
func (b *books) finish(t *ticket, e ending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.end(e)
	if !t.seated {
		b.leave(t)
		return
	}
	b.inFlight--
	if len(b.waiting) > 0 && !b.full() {
		next := b.waiting[0]
		b.waiting = b.waiting[1:]
		b.seat(next)
		close(next.ready)
	}
}

func (b *books) leave(t *ticket) {
	for i, w := range b.waiting {
		if w == t {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			return
		}
	}
}

// ramp is the limit on growth: in each block of rampSpan the input tokens of
// a minute may reach 1.5 times the peak of the block before, or 1.5 times
// above if that was less.
type ramp struct {
	above      int64
	minute     ledger
	block      int64
	peak, last int64
}

const rampSpan = 15 * time.Minute

func newRamp(r Ramp) ramp {
	return ramp{above: r.Above, minute: ledger{span: int64(time.Minute)}}
}

func (r *ramp) roll(now int64) {
	block := now / int64(rampSpan)
	switch {
	case block == r.block:
		return
	case block == r.block+1:
		r.last = r.peak
	default:
		r.last = 0
	}
	r.block, r.peak = block, 0
}

func (r *ramp) add(now, cost int64) {
	if r.above == 0 {
		return
	}
	r.roll(now)
	r.minute.add(now, cost)
	r.peak = max(r.peak, r.minute.sum())
}

func (r *ramp) refuse(now, cost int64) *denial {
	if r.above == 0 {
		return nil
	}
	r.roll(now)
	r.minute.expire(now)
	allowed := max(r.above, r.last) * 3 / 2
	wait := r.minute.until(now, allowed-cost)
	if wait == 0 {
		return nil
	}
	return &denial{
		dim: dimRamp, limit: allowed, used: r.minute.sum(), requested: cost, wait: time.Duration(wait),
	}
}
