package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

// paced returns a fresh paced quota of 6,000 tokens a minute, 100 a second.
func paced(t testing.TB) *Quota {
	return mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 6000}}})
}

func tokens(n int64) Amount { return Amount{Total: n} }

// spendAll reserves n at a time until it no longer fits, and settles in full.
func spendAll(q *Quota, now time.Time, n int64) (last Reservation, sum int64) {
	for {
		r, ok := q.Reserve(now, tokens(n))
		if !ok {
			return last, sum
		}
		q.Settle(now, r, tokens(n))
		last, sum = r, sum+n
	}
}

func TestBurstDoublesWhenExercised(t *testing.T) {
	q, now := paced(t), start
	for _, want := range []int64{100, 200, 400, 800} {
		if got := q.Snapshot(now)[0].Burst; got != want {
			t.Fatalf("burst %d, want %d", got, want)
		}
		early, _ := q.Reserve(now, tokens(0)) // sent before the burst is spent
		now = now.Add(time.Millisecond)
		last, sum := spendAll(q, now, 10)
		if sum != want {
			t.Fatalf("%d sent at once, want the burst of %d", sum, want)
		}
		q.Answered(now, early)
		if got := q.Snapshot(now)[0].Burst; got != want {
			t.Fatalf("an answer to a call before the burst made it %d", got)
		}
		q.Answered(now, last)
		q.Answered(now, last) // the round is over
		now = now.Add(2 * time.Minute)
	}
}

func TestBurstStaysWhenNotExercised(t *testing.T) {
	q, now := paced(t), start
	for range 100 {
		now = now.Add(time.Second)
		r, _ := q.Reserve(now, tokens(50))
		q.Settle(now, r, tokens(50))
		q.Answered(now, r)
	}
	if got := q.Snapshot(now)[0].Burst; got != 100 {
		t.Errorf("burst %d, want 100: half of it was ever used", got)
	}
}

// TestI8OneLessonARound: a 429 halves a grown burst; those that were on their
// way do not cut again.
func TestI8OneLessonARound(t *testing.T) {
	q, now := paced(t), start
	for q.Snapshot(now)[0].Burst < 1600 {
		last, _ := spendAll(q, now, 10)
		q.Answered(now, last)
		now = now.Add(3 * time.Minute)
	}
	a, _ := q.Reserve(now, tokens(10))
	b, _ := q.Reserve(now, tokens(10))
	now = now.Add(100 * time.Millisecond)
	q.Throttled(now, a, Dims(Total), false)
	q.Settle(now, a, Amount{})
	if s := q.Snapshot(now)[0]; s.Burst != 800 || s.Learned != 6000 {
		t.Fatalf("after a 429: burst %d, learned %d; want 800, 6000", s.Burst, s.Learned)
	}
	if q.Fits(now, tokens(10)) {
		t.Error("something fits at once after a 429")
	}
	now = now.Add(time.Millisecond)
	q.Throttled(now, b, 0, false)
	q.Settle(now, b, Amount{})
	if s := q.Snapshot(now)[0]; s.Burst != 800 || s.Learned != 6000 {
		t.Errorf("after a second 429 of the round: burst %d, learned %d; want 800, 6000", s.Burst, s.Learned)
	}
	now = now.Add(10 * time.Minute)
	last, _ := spendAll(q, now, 10)
	q.Answered(now, last)
	if s := q.Snapshot(now)[0]; s.Burst != 900 {
		t.Errorf("after a 429 the burst grows to %d, want 900", s.Burst)
	}
}

