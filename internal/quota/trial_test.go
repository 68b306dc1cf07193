package quota

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// trial drives one Quota with random calls in front of an exact judge of the
// same kind, which counts each part of a call when the meter says.
type trial struct {
	q     *Quota
	limit Limit
	meter CountedAt
	judge refunder
	late  time.Duration // how much later the judge counts, at most
	draw  func(n int64) int64

	now    time.Time
	events eventHeap
	seq    int
	faults []string
	sent   int64
}

// refunder is a judge that can give back what it counted at a time.
type refunder interface {
	judge
	refund(now, counted time.Time, n int64)
}

func (j *slidingJudge) refund(_, counted time.Time, n int64) {
	for i := range j.entries {
		if e := &j.entries[i]; e.at.Equal(counted) && e.n >= n {
			e.n -= n
			j.sum -= n
			return
		}
	}
}

func (j *bucketJudge) refund(now, _ time.Time, n int64) {
	j.holds(now)
	j.level = min(j.level+n*j.span, j.size*j.span)
}

func (j *fixedJudge) refund(now, counted time.Time, n int64) {
	j.holds(now)
	if (counted.UnixNano()-int64(j.offset))/int64(j.span) == j.window {
		j.sum -= n
	}
}

func (tr *trial) after(d time.Duration, do func()) {
	tr.seq++
	heap.Push(&tr.events, timed{tr.now.Add(d), tr.seq, do})
}

func (tr *trial) advance(d time.Duration) {
	until := tr.now.Add(d)
	for len(tr.events) > 0 && !tr.events[0].at.After(until) {
		e := heap.Pop(&tr.events).(timed)
		tr.now = e.at
		e.do()
	}
	tr.now = until
}

func (tr *trial) charge(n int64) {
	if n == 0 {
		return
	}
	if left := tr.judge.holds(tr.now); left < n {
		tr.faults = append(tr.faults, fmt.Sprintf("at %v the judge has %d left and counts %d", tr.now.Sub(start), left, n))
	}
	tr.judge.spend(tr.now, n)
}

// call sends one call if it fits now.
func (tr *trial) call(need int64) bool {
	amount := Amount{Output: need / 3, Total: need}
	r, ok := tr.q.Reserve(tr.now, amount)
	if !ok {
		return false
	}
	actual := amount
	actual[Output] -= tr.draw(amount[Output] + 1)
	actual[Total] = actual[Output] + (need - amount[Output]) - tr.draw(need-amount[Output]+1)
	arrives := time.Duration(tr.draw(int64(tr.late) + 1))
	lasts := arrives + time.Duration(tr.draw(int64(3*time.Second)))
	if tr.draw(10) == 0 { // never sent
		tr.after(lasts, func() { tr.q.Cancel(tr.now, r) })
		return true
	}
	tr.sent += actual[Total]
	tr.provide(r, amount, actual, arrives, lasts)
	return true
}

// provide plays the provider: it counts as the meter says.
func (tr *trial) provide(r Reservation, need, actual Amount, arrives, lasts time.Duration) {
	arrived := tr.now.Add(arrives)
	within := arrives + time.Duration(tr.draw(int64(lasts-arrives)+1))
	switch tr.meter {
	case AtStart:
		tr.after(arrives, func() { tr.charge(need[Total]) })
		tr.after(lasts, func() { tr.judge.refund(tr.now, arrived, need[Total]-actual[Total]) })
	case AtEnd:
		tr.after(within, func() { tr.charge(actual[Total]) })
	case AsProduced:
		input, reserved := actual[Total]-actual[Output], need[Total]-need[Output]
		tr.after(arrives, func() { tr.charge(reserved) })
		tr.after(within, func() { tr.charge(actual[Output]) })
		tr.after(lasts, func() { tr.judge.refund(tr.now, arrived, reserved-input) })
	}
	tr.after(lasts, func() { tr.q.Settle(tr.now, r, actual) })
}

func (tr *trial) step(largest int64) {
	switch tr.draw(8) {
	case 0:
		tr.advance(time.Duration(tr.draw(int64(30 * time.Second))))
	case 1:
		tr.advance(time.Duration(tr.draw(int64(time.Second))))
	case 2:
		tr.q.Saturate(tr.now, tr.draw(2) == 0)
	default:
		need := 1 + tr.draw(largest)
		for range tr.draw(6) {
			if !tr.call(need) {
				break
			}
		}
		if at, _ := tr.q.Next(tr.now, Amount{Output: need / 3, Total: need}); !at.IsZero() {
			tr.advance(min(at.Sub(tr.now), time.Minute))
		} else {
			tr.advance(time.Duration(tr.draw(int64(4 * time.Second))))
		}
	}
}

