package quota

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// TestI10ClockSteps: wall clock times without a monotonic part. A step back
// neither frees what was spent nor freezes the window for as long.
func TestI10ClockSteps(t *testing.T) {
	for name := range kinds() {
		for _, back := range []time.Duration{0, time.Nanosecond, 999 * time.Millisecond, time.Hour, 24 * 365 * time.Hour} {
			limit, _, _ := kinds()[name]()
			limit.Dim = Total
			q := mustNew(t, start, Options{Limits: []Limit{limit}})
			spendAll(q, start, 50)
			want, _ := q.Next(start, tokens(50))
			stepped := start.Add(-back)
			if _, ok := q.Reserve(stepped, tokens(50)); ok {
				t.Errorf("%s: a step back by %v freed the window", name, back)
			}
			at, _ := q.Next(stepped, tokens(50))
			if got, most := at.Sub(stepped), want.Sub(start)+time.Second; limit.Kind != Fixed && got > most {
				t.Errorf("%s: after a step back by %v it waits %v, want <= %v", name, back, got, most)
			} else if got > 2*time.Minute {
				t.Errorf("%s: after a step back by %v it waits %v", name, back, got)
			}
			if _, ok := q.Reserve(at, tokens(50)); !ok {
				t.Errorf("%s: after a step back by %v nothing fits at Next", name, back)
			}
		}
	}
}

// TestI10TimeRepeats: two calls at the same instant, and one a little before.
func TestI10TimeRepeats(t *testing.T) {
	q := paced(t)
	now := start.Add(time.Second)
	q.Fits(now, tokens(1))
	before := q.clone()
	q.Fits(now, tokens(1))
	q.Fits(now.Add(-time.Millisecond), tokens(1))
	if q.now != before.now || q.windows[0].bucket != before.windows[0].bucket || *q.windows[0].ring != *before.windows[0].ring {
		t.Error("repeated time changed the window")
	}
}

// TestI10FixedWindowsFollowTheWallClock: when the wall clock is set, nobody who
// reads either the old or the new clock sees more than the limit.
func TestI10FixedWindowsFollowTheWallClock(t *testing.T) {
	const span, limit = 60 * second, 100
	for _, jump := range []int64{-3600*second - 7*second, -25 * second, 2 * second, 25 * second, 59 * second, 3600 * second} {
		a := aligned{span: span, skew: second}
		a.advance(30*second, 0)
		type spent struct{ at, n int64 }
		var all []spent
		spend := func(t int64) {
			if n := limit - a.worst(t); n > 0 {
				a.add(t, n)
				all = append(all, spent{t, n})
			}
		}
		spend(31 * second)
		for t := int64(40) * second; t < 400*second; t += second / 4 {
			a.advance(t, jump)
			spend(t)
		}
		oldMinute := int64(0)
		for i, s := range all {
			if s.at < 60*second {
				oldMinute += s.n
			}
			if i > 0 && (s.at+jump)/span == (all[i-1].at+jump)/span && s.at/span == all[i-1].at/span {
				t.Errorf("jump %d s: %v and %v in one window", jump/second, all[i-1], s)
			}
			if i > 0 && s.at-all[i-1].at > 2*span {
				t.Errorf("jump %d s: frozen for %d s", jump/second, (s.at-all[i-1].at)/second)
			}
		}
		if oldMinute > limit || len(all) < 4 {
			t.Errorf("jump %d s: %d in the minute of the jump, %d windows used", jump/second, oldMinute, len(all))
		}
	}
}

// TestI9RestoredAsSaved: the next process may send when the last one might.
func TestI9RestoredAsSaved(t *testing.T) {
	for name := range kinds() {
		limit, _, _ := kinds()[name]()
		limit.Dim = Total
		o := Options{Limits: []Limit{limit}}
		q, now := mustNew(t, start, o), start
		for range 5 {
			spendAll(q, now, 70)
			now = now.Add(1700 * time.Millisecond)
		}
		next := mustNew(t, now, o)
		if err := next.Restore(now, q.Save(now)); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{1, 70, 500, 6000} {
			want, _ := q.Next(now, tokens(n))
			got, _ := next.Next(now, tokens(n))
			if d := got.Sub(want); d < 0 || d > time.Minute/500 {
				t.Errorf("%s: %d fit %v after they fitted before the restart, want 0 .. a slot", name, n, d)
			}
		}
	}
}

