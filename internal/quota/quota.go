package quota

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// Start says what is known of the time before New.
type Start uint8

// The starts.
const (
	Fresh   Start = iota // nothing was sent in the last span
	Unknown              // a predecessor may have spent everything, of spans up to an hour
)

// Options configure a Quota. The zero value allows everything.
type Options struct {
	Limits []Limit // at most 16; all that are no shadows must fit
	Seats  int     // calls in flight; 0 = unlimited
	// SeatsShadow only watches the seats, as Limit.Shadow does a limit.
	SeatsShadow bool
	Meter       Meter // says when a call is counted
	Start       Start
	Ramp        Ramp // zero = off
}

// Quota is what one upstream allows and what is used of it. It is not safe for
// concurrent use.
type Quota struct {
	epoch   time.Time
	base    int64 // our time at the epoch
	now     int64 // the last time seen
	offset  int64 // wall clock minus our time; kept only for Fixed windows
	aligned bool

	windows []window
	primary [NumDims]int8 // the shortest window of each dimension; -1 = none
	counted CountedAt
	version uint32 // of the options: each Reconfigure makes the next
	spent   Amount // ever charged, so that an answer can be set against what followed it
	waiting bool

	seats, used int
	watched     watchedSeats
	paused      int64 // nothing is sent before
	pausedFor   flow.Reason
}

// origin is our time at creation. It leaves room for entries from before it.
const (
	origin   = int64(1) << 56 // more than two years, in ns
	lastTime = int64(1) << 60 // decades later; time stands still then
)

// Reservation is what one call holds of a quota. It is a plain value; the zero
// value is none. Each is settled or canceled exactly once.
type Reservation struct {
	at   int64 // 0 = none
	need Amount
	// How it was taken: Settle gives it back in the same way, whatever Reconfigure did.
	counted CountedAt
	version uint32
	mark    Amount // what the bucket held after it, plus all that was ever spent
}

// Held is what was reserved.
func (r Reservation) Held() Amount { return r.need }

// IsZero reports whether nothing was reserved.
func (r Reservation) IsZero() bool { return r.at == 0 }

// New returns a Quota that starts at now, or all that is wrong with o.
func New(now time.Time, o Options) (*Quota, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	q := &Quota{
		epoch: now, base: origin, now: origin,
		counted:   o.Meter.CountedAt,
		primary:   [NumDims]int8{-1, -1, -1, -1},
		pausedFor: flow.ReasonRequests,
	}
	q.setSeats(o)
	for _, l := range o.Limits {
		q.aligned = q.aligned || l.Kind == Fixed
	}
	t := q.tick(now)
	for i, l := range o.Limits {
		q.windows = append(q.windows, newWindow(t, q.offset, l.withDefaults(), o.Ramp))
		if o.Start == Unknown && q.windows[i].span <= assumable {
			q.windows[i].assumeSpent(t)
		}
		q.elect(i)
	}
	return q, nil
}

// elect makes the window the primary one of its dimension if it is the shortest of those
// that are enforced.
func (q *Quota) elect(i int) {
	w := &q.windows[i]
	p := q.primary[w.conf.Dim]
	if p >= 0 {
		old := &q.windows[p]
		if w.conf.Shadow != old.conf.Shadow && w.conf.Shadow || w.conf.Shadow == old.conf.Shadow && w.span >= old.span {
			return
		}
	}
	q.primary[w.conf.Dim] = int8(i)
}

// Validate returns all that is wrong with the options.
func (o Options) Validate() error {
	var faults []error
	if len(o.Limits) > maxLimits {
		faults = append(faults, fmt.Errorf("%d limits are too many; configure at most %d", len(o.Limits), maxLimits))
	}
	for i, l := range o.Limits {
		if err := l.withDefaults().validate(); err != nil {
			faults = append(faults, fmt.Errorf("limit %d (%s): %w", i, l.Dim, err))
		}
	}
	if o.Seats < 0 {
		faults = append(faults, fmt.Errorf("seats is %d; set it to 0 (unlimited) or more", o.Seats))
	}
	return errors.Join(append(faults, o.Ramp.validate())...)
}

