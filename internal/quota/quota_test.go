package quota

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

// clone copies a Quota, so that a test can ask what would happen.
func (q *Quota) clone() *Quota {
	c := *q
	c.windows = append([]window(nil), q.windows...)
	for i := range c.windows {
		if w := &c.windows[i]; w.ring != nil {
			r := *w.ring
			w.ring = &r
		} else {
			a := *w.aligned
			w.aligned = &a
		}
	}
	return &c
}

func drawLimit(rt *rapid.T) Limit {
	l := Limit{
		Dim:  rapid.SampledFrom([]Dim{Requests, Input, Output, Total}).Draw(rt, "dim"),
		Kind: rapid.SampledFrom([]Kind{Paced, Sliding, Bucket, Fixed, Slice}).Draw(rt, "kind"),
		Max:  rapid.Int64Range(60, 5000).Draw(rt, "max"),
		Span: rapid.SampledFrom([]time.Duration{0, 7 * time.Second, time.Minute, 24 * time.Hour}).Draw(rt, "span"),
	}
	if l.Kind == Slice {
		l.Slice = l.withDefaults().Span / 6
	}
	if l.Kind == Bucket {
		l.Burst = rapid.Int64Range(0, 5000).Draw(rt, "burst")
	}
	return l
}

func drawQuota(rt *rapid.T) *Quota {
	o := Options{
		Limits: rapid.SliceOfN(rapid.Custom(drawLimit), 1, 4).Draw(rt, "limits"),
		Seats:  rapid.IntRange(0, 5).Draw(rt, "seats"),
		Start:  Start(rapid.IntRange(0, 1).Draw(rt, "start")),
		Meter:  Meter{CountedAt: CountedAt(rapid.IntRange(0, 2).Draw(rt, "counted"))},
	}
	q, err := New(start, o)
	if err != nil {
		rt.Fatal(err)
	}
	return q
}

func drawAmount(rt *rapid.T, name string, most int64) Amount {
	n := rapid.Int64Range(0, most)
	in, out := n.Draw(rt, name+" input"), n.Draw(rt, name+" output")
	return Amount{rapid.Int64Range(0, 1).Draw(rt, name+" requests"), in, out, in + out}
}

// TestI3NextIsExact: just before the time Next names nothing fits, at it
// everything does.
func TestI3NextIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q, now := drawQuota(rt), start
		var open []Reservation
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(rt, "dt")))
			need := drawAmount(rt, "need", 200)
			if len(open) > 0 && rapid.Bool().Draw(rt, "settle") {
				q.Settle(now, open[0], drawAmount(rt, "actual", 200))
				open = open[1:]
			}
			q.Saturate(now, rapid.Bool().Draw(rt, "waiting"))
			checkNext(rt, q, now, need)
			if r, ok := q.Reserve(now, need); ok {
				open = append(open, r)
			}
		}
	})
}

func checkNext(rt *rapid.T, q *Quota, now time.Time, need Amount) {
	at, why := q.clone().Next(now, need)
	switch {
	case at.IsZero():
		_, never := q.TooLarge(need)
		if held := q.used > 0; !held && !never {
			rt.Fatalf("Next knows no time (%s) with nothing in flight", why)
		}
		if q.clone().Fits(now, need) {
			rt.Fatalf("Next knows no time (%s) though it fits", why)
		}
	case !q.clone().Fits(at, need):
		rt.Fatalf("it does not fit at Next, %v from now (%s)", at.Sub(now), why)
	case at.After(now) && q.clone().Fits(at.Add(-1), need):
		rt.Fatalf("it fits before Next, %v from now (%s)", at.Sub(now), why)
	case at.Before(now):
		rt.Fatalf("Next is %v ago", now.Sub(at))
	}
}

// TestI3RingFrees compares the two-level search with asking at every slot.
func TestI3RingFrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRing(0, 511*10)
		now := int64(0)
		for range rapid.IntRange(1, 40).Draw(rt, "entries") {
			now += rapid.Int64Range(0, 600).Draw(rt, "dt")
			r.advance(now)
			r.add(rapid.Int64Range(1, 9).Draw(rt, "n"))
		}
		n := rapid.Int64Range(1, r.total).Draw(rt, "free")
		at := r.frees(n)
		left := func(t int64) int64 {
			c := *r
			c.advance(t)
			return r.total - c.total
		}
		if left(at) < n || left(at-1) >= n {
			rt.Fatalf("%d of %d free at %d: %d have left then, %d just before", n, r.total, at, left(at), left(at-1))
		}
	})
}