// TestI9UnknownStart: how long it takes until a second's worth fits, half of
// the window, and all of it.
func TestI9UnknownStart(t *testing.T) {
	const sec = time.Second
	for _, c := range []struct {
		limit Limit
		fits  [3]time.Duration
	}{
		{Limit{Max: 6000}, [3]time.Duration{2 * sec, 31 * sec, 61 * sec}},
		{Limit{Max: 6000, Kind: Sliding}, [3]time.Duration{61 * sec, 61 * sec, 61 * sec}},
		{Limit{Max: 6000, Kind: Bucket}, [3]time.Duration{2 * sec, 31 * sec, 61 * sec}},
		{Limit{Max: 6000, Kind: Fixed}, [3]time.Duration{48 * sec, 48 * sec, 48 * sec}},
		{Limit{Max: 6000, Kind: Slice}, [3]time.Duration{sec, sec, sec}},
	} {
		c.limit.Dim = Total
		q := mustNew(t, start, Options{Limits: []Limit{c.limit}, Start: Unknown})
		all := q.windows[0].largest()
		for i, n := range []int64{100, all / 2, all} {
			at, _ := q.Next(start, tokens(n))
			if got := at.Sub(start); got < c.fits[i] || got > c.fits[i]+1800*time.Millisecond {
				t.Errorf("%s: %d fit in %v, want %v", c.limit.Kind, n, got, c.fits[i])
			}
		}
	}
}

func TestRestoreDropsWhatCannotBeTrue(t *testing.T) {
	o := Options{Limits: []Limit{{Dim: Total, Max: 6000, Kind: Sliding}, {Dim: Requests, Max: 60, Kind: Fixed}}}
	good := mustNew(t, start, o).Save(start)
	change := func(f func(*Saved)) Saved {
		data, _ := json.Marshal(good)
		var s Saved
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		f(&s)
		return s
	}
	cases := map[string]struct {
		saved Saved
		says  string
		empty bool // both windows must then be taken for full
	}{
		"zero":        {Saved{}, "version 0", true},
		"other":       {change(func(s *Saved) { s.Version = 9 }), "version 9", true},
		"future":      {change(func(s *Saved) { s.At += int64(time.Hour) }), "future", true},
		"no limit":    {change(func(s *Saved) { s.Limits = s.Limits[:0] }), "tokens per 1m0s is missing", true},
		"other limit": {change(func(s *Saved) { s.Limits[0].Span = time.Hour }), "tokens per 1m0s is missing", false},
		"future slot": {change(func(s *Saved) { s.Limits[0].End += int64(time.Hour) }), "tokens per 1m0s has an entry", false},
		"negative":    {change(func(s *Saved) { s.Limits[0].Slots = [][2]int64{{3, -5}} }), "has an entry", false},
		"huge":        {change(func(s *Saved) { s.Limits[0].Slots = [][2]int64{{3, math.MaxInt64}} }), "has an entry", false},
		"age":         {change(func(s *Saved) { s.Limits[0].Slots = [][2]int64{{512, 1}} }), "has an entry", false},
		"width":       {change(func(s *Saved) { s.Limits[0].Width = 0 }), "has an entry", false},
		"learned":     {change(func(s *Saved) { s.Limits[0].Learned = 0 }), "has an entry", false},
	}
	for name, c := range cases {
		q := mustNew(t, start, o)
		err := q.Restore(start, c.saved)
		if !errors.Is(err, errSaved) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
		if q.Fits(start, tokens(1)) {
			t.Errorf("%s: the window of tokens is not taken for full", name)
		}
		if q.Fits(start, Amount{Requests: 1}) == c.empty {
			t.Errorf("%s: the window of requests is wrong", name)
		}
	}
	if err := mustNew(t, start, o).Restore(start, good); err != nil {
		t.Errorf("a good state is refused: %v", err)
	}
}