// finish lets every call end.
func (tr *trial) finish() { tr.advance(10 * time.Second) }

// kinds are the windows of known providers, each with its exact judge.
func kinds() map[string]func() (Limit, refunder, time.Duration) {
	const most = 6000
	return map[string]func() (Limit, refunder, time.Duration){
		"paced": func() (Limit, refunder, time.Duration) {
			return Limit{Max: most}, &slidingJudge{span: time.Minute, most: most}, time.Second
		},
		"sliding": func() (Limit, refunder, time.Duration) {
			return Limit{Max: most, Kind: Sliding}, &slidingJudge{span: time.Minute, most: most}, time.Second
		},
		"bucket": func() (Limit, refunder, time.Duration) {
			return Limit{Max: most, Kind: Bucket}, newBucketJudge(most, most, time.Minute), time.Second
		},
		"small bucket": func() (Limit, refunder, time.Duration) {
			return Limit{Max: most * 10, Kind: Bucket, Burst: most}, newBucketJudge(most, most*10, time.Minute), time.Second
		},
		"fixed": func() (Limit, refunder, time.Duration) {
			return Limit{Max: most, Kind: Fixed}, &fixedJudge{span: time.Minute, most: most}, time.Second
		},
		"slice": func() (Limit, refunder, time.Duration) {
			return Limit{Max: most * 6, Kind: Slice, Slice: 10 * time.Second},
				&fixedJudge{span: 10 * time.Second, offset: 1234 * time.Millisecond, most: most}, time.Second / 6
		},
	}
}

func newTrial(t testing.TB, name string, meter CountedAt, draw func(int64) int64) *trial {
	limit, judge, late := kinds()[name]()
	limit.Dim = Total
	q := mustNew(t, start, Options{Limits: []Limit{limit}, Meter: Meter{CountedAt: meter}})
	return &trial{q: q, limit: limit, meter: meter, judge: judge, late: late, draw: draw, now: start}
}

var countedAts = map[string]CountedAt{"start": AtStart, "end": AtEnd, "produced": AsProduced}

// TestI1NeverOver: random calls with cancels, refunds and any delay never take
// a provider of the configured kind over its limit.
func TestI1NeverOver(t *testing.T) {
	for name := range kinds() {
		for counted, meter := range countedAts {
			t.Run(name+"/"+counted, func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) {
					rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
					largest := rapid.SampledFrom([]int64{30, 600, 3000, 6000}).Draw(rt, "largest")
					tr := newTrial(t, name, meter, rnd.Int64N)
					for range rapid.IntRange(1, 100).Draw(rt, "steps") {
						tr.step(largest)
						if len(tr.faults) > 0 {
							rt.Fatal(tr.faults[0])
						}
					}
					tr.finish()
					if len(tr.faults) > 0 || tr.q.Outstanding() != 0 || tr.q.windows[0].held != 0 {
						rt.Fatalf("%v, %d outstanding, %d held", tr.faults, tr.q.Outstanding(), tr.q.windows[0].held)
					}
				})
			})
		}
	}
}

// TestI1RefundNotAboveTheBucket: what is given back late would have been lost
// in the meantime, because the provider's bucket was full.
func TestI1RefundNotAboveTheBucket(t *testing.T) {
	q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 6000, Kind: Bucket}}})
	unsent, ok1 := q.Reserve(start, tokens(5900))
	later := start.Add(time.Minute) // full again
	sent, ok2 := q.Reserve(later, tokens(5900))
	if !ok1 || !ok2 {
		t.Fatal("a full bucket refuses")
	}
	q.Cancel(later, unsent)
	if at, _ := q.Next(later, tokens(5900)); at.Sub(later) < 50*time.Second {
		t.Errorf("5900 more fit in %v: the provider has just counted as many", at.Sub(later))
	}
	q.Cancel(later, sent) // at once: nothing was lost
	if !q.Fits(later, tokens(5900)) {
		t.Error("what was given back at once is lost")
	}
}

// TestI1RefundsAddUp: what two calls give back can together not be more than the
// provider's bucket could hold when the next call was sent.
func TestI1RefundsAddUp(t *testing.T) {
	q := mustNew(t, start, Options{Limits: []Limit{{Dim: Total, Max: 60_000, Kind: Bucket, Burst: 6000}}})
	a, ok1 := q.Reserve(start, tokens(2400))
	b, ok2 := q.Reserve(start, tokens(2400))
	later := start.Add(2 * time.Second)
	_, ok3 := q.Reserve(later, tokens(1600)) // of 5,000 at most, a second's worth being kept in hand
	if !ok1 || !ok2 || !ok3 {
		t.Fatal("the bucket refuses what it holds")
	}
	q.Cancel(later, a)
	q.Cancel(later, b)
	if got := q.Snapshot(later)[0].Free; got > 3400 || got < 3398 {
		t.Errorf("%d left, want what it would be without the canceled calls: 3400", got)
	}
}