// reference keeps one limit in the plainest way: every entry with its time.
type reference struct {
	w       *window
	entries []entry
	level   int64 // of the bucket, in 1/span units
	at      time.Time
}

// sum is what was counted in the last d.
func (ref *reference) sum(now time.Time, d int64) int64 {
	sum := int64(0)
	for _, e := range ref.entries {
		if int64(now.Sub(e.at)) < d {
			sum += e.n
		}
	}
	return sum
}

// windowSum is what may have been counted in the same wall clock window as an
// entry at now, wherever within skew each was counted.
func (ref *reference) windowSum(now time.Time) int64 {
	worst := int64(0)
	for _, shift := range []int64{-ref.w.skew, 0, ref.w.skew} {
		at := now.UnixNano() + shift
		if shift < 0 {
			at++ // the skew before the boundary is closed below, the one after it open
		}
		from := at - at%ref.w.span
		if shift == ref.w.skew && at%ref.w.span > ref.w.skew {
			continue
		}
		sum := int64(0)
		for _, e := range ref.entries {
			if u := e.at.UnixNano(); u >= from-ref.w.skew && u < from+ref.w.span+ref.w.skew {
				sum += e.n
			}
		}
		worst = max(worst, sum)
	}
	return worst
}

// refill is exact for what the test draws: no product leaves int64.
func (ref *reference) refill(now time.Time) {
	top := max(ref.w.top*ref.w.span, ref.level)
	ref.level = min(ref.level+int64(now.Sub(ref.at))*ref.w.limit, top)
	ref.at = now
}

func (ref *reference) take(now time.Time, n int64) {
	if n == 0 {
		return
	}
	ref.entries = append(ref.entries, entry{now, n})
	ref.level = min(ref.level, min(ref.w.clamp, most)*ref.w.span) - n*ref.w.span
}

// verdict returns whether n must fit, and whether it must not.
func (ref *reference) verdict(now time.Time, n int64) (must, mustNot bool) {
	w := ref.w
	if n == 0 {
		return true, false
	}
	ref.refill(now)
	short := w.bucketed() && ref.level < min(n, w.top)*w.span
	switch {
	case w.conf.Kind == Bucket:
		return !short && n <= w.conf.Burst, short || n > w.conf.Burst
	case w.conf.Kind == Fixed:
		over := ref.windowSum(now)+n > w.limit
		return !over, over
	}
	loose := ref.sum(now, (w.span+w.skew)*512/511+512)+n > w.limit
	strict := ref.sum(now, w.span+w.skew)+n > w.limit
	return !loose && !short, strict || short
}

// TestI2NeverIdle compares every decision with the reference: what exceeds no
// limit is let through, what does is not. Between the exact span and the 512
// slots of the ring either is right.
func TestI2NeverIdle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{Limits: rapid.SliceOfN(rapid.Custom(drawLimit), 1, 3).Draw(rt, "limits")}
		q, now := mustNew(t, start, o), start
		refs := make([]reference, len(q.windows))
		for i := range refs {
			w := &q.windows[i]
			refs[i] = reference{w: w, level: w.bucket.units * w.span, at: now}
		}
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(rt, "dt")))
			need := drawAmount(rt, "need", 300)
			must, mustNot := true, false
			for i := range refs {
				yes, no := refs[i].verdict(now, need[refs[i].w.conf.Dim])
				must, mustNot = must && yes, mustNot || no
			}
			r, ok := q.Reserve(now, need)
			if ok && mustNot || !ok && must {
				rt.Fatalf("at %v Reserve(%v) = %v, must be %v", now.Sub(start), need, ok, !ok)
			}
			if ok {
				for i := range refs {
					refs[i].take(now, need[refs[i].w.conf.Dim])
				}
				q.Settle(now, r, need)
			}
		}
	})
}

// TestI4AllOrNothing: a failed Reserve changes nothing but the time.
func TestI4AllOrNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q, now := drawQuota(rt), start
		failed := 0
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(rt, "dt")))
			need := drawAmount(rt, "need", 3000)
			q.Next(now, need) // time passes
			before := q.clone()
			if _, ok := q.Reserve(now, need); !ok {
				failed++
				if !reflect.DeepEqual(before, q.clone()) {
					rt.Fatalf("a failed Reserve(%v) changed\n%+v\nto\n%+v", need, before, q)
				}
			}
		}
	})
}