// TestFirstLessonNearTheLimit: who sends all he may is near the limit whatever a 429 is
// for, so the first one cuts the burst and only the next one the limit.
func TestFirstLessonNearTheLimit(t *testing.T) {
	for name, c := range map[string]struct {
		limit   Limit
		bursts  [2]int64
		learned [2]int64
	}{
		"unknown bucket":         {Limit{Max: 6000}, [2]int64{83, 83}, [2]int64{6000, 5400}},
		"bucket of a second":     {Limit{Max: 6000, Burst: 120}, [2]int64{50, 50}, [2]int64{6000, 5400}},
		"bucket of six":          {Limit{Max: 6000, Burst: 600}, [2]int64{250, 250}, [2]int64{6000, 5400}},
		"no bucket: the sliding": {Limit{Max: 6000, Kind: Sliding}, [2]int64{0, 0}, [2]int64{5400, 4860}},
	} {
		c.limit.Dim = Total
		q, now := mustNew(t, start, Options{Limits: []Limit{c.limit}}), start
		for i := range c.bursts {
			now = now.Add(5 * time.Second)
			r, ok := q.Reserve(now, tokens(10))
			if !ok && i == 0 {
				t.Fatalf("%s: nothing fits", name)
			}
			q.windows[0].ring.add(6000)
			q.Throttled(now, Reservation{at: q.now, need: r.need}, 0, false)
			if s := q.Snapshot(now)[0]; s.Burst != c.bursts[i] || s.Learned != c.learned[i] {
				t.Errorf("%s: after 429 number %d burst %d, learned %d; want %d, %d", name, i+1, s.Burst, s.Learned, c.bursts[i], c.learned[i])
			}
		}
	}
}

// TestI7LearnedIsBounded: 429s near the limit lower it by a tenth down to a
// tenth; quiet time brings it back, a hundredth each ten seconds, not further.
func TestI7LearnedIsBounded(t *testing.T) {
	q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 1000, Kind: Sliding}}})
	now := start
	last, _ := spendAll(q, now, 10)
	q.Throttled(now.Add(time.Millisecond), last, Dims(Total), false)
	if got := q.Snapshot(now)[0].Learned; got != 900 {
		t.Fatalf("learned %d after the first 429, want 900", got)
	}
	for range 40 {
		now = now.Add(2 * time.Second)
		q.windows[0].ring.add(1000) // whatever is learned, the window is full
		q.Throttled(now, Reservation{at: q.now + int64(2*time.Second)}, Dims(Total), false)
	}
	if got := q.Snapshot(now)[0].Learned; got != 100 {
		t.Fatalf("learned %d after many 429s, want the floor of 100", got)
	}
	if got := q.Rate(Total) * 60; got != 100 {
		t.Errorf("Rate says %v a minute, want 100", got)
	}
	for _, c := range []struct {
		quiet time.Duration
		want  int64
	}{{9 * time.Second, 100}, {10 * time.Second, 110}, {100 * time.Second, 200}, {time.Hour, 1000}} {
		if got := q.clone().Snapshot(now.Add(c.quiet))[0].Learned; got != c.want {
			t.Errorf("learned %d after %v without a 429, want %d", got, c.quiet, c.want)
		}
	}
	if _, ok := q.Reserve(now.Add(62*time.Second), tokens(500)); !ok {
		t.Error("a request above the learned limit does not go alone in an empty window")
	}
}

// TestI7HeadersNeverRaise: a header lowers the limit and takes that back, but
// cannot lift it above what is configured, whatever it says.
func TestI7HeadersNeverRaise(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q, now := drawQuota(rt), start
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(rt, "dt")))
			r, ok := q.Reserve(now, drawAmount(rt, "need", 300))
			q.Observe(now, r, []Hint{{
				Dim:       Dim(rapid.IntRange(0, 5).Draw(rt, "dim")),
				Limit:     rapid.Int64Range(-1, 1<<62).Draw(rt, "limit"),
				Remaining: rapid.Int64Range(-1, 1<<62).Draw(rt, "remaining"),
				Reset:     time.Duration(rapid.Int64Range(-1, 1<<62).Draw(rt, "reset")),
			}})
			if rapid.IntRange(0, 4).Draw(rt, "throttled") == 0 {
				q.Throttled(now, r, DimSet(rapid.Uint8().Draw(rt, "dims")), rapid.Bool().Draw(rt, "ramp"))
			}
			if ok {
				q.Settle(now, r, drawAmount(rt, "actual", 400))
			}
			for i := range q.windows {
				w := &q.windows[i]
				if w.limit > w.told || w.told > w.max || w.limit < 1 || w.conf.Kind == Bucket && w.bucket.size > w.conf.Burst {
					rt.Fatalf("limit %d, told %d, configured %d, burst %d", w.limit, w.told, w.max, w.bucket.size)
				}
			}
		}
	})
}