// tick turns now into our time, which never goes back. A step back of more
// than a second is a clock that was set; time goes on from where it was.
func (q *Quota) tick(now time.Time) int64 {
	t := min(q.base+min(max(int64(now.Sub(q.epoch)), -far), far), lastTime)
	if t < q.now {
		if q.now-t > second {
			q.base = min(q.base+q.now-t, lastTime)
		}
		t = q.now
	}
	q.now = t
	if q.aligned {
		q.offset = now.UnixNano() - t
	}
	return t
}

// time is the inverse of tick.
func (q *Quota) time(t int64) time.Time { return q.epoch.Add(time.Duration(t - q.base)) }

func (q *Quota) advance(t int64) {
	for i := range q.windows {
		q.windows[i].advance(t, q)
	}
}

// late is the part of an amount that the provider counts only while or after
// it is produced.
func (c CountedAt) late(d Dim, a *Amount) int64 {
	switch {
	case c == AtStart || d == Requests:
		return 0
	case c == AtEnd:
		return a[d]
	case d == Output:
		return a[Output]
	case d == Total:
		return min(a[Output], a[Total])
	}
	return 0
}

func (c CountedAt) split(d Dim, a *Amount) split {
	late := c.late(d, a)
	return split{start: a[d] - late, late: late}
}

// Fits reports whether need could be reserved now.
func (q *Quota) Fits(now time.Time, need Amount) bool {
	need = need.clamped()
	return q.fits(q.tick(now), &need)
}

func (q *Quota) fits(t int64, need *Amount) bool {
	if q.full() || t < q.paused {
		return false
	}
	for i := range q.windows {
		w := &q.windows[i]
		w.advance(t, q)
		if !w.conf.Shadow && !w.fits(t, need[w.conf.Dim]) {
			return false
		}
	}
	return true
}

func (q *Quota) full() bool { return q.seats > 0 && q.used >= q.seats }

// Reserve takes need from every limit and one seat, or nothing at all. Every
// reservation must come back in Settle or Cancel.
func (q *Quota) Reserve(now time.Time, need Amount) (Reservation, bool) {
	need = need.clamped()
	t := q.tick(now)
	if !q.fits(t, &need) {
		return Reservation{}, false
	}
	q.watch()
	q.used++
	r := Reservation{at: t, need: need, counted: q.counted, version: q.version}
	for i := range q.windows {
		w := &q.windows[i]
		if w.conf.Shadow && !w.fits(t, need[w.conf.Dim]) {
			w.exceeded++
		}
		w.take(t, need[w.conf.Dim], q.counted.late(w.conf.Dim, &need))
	}
	for d := range r.mark {
		q.spent[d] += need[d]
		if p := q.primary[d]; p >= 0 {
			r.mark[d] = q.windows[p].ready() + q.spent[d]
		}
	}
	return r, true
}

// Settle ends a call: it frees the seat and replaces what was reserved by what
// was charged. More than was reserved may put a limit into debt, which is
// repaid before the next Reserve succeeds. Less is given back where the
// provider still has it to give.
func (q *Quota) Settle(now time.Time, r Reservation, actual Amount) {
	if r.at == 0 || q.used == 0 {
		return
	}
	actual = actual.clamped()
	t := q.tick(now)
	q.used--
	for i := range q.windows {
		w := &q.windows[i]
		w.advance(t, q)
		reserved := r.counted.split(w.conf.Dim, &r.need)
		if r.version < w.version { // it was taken of other windows than this one
			reserved = split{}
		}
		w.settle(t, r.at, reserved, r.counted.split(w.conf.Dim, &actual))
	}
	for d, n := range actual {
		q.spent[d] += max(n-r.need[d], 0)
	}
}

// Cancel ends a call that was never sent: all of it is given back.
func (q *Quota) Cancel(now time.Time, r Reservation) { q.Settle(now, r, Amount{}) }