// TestI5Conserved: canceling everything leaves what there was before; whatever
// happens, sums agree with their parts and nothing is held in the end.
func TestI5Conserved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q, now := drawQuota(rt), start
		var open []Reservation
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(4*time.Second)).Draw(rt, "dt")))
			q.advance(q.tick(now))
			before := q.sums()
			if r, ok := q.Reserve(now, drawAmount(rt, "need", 100)); ok {
				open = append(open, r)
				checkReserved(rt, q, before, r)
			}
			if len(open) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(open)-1).Draw(rt, "which")
			switch rapid.IntRange(0, 3).Draw(rt, "end") {
			case 0:
				q.Settle(now, open[i], drawAmount(rt, "actual", 150))
			case 1:
				if before := q.sums(); open[i].at == q.now {
					q.Cancel(now, open[i])
					checkCanceled(rt, q, before, open[i])
				} else {
					q.Cancel(now, open[i])
				}
			default:
				continue
			}
			open = append(open[:i], open[i+1:]...)
			checkParts(rt, q)
			if q.Outstanding() != len(open) {
				rt.Fatalf("%d outstanding, want %d", q.Outstanding(), len(open))
			}
		}
		for _, r := range open {
			q.Cancel(now, r)
		}
		checkParts(rt, q)
		for _, s := range q.Snapshot(now) {
			if s.Reserved != 0 || q.Outstanding() != 0 {
				rt.Fatalf("%d outstanding, %d of %s held at the end", q.Outstanding(), s.Reserved, s.Dim)
			}
		}
	})
}

// sums is what is counted and held in each window.
func (q *Quota) sums() []int64 {
	var sums []int64
	for i := range q.windows {
		w := &q.windows[i]
		sum := w.held
		if w.aligned != nil {
			sum += w.aligned.cur
		} else {
			sum += w.ring.total
		}
		sums = append(sums, sum)
	}
	return sums
}

func checkReserved(rt *rapid.T, q *Quota, before []int64, r Reservation) {
	for i, sum := range q.sums() {
		if d := q.windows[i].conf.Dim; sum != before[i]+r.need[d] {
			rt.Fatalf("window %d: reserving %d took the sum from %d to %d", i, r.need[d], before[i], sum)
		}
	}
}

func checkCanceled(rt *rapid.T, q *Quota, before []int64, r Reservation) {
	for i, sum := range q.sums() {
		if d := q.windows[i].conf.Dim; sum != before[i]-r.need[d] {
			rt.Fatalf("window %d: canceling %d took the sum from %d to %d", i, r.need[d], before[i], sum)
		}
	}
}

// fataler is what rapid.T and testing.T share.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func checkParts(rt fataler, q *Quota) {
	for i := range q.windows {
		w := &q.windows[i]
		if w.held < 0 {
			rt.Fatalf("window %d holds %d", i, w.held)
		}
		if a := w.aligned; a != nil {
			if a.prev < 0 || a.cur < 0 || a.next < 0 {
				rt.Fatalf("window %d has negative sums", i)
			}
			continue
		}
		slots, blocks := int64(0), int64(0)
		for _, n := range w.ring.slots {
			if n < 0 {
				rt.Fatalf("window %d has a slot of %d", i, n)
			}
			slots += n
		}
		for _, n := range w.ring.blocks {
			blocks += n
		}
		if slots != w.ring.total || blocks != w.ring.total {
			rt.Fatalf("window %d: slots %d, blocks %d, total %d", i, slots, blocks, w.ring.total)
		}
	}
}