func TestHeaderLowersLimit(t *testing.T) {
	q := mustNew(t, start, Options{Limits: []Limit{
		{Dim: Total, Max: 6000, Kind: Sliding}, {Dim: Total, Max: 100_000, Span: 24 * time.Hour},
	}})
	hear := func(limit int64, span time.Duration) {
		q.Observe(start, Reservation{}, []Hint{{Dim: Total, Span: span, Limit: limit, Remaining: -1, Reset: -1}})
	}
	hear(3000, 0)
	hear(50_000, 24*time.Hour)
	hear(1, time.Hour) // a span that is not configured says nothing
	s := q.Snapshot(start)
	if s[0].Learned != 3000 || s[1].Learned != 50_000 {
		t.Fatalf("learned %d and %d, want 3000 and 50000", s[0].Learned, s[1].Learned)
	}
	if l, yes := q.TooLarge(tokens(3001)); !yes || l.Max != 6000 {
		t.Error("what exceeds the provider's stated limit is not too large")
	}
	hear(9000, 0)
	if got := q.Snapshot(start)[0].Learned; got != 3000 {
		t.Errorf("learned jumps to %d", got)
	}
	if got := q.Snapshot(start.Add(time.Hour))[0].Learned; got != 6000 {
		t.Errorf("learned %d an hour after the provider stated 9000, want the configured 6000", got)
	}
}

// TestHeadersTellTheBucket: what remained before the call, at most remaining + what
// comes back until reset, is what the provider's bucket holds; 5/6 of it may go at once.
func TestHeadersTellTheBucket(t *testing.T) {
	for _, c := range []struct {
		spent     int64
		remaining int64
		reset     time.Duration
		burst     int64
	}{
		{50, 550, 500 * time.Millisecond, 500}, // 6 s worth
		{10, 90, 100 * time.Millisecond, 83},   // 1 s worth
		{10, 90, time.Minute, 83},              // the same beside a sliding minute
		{10, 90, 0, 75},                        // somebody counts less than we do
		{10, 5, time.Minute, 4},                // others spent the rest, or it was refused
		{1000, 5000, 10 * time.Second, 5000},   // a minute's worth
		{0, 6000, time.Hour, 5000},             // no bucket holds more than the limit
		{10, 0, 0, 100},                        // says nothing
		{10, -1, time.Second, 100},
		{10, 5000, -1, 100},
	} {
		q := paced(t)
		r, _ := q.Reserve(start, tokens(c.spent))
		q.Observe(start, r, []Hint{{Dim: Total, Limit: -1, Remaining: c.remaining, Reset: c.reset}})
		if got := q.Snapshot(start)[0].Burst; got != c.burst {
			t.Errorf("remaining %d, reset %v: burst %d, want %d", c.remaining, c.reset, got, c.burst)
		}
		q.Observe(start, Reservation{}, []Hint{{Dim: Total, Limit: -1, Remaining: 3, Reset: time.Hour}})
		if got := q.Snapshot(start)[0].Burst; c.burst != 100 && got != c.burst {
			t.Errorf("a later answer changed the burst from %d to %d", c.burst, got)
		}
	}
}