// Next returns the earliest time at which need fits if nothing else is sent,
// and the limit that decides it: the latest of those that bind. If it fits now
// that is now and ReasonNone. The zero time means that no time is known,
// because a call in flight must end first: ReasonSeats, or the dimension in
// which calls in flight hold the rest. A need that is TooLarge also returns
// the zero time. A learned limit that changes before then may shift it by a
// little.
func (q *Quota) Next(now time.Time, need Amount) (time.Time, flow.Reason) {
	return q.NextKeeping(now, need, 0)
}

// NextKeeping is Next for a call that must leave something in the buckets: what flows
// in within keep seconds, but at most half of what they hold, as far as that fits beside
// it. What is left serves others who come; the rate stays the same.
func (q *Quota) NextKeeping(now time.Time, need Amount, keep float64) (time.Time, flow.Reason) {
	need = need.clamped()
	t := q.tick(now)
	q.advance(t)
	if q.full() {
		return time.Time{}, flow.ReasonSeats
	}
	at, why := t, flow.ReasonNone
	if q.paused > at {
		at, why = q.paused, q.pausedFor
	}
	for i := range q.windows {
		w := &q.windows[i]
		if w.conf.Shadow {
			continue
		}
		when, reason, ok := w.next(t, need[w.conf.Dim], keep)
		if !ok {
			return time.Time{}, reason
		}
		if when > at {
			at, why = when, reason
		}
	}
	if at == t {
		return now, flow.ReasonNone
	}
	return q.time(at), why
}

// TooLarge returns the first limit under which need can never be sent, and
// whether there is one.
func (q *Quota) TooLarge(need Amount) (Limit, bool) {
	need = need.clamped()
	for i := range q.windows {
		if w := &q.windows[i]; !w.conf.Shadow && need[w.conf.Dim] > w.largest() {
			return w.conf, true
		}
	}
	return Limit{}, false
}

// Rate is how many units of d the tightest limit allows per second, as
// learned; 0 when d has no limit.
func (q *Quota) Rate(d Dim) float64 {
	rate := 0.0
	for i := range q.windows {
		w := &q.windows[i]
		if r := float64(w.limit) / float64(w.span) * 1e9; w.conf.Dim == d && !w.conf.Shadow && (rate == 0 || r < rate) {
			rate = r
		}
	}
	return rate
}

// Cost is the price of need for fairness: the seconds of the scarcest limit
// that it uses, where a call that runs for took also uses a seat.
func (q *Quota) Cost(need Amount, took time.Duration) float64 {
	need = need.clamped()
	cost := 0.0
	for i := range q.windows {
		w := &q.windows[i]
		if w.conf.Shadow {
			continue
		}
		cost = max(cost, float64(need[w.conf.Dim])*float64(w.span)/1e9/float64(w.limit))
	}
	if q.seats > 0 {
		cost = max(cost, took.Seconds()/float64(q.seats))
	}
	return cost
}

// watchedSeats are seats that are not enforced.
type watchedSeats struct {
	seats    int
	exceeded int64
}

func (q *Quota) setSeats(o Options) {
	q.seats, q.watched.seats = o.Seats, 0
	if o.SeatsShadow {
		q.seats, q.watched.seats = 0, o.Seats
	}
}

// watch counts a call that is about to take a seat which there would not be.
func (q *Quota) watch() {
	if w := &q.watched; w.seats > 0 && q.used >= w.seats {
		w.exceeded++
	}
}

// ShadowSeats returns the bound that SeatsShadow watches, 0 for none, and how many calls
// were beyond it.
func (q *Quota) ShadowSeats() (seats int, exceeded int64) { return q.watched.seats, q.watched.exceeded }

// Seats returns how many calls are in flight and how many may be; 0 = no bound.
func (q *Quota) Seats() (used, most int) { return q.used, q.seats }

// Outstanding is how many reservations have not come back.
func (q *Quota) Outstanding() int { return q.used }