// TestI6DebtFirst: 60 units a minute, 30 of them reserved, 90 charged. Nothing
// more goes until the excess has left each window.
func TestI6DebtFirst(t *testing.T) {
	for _, counted := range countedAts {
		for _, c := range []struct {
			limit Limit
			least time.Duration // from settlement to the next call
			most  time.Duration
		}{
			{Limit{Max: 60}, 90 * time.Second, 90 * time.Second}, // its own pace: one a second
			{Limit{Max: 60, Kind: Sliding}, 60 * time.Second, 62 * time.Second},
			{Limit{Max: 60, Kind: Bucket}, 31 * time.Second, 33 * time.Second},
			{Limit{Max: 60, Kind: Fixed}, 47 * time.Second, 49 * time.Second}, // at the end of the minute
		} {
			c.limit.Dim = Output
			q := mustNew(t, start, Options{Limits: []Limit{c.limit}, Meter: Meter{CountedAt: counted}})
			r, ok := q.Reserve(start, Amount{Output: 30})
			if !ok {
				t.Fatalf("%s: an empty window refuses", c.limit.Kind)
			}
			q.Settle(start, r, Amount{Output: 90})
			at, why := q.Next(start, Amount{Output: 1})
			if d := at.Sub(start); d < c.least || d > c.most || why != flow.ReasonOutput {
				t.Errorf("%s counted at %d: next in %v (%s), want %v .. %v", c.limit.Kind, counted, d, why, c.least, c.most)
			}
			if _, ok := q.Reserve(at.Add(-1), Amount{Output: 1}); ok {
				t.Errorf("%s: reserved before the debt was repaid", c.limit.Kind)
			}
		}
	}
}

// TestI1FixedBoundary: what is sent within a second of a boundary may be counted
// on either side of it, so it must fit on both.
func TestI1FixedBoundary(t *testing.T) {
	minute := start.Truncate(time.Minute).Add(time.Minute)
	for _, c := range []struct{ first, then, fits time.Duration }{
		{-30 * time.Second, 0, time.Second}, // the second call may be counted in the old minute
		{-30 * time.Second, time.Second, time.Second},
		{-time.Second / 2, 0, 61 * time.Second}, // the first may be counted in the new one
		{-time.Second / 2, 30 * time.Second, 61 * time.Second},
		{time.Second / 2, time.Second, 61 * time.Second},
	} {
		q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 600, Kind: Fixed}}})
		if _, ok := q.Reserve(minute.Add(c.first), tokens(600)); !ok {
			t.Fatalf("%v: an empty window refuses", c.first)
		}
		at, _ := q.Next(minute.Add(c.then), tokens(600))
		if got := at.Sub(minute); got != c.fits {
			t.Errorf("600 at %v: at %v the next 600 fit at %v, want %v", c.first, c.then, got, c.fits)
		}
	}
}

func TestSeats(t *testing.T) {
	q := mustNew(t, start, Options{Seats: 2})
	a, _ := q.Reserve(start, Amount{Requests: 1})
	if _, ok := q.Reserve(start, Amount{}); !ok {
		t.Fatal("the second seat is refused")
	}
	if at, why := q.Next(start, Amount{Requests: 1}); !at.IsZero() || why != flow.ReasonSeats || q.Fits(start, Amount{}) {
		t.Errorf("Next = %v, %s; want no time and seats", at, why)
	}
	q.Settle(start, a, Amount{Requests: 1})
	q.Settle(start, Reservation{}, Amount{Requests: 1}) // none: changes nothing
	if used, most := q.Seats(); used != 1 || most != 2 || q.Outstanding() != 1 || !q.Fits(start, Amount{}) {
		t.Errorf("%d of %d seats used, want 1 of 2", used, most)
	}
}

func TestTooLarge(t *testing.T) {
	for _, c := range []struct {
		limit Limit
		fits  int64
	}{
		{Limit{Max: 600}, 600},
		{Limit{Max: 600, Kind: Sliding}, 600},
		{Limit{Max: 600, Kind: Bucket, Burst: 60}, 60},
		{Limit{Max: 600, Kind: Bucket, Burst: 900}, 900},
		{Limit{Max: 600, Kind: Fixed}, 600},
		{Limit{Max: 600, Kind: Slice}, 10},
	} {
		c.limit.Dim = Total
		q := mustNew(t, start, Options{Limits: []Limit{c.limit}})
		if l, yes := q.TooLarge(Amount{Total: c.fits}); yes {
			t.Errorf("%s: %d is too large for %+v", c.limit.Kind, c.fits, l)
		}
		if _, ok := q.Reserve(start, Amount{Total: c.fits}); !ok {
			t.Errorf("%s: %d does not fit the empty window", c.limit.Kind, c.fits)
		}
		if l, yes := q.TooLarge(Amount{Total: c.fits + 1}); !yes || l.Dim != Total {
			t.Errorf("%s: %d is not too large", c.limit.Kind, c.fits+1)
		}
		if at, _ := q.Next(start, Amount{Total: c.fits + 1}); !at.IsZero() {
			t.Errorf("%s: Next = %v for what can never pass", c.limit.Kind, at)
		}
	}
}