// TestI12ForeignSpending: the provider has less than our calls explain.
func TestI12ForeignSpending(t *testing.T) {
	q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 6000, Kind: Bucket}}})
	a, _ := q.Reserve(start, tokens(1000)) // leaves 5000
	b, _ := q.Reserve(start, tokens(1000)) // leaves 4000
	hint := func(remaining int64) []Hint {
		return []Hint{{Dim: Total, Limit: -1, Remaining: remaining, Reset: -1}}
	}
	free := func() int64 { return q.Snapshot(start)[0].Free }
	before := free()
	q.Observe(start, a, hint(4500)) // b may have been counted before a
	q.Observe(start, b, hint(6000))
	if got := free(); got != before {
		t.Fatalf("level went from %d to %d though our own calls explain it", before, got)
	}
	q.Observe(start, a, hint(before-1500))
	if got := free(); got != before-1500 {
		t.Fatalf("level %d, want %d: 1500 are missing", got, before-1500)
	}
	q.Observe(start, b, hint(before-1500))
	if got := free(); got != before-1500 {
		t.Errorf("level %d: the same 1500 were taken twice", got)
	}
}

// TestI12SmallerBucket: that the provider's bucket is smaller than was assumed is no
// spending of somebody else's.
func TestI12SmallerBucket(t *testing.T) {
	q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 60, Kind: Bucket}}})
	r, _ := q.Reserve(start, tokens(1)) // leaves 59 of a minute's worth
	for range 3 {
		q.Observe(start, r, []Hint{{Dim: Total, Limit: -1, Remaining: 5, Reset: time.Second}}) // 6 s worth, one spent
	}
	later := start.Add(2 * time.Second)
	if got := q.Snapshot(later)[0].Free; got < 4 || got > 6 {
		t.Errorf("2 s later %d are free, want 5: a bucket of 6 less what was spent, and one in reserve", got)
	}
}

// TestI11WaitingKeepsTheBurstSmall: while anyone waits a paced bucket fills to one
// second's worth, wherever its size comes from.
func TestI11WaitingKeepsTheBurstSmall(t *testing.T) {
	learned := func(size int64) func(*Quota) {
		return func(q *Quota) {
			q.windows[0].bucket.resize(size)
			q.tune()
		}
	}
	for name, c := range map[string]struct {
		burst         int64
		learn         func(*Quota)
		idle, waiting int64
	}{
		"learned":           {0, learned(2000), 2000, 100},
		"learned, small":    {0, learned(90), 90, 90},
		"configured":        {2400, func(*Quota) {}, 2000, 100},
		"configured, small": {240, func(*Quota) {}, 200, 100},
		"told": {0, func(q *Quota) {
			q.Observe(start, Reservation{}, []Hint{{Dim: Total, Limit: -1, Remaining: 2400, Reset: 0}})
		}, 2000, 100},
	} {
		for _, waiting := range []bool{false, true} {
			q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 6000, Burst: c.burst}}})
			c.learn(q)
			spendAll(q, start, 10)
			q.Saturate(start, waiting)
			want := c.idle
			if waiting {
				want = c.waiting
			}
			if _, got := spendAll(q, start.Add(70*time.Second), 10); got != want {
				t.Errorf("%s, waiting %v: %d sent at once, want %d", name, waiting, got, want)
			}
		}
	}
	q := paced(t)
	q.Saturate(start, true)
	if r, ok := q.Reserve(start, tokens(500)); !ok {
		t.Error("a request larger than the bucket does not go when it is full")
	} else if at, _ := q.Next(start, tokens(500)); at.Sub(start) != 5*time.Second {
		t.Errorf("the next one goes in %v, want 5 s", at.Sub(start))
	} else {
		q.Settle(start, r, tokens(500))
	}
}

func TestPause(t *testing.T) {
	q := paced(t)
	until := start.Add(7 * time.Second)
	q.Pause(start, until)
	q.Pause(start, start.Add(-time.Hour)) // over before it began
	if at, why := q.Next(start, tokens(1)); !at.Equal(until) || why == flow.ReasonNone {
		t.Errorf("Next = %v (%s), want the end of the pause", at, why)
	}
	if q.Fits(until.Add(-1), tokens(1)) || !q.Fits(until, tokens(1)) {
		t.Error("the pause does not end when it should")
	}
}