// TestDay runs 24 hours of each kind and meter in virtual time.
func TestDay(t *testing.T) {
	for name := range kinds() {
		for counted, meter := range countedAts {
			t.Run(name+"/"+counted, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(24, 24))
				tr := newTrial(t, name, meter, rnd.Int64N)
				for tr.now.Before(start.Add(24 * time.Hour)) {
					tr.step(2000)
				}
				tr.finish()
				if len(tr.faults) > 0 {
					t.Errorf("%d overshoots, first: %s", len(tr.faults), tr.faults[0])
				}
				if n := tr.q.Outstanding(); n != 0 || tr.q.windows[0].held != 0 {
					t.Errorf("%d outstanding, %d held, want 0", n, tr.q.windows[0].held)
				}
				t.Logf("%d units sent", tr.sent)
			})
		}
	}
}

// TestI9RestoreThenNoOvershoot: a process that took over from a saved state is
// as exact as the one that saved it.
func TestI9RestoreThenNoOvershoot(t *testing.T) {
	for name := range kinds() {
		for counted, meter := range countedAts {
			t.Run(name+"/"+counted, func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) {
					rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
					tr := newTrial(t, name, meter, rnd.Int64N)
					for range rapid.IntRange(1, 3).Draw(rt, "processes") {
						for range rapid.IntRange(1, 60).Draw(rt, "steps") {
							tr.step(600)
						}
						tr.finish() // a clean stop
						tr.restart(t, rt)
						tr.advance(time.Duration(rnd.Int64N(int64(time.Minute))))
					}
					if len(tr.faults) > 0 {
						rt.Fatal(tr.faults[0])
					}
				})
			})
		}
	}
}

// restart saves, goes through JSON and restores some time later.
func (tr *trial) restart(t *testing.T, rt *rapid.T) {
	data, err := json.Marshal(tr.q.Save(tr.now))
	if err != nil {
		rt.Fatal(err)
	}
	if len(data) > 16<<10 {
		rt.Fatalf("the saved state has %d bytes", len(data))
	}
	tr.advance(time.Duration(tr.draw(int64(90 * time.Second))))
	var saved Saved
	if err := json.Unmarshal(data, &saved); err != nil {
		rt.Fatal(err)
	}
	tr.q = mustNew(t, tr.now, Options{Limits: []Limit{tr.limit}, Meter: Meter{CountedAt: tr.meter}})
	if err := tr.q.Restore(tr.now, saved); err != nil {
		rt.Fatal(err)
	}
}

// TestI9UnknownStartNeverOvershoots: a process that knows nothing of its
// predecessor, which was killed at any moment while it sent all it could.
func TestI9UnknownStartNeverOvershoots(t *testing.T) {
	for name := range kinds() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
				tr := newTrial(t, name, AtStart, rnd.Int64N)
				tr.q.Saturate(tr.now, true)
				for range rapid.IntRange(1, 150).Draw(rt, "steps") {
					tr.greedy(60)
				}
				tr.q = mustNew(t, tr.now, Options{Limits: []Limit{tr.limit}, Start: Unknown})
				tr.q.Saturate(tr.now, true)
				before := tr.sent
				for range 120 {
					tr.greedy(60)
				}
				if len(tr.faults) > 0 {
					rt.Fatal(tr.faults[0])
				}
				if tr.sent == before {
					rt.Fatal("nothing was sent after the restart")
				}
			})
		})
	}
}

// greedy sends one call of exactly n as soon as it fits; it is charged in full.
func (tr *trial) greedy(n int64) {
	need := Amount{Total: n}
	at, why := tr.q.Next(tr.now, need)
	if at.IsZero() {
		tr.faults = append(tr.faults, "no next time: "+string(why))
		return
	}
	tr.advance(at.Sub(tr.now))
	r, ok := tr.q.Reserve(tr.now, need)
	if !ok {
		tr.faults = append(tr.faults, "Reserve fails at Next")
		return
	}
	tr.sent += n
	tr.after(time.Duration(tr.draw(int64(tr.late)+1)), func() { tr.charge(n) })
	tr.q.Settle(tr.now, r, need)
}