// TestRestoreKeepsWhatWasLearned also when the configured limit changed.
func TestRestoreKeepsWhatWasLearned(t *testing.T) {
	q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 6000}}})
	r, _ := q.Reserve(start, tokens(500))
	q.Observe(start, r, []Hint{{Dim: Total, Limit: 3000, Remaining: 2500, Reset: 10 * time.Second}})
	q.Cancel(start, r)
	q.windows[0].cutLimit(q.now, q.now)
	saved := q.Save(start)
	for _, c := range []struct{ max, learned, burst int64 }{{6000, 2700, 2500}, {9000, 2700, 2500}, {2000, 2000, 1666}} {
		next := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: c.max}}})
		if err := next.Restore(start, saved); err != nil {
			t.Fatal(err)
		}
		s := next.Snapshot(start)[0]
		if s.Learned != c.learned || s.Burst != c.burst {
			t.Errorf("max %d: learned %d, burst %d; want %d, %d", c.max, s.Learned, s.Burst, c.learned, c.burst)
		}
	}
}

// TestSaveInFlight: what calls in flight hold is spent for the next process.
func TestSaveInFlight(t *testing.T) {
	for _, counted := range countedAts {
		for _, kind := range []Kind{Paced, Sliding, Bucket, Fixed} {
			o := Options{Meter: Meter{CountedAt: counted}, Limits: []Limit{{Dim: Total, Max: 6000, Kind: kind}}}
			q := mustNew(t, start, o)
			q.Reserve(start, Amount{Output: 2000, Total: 6000})
			next := mustNew(t, start, o)
			if err := next.Restore(start, q.Save(start)); err != nil {
				t.Fatal(err)
			}
			if next.Fits(start, Amount{Output: 1, Total: 1}) {
				t.Errorf("%s counted at %d: the next process forgot what was in flight", kind, counted)
			}
		}
	}
}

// TestAbsurdInput: no amount, time or answer overflows.
func TestAbsurdInput(t *testing.T) {
	for _, kind := range []Kind{Paced, Sliding, Bucket, Fixed, Slice} {
		q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: most, Kind: kind}}})
		huge := Amount{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}
		now := start
		for i := range 3000 {
			now = now.Add(time.Duration(i) * time.Millisecond)
			r, _ := q.Reserve(now, tokens(-5))
			q.Settle(now, r, huge)
			checkParts(t, q)
		}
		if q.Fits(now, tokens(1)) {
			t.Errorf("%s: something fits on top of an absurd debt", kind)
		}
		if at, _ := q.Next(now, tokens(1)); !at.After(now) {
			t.Errorf("%s: Next = %v", kind, at)
		}
		if c := q.Cost(huge, math.MaxInt64); c <= 0 || math.IsInf(c, 0) {
			t.Errorf("%s: Cost = %v", kind, c)
		}
		for _, when := range []time.Time{{}, time.Unix(1<<60, 0), start} {
			q.Next(when, tokens(1))
			q.Observe(when, Reservation{}, []Hint{{Dim: 200}, {Dim: Total, Limit: math.MinInt64, Remaining: math.MaxInt64, Reset: math.MaxInt64}})
			checkParts(t, q)
		}
	}
}

// TestUnknownDayStartsFresh: after a crash a minute is waited for, a day is not.
func TestUnknownDayStartsFresh(t *testing.T) {
	q := mustNew(t, start, Options{Start: Unknown, Limits: []Limit{
		{Dim: Requests, Max: 60, Kind: Sliding}, {Dim: Requests, Max: 1000, Span: 24 * time.Hour, Kind: Sliding},
	}})
	at, _ := q.Next(start, Amount{Requests: 1})
	if wait := at.Sub(start); wait < time.Minute || wait > 2*time.Minute {
		t.Errorf("the first request waits %v, want about a minute", wait)
	}
}