// TestThrottledStopsEveryKind: after a 429 nothing goes at once, even where no
// window explains it, and even after the refused call was given back.
func TestThrottledStopsEveryKind(t *testing.T) {
	limits := map[string][]Limit{
		"none": nil, "other": {{Dim: Requests, Max: 60}},
		"paced": {{Dim: Total, Max: 6000}}, "tiny": {{Dim: Total, Max: 20}}, "sliding": {{Dim: Total, Max: 6000, Kind: Sliding}},
		"bucket": {{Dim: Total, Max: 6000, Kind: Bucket}}, "fixed": {{Dim: Total, Max: 6000, Kind: Fixed}},
		"slice": {{Dim: Total, Max: 6000, Kind: Slice}},
	}
	for name, l := range limits {
		for counted, meter := range countedAts {
			q := mustNew(t, start, Options{Limits: l, Meter: Meter{CountedAt: meter}})
			need := Amount{Output: 5, Total: 10}
			r, ok := q.Reserve(start, need)
			if !ok {
				t.Fatalf("%s: nothing fits", name)
			}
			now := start.Add(50 * time.Millisecond)
			q.Throttled(now, r, Dims(Total), false)
			q.Settle(now, r, Amount{})
			at, why := q.Next(now, need)
			if d := at.Sub(now); d < 10*time.Millisecond || d > time.Minute || why == flow.ReasonNone {
				t.Errorf("%s/%s: next in %v (%s)", name, counted, d, why)
			}
		}
	}
}

// TestForeignSpenderWithoutHeaders: somebody else uses half of the quota and no
// header tells. 429s come although our own sum is far from the limit, so the
// limit itself is lowered until they stop.
func TestForeignSpenderWithoutHeaders(t *testing.T) {
	w := newWorld(t, 60, false, 20*time.Millisecond, 3)
	w.tokens = &slidingJudge{span: time.Minute, most: 900_000}
	for range 200 {
		w.user(3 * time.Second)
	}
	w.run(start.Add(30 * time.Minute))
	used := float64(w.served) / 27_000_000
	t.Logf("%d of %d throttled, used %.3f", w.throttled, w.sent, used)
	if w.throttled*10 > w.sent || used < 0.85 {
		t.Errorf("%d of %d throttled, %.3f used; want <= 10 %%, >= 0.85", w.throttled, w.sent, used)
	}
}

func TestRamp(t *testing.T) {
	q := mustNew(t, start, Options{
		Limits: []Limit{{Dim: Total, Max: 6000, Kind: Sliding}},
		Ramp:   Ramp{Above: 1000, Growth: 0.5, Every: 15 * time.Minute},
	})
	now := start
	for _, want := range []int64{1000, 1500, 2250, 3370, 5050, 6000} {
		if _, got := spendAll(q, now, 10); got != want {
			t.Fatalf("at %v: %d sent, want %d", now.Sub(start), got, want)
		}
		if _, why := q.Next(now, tokens(10)); (why == flow.ReasonRamp) != (want < 6000) {
			t.Fatalf("at %v: the reason is %s", now.Sub(start), why)
		}
		now = now.Add(15 * time.Minute)
	}
	now = now.Add(time.Hour)
	last, got := spendAll(q, now, 10)
	if got != 1000 {
		t.Errorf("%d sent after an idle hour, want 1000", got)
	}
	now = now.Add(time.Second)
	q.Throttled(now, last, 0, true)
	if s := q.Snapshot(now)[0]; s.Learned != 6000 {
		t.Errorf("slow_down lowered the limit to %d", s.Learned)
	}
	if _, got := spendAll(q, now.Add(2*time.Minute), 10); got != 1000 {
		t.Errorf("%d sent two minutes after slow_down, want to stay at 1000", got)
	}
}