func TestRateAndCost(t *testing.T) {
	q := mustNew(t, start, Options{Seats: 4, Limits: []Limit{
		{Dim: Requests, Max: 60}, {Dim: Total, Max: 6000}, {Dim: Total, Max: 86_400, Span: 24 * time.Hour},
	}})
	if r := q.Rate(Requests); r != 1 {
		t.Errorf("Rate(Requests) = %v, want 1", r)
	}
	if r := q.Rate(Total); r != 1 {
		t.Errorf("Rate(Total) = %v, want 1, that of the day", r)
	}
	if r := q.Rate(Output); r != 0 {
		t.Errorf("Rate(Output) = %v, want 0", r)
	}
	for _, c := range []struct {
		need Amount
		took time.Duration
		cost float64
	}{
		{Amount{Requests: 1}, 0, 1},
		{Amount{Requests: 1, Total: 50}, 0, 50},
		{Amount{Requests: 1}, time.Minute, 15},
	} {
		if got := q.Cost(c.need, c.took); got != c.cost {
			t.Errorf("Cost(%v, %v) = %v, want %v", c.need, c.took, got, c.cost)
		}
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(start, Options{
		Seats: -1,
		Ramp:  Ramp{Every: time.Minute},
		Limits: []Limit{
			{Dim: NumDims, Max: 1},
			{Dim: Total, Kind: 99, Max: 1},
			{Dim: Total, Max: -5, Span: -1},
			{Dim: Total, Max: 5, Kind: Sliding, Burst: 3},
			{Dim: Total, Max: 5, Kind: Fixed, Slice: time.Second},
			{Dim: Requests, Max: 5, Kind: Slice},
		},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"dimension 4", "kind 99", "max is -5", "span is -1ns", "sliding has no burst",
		"fixed has no slices", "less than 1 in a slice", "seats is -1", "growth is 0", "above is 0",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if _, err := New(start, Options{Limits: make([]Limit, 17)}); err == nil || !strings.Contains(err.Error(), "17 limits") {
		t.Errorf("17 limits: %v", err)
	}
}

func TestNames(t *testing.T) {
	for k := Paced; k <= Slice; k++ {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, err)
		}
	}
	if k, err := ParseKind(""); k != Paced || err != nil {
		t.Errorf("the empty kind is %v, %v", k, err)
	}
	if _, err := ParseKind("leaky"); err == nil || !strings.Contains(err.Error(), "paced, sliding") {
		t.Errorf("the error does not list the kinds: %v", err)
	}
	if Total.String() != "tokens" || Dim(9).String() != "unknown" || Kind(9).String() != "unknown" {
		t.Error("names are wrong")
	}
}

func TestSnapshot(t *testing.T) {
	q := mustNew(t, start, Options{Meter: Meter{CountedAt: AsProduced}, Limits: []Limit{
		{Dim: Total, Max: 6000}, {Dim: Output, Max: 600, Kind: Bucket}, {Dim: Requests, Max: 60, Kind: Fixed},
	}})
	q.Reserve(start, Amount{1, 80, 20, 100})
	got := q.Snapshot(start)
	wall := start.Truncate(time.Minute)
	want := []State{
		{
			Dim: Total, Kind: Paced, Span: time.Minute, Configured: 6000, Learned: 6000,
			Used: 80, Reserved: 20, Free: 5900, Burst: 100, Full: got[0].Full,
		},
		{
			Dim: Output, Kind: Bucket, Span: time.Minute, Configured: 600, Learned: 600,
			Reserved: 20, Free: 580, Burst: 600, Full: start,
		},
		{
			Dim: Requests, Kind: Fixed, Span: time.Minute, Configured: 60, Learned: 60,
			Used: 1, Free: 59, Full: wall.Add(61 * time.Second),
		},
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	if d := got[0].Full.Sub(start); d < 61*time.Second || d > 62*time.Second {
		t.Errorf("all is free in %v, want 61 .. 62 s", d)
	}
	if n := q.Snapshot(got[0].Full)[0].Used; n != 0 {
		t.Errorf("%d used when all should be free", n)
	}
}
