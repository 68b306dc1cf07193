package breaker

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/llm"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// end asks for a pass and gives it back with this kind.
func end(t *testing.T, b *Breaker, now time.Time, kind llm.ErrorKind) {
	t.Helper()
	p, ok := b.Allow(now)
	if !ok {
		t.Fatalf("not allowed at %v, %v", now, b.State(now))
	}
	b.Done(now, p, kind)
}

func wantState(t *testing.T, b *Breaker, now time.Time, want State) {
	t.Helper()
	if got := b.State(now); got != want {
		t.Fatalf("state %v, want %v", got, want)
	}
}

func TestConsecutiveFailuresTrip(t *testing.T) {
	b := New(Options{Failures: 10, Ratio: -1})
	for range 3 { // a success in between starts the count again
		for range 9 {
			end(t, b, start, llm.KindTransient)
		}
		wantState(t, b, start, Closed)
		end(t, b, start, llm.KindNone)
	}
	for range 10 {
		end(t, b, start, llm.KindTransient)
	}
	wantState(t, b, start, Open)
	wantState(t, b, start.Add(60*time.Second-1), Open)
	wantState(t, b, start.Add(60*time.Second), HalfOpen)
}

func TestRatioNeedsItsVolume(t *testing.T) {
	b := New(Options{})
	for range 19 {
		end(t, b, start, llm.KindOverload)
	}
	wantState(t, b, start, Closed)
	end(t, b, start, llm.KindOverload)
	wantState(t, b, start, Open)
}

func TestRatioForgetsWhatLeftTheWindow(t *testing.T) {
	b := New(Options{MinVolume: 10})
	for range 9 {
		end(t, b, start, llm.KindTimeout)
	}
	later := start.Add(31 * time.Second)
	for range 9 {
		end(t, b, later, llm.KindTimeout)
	}
	wantState(t, b, later, Closed)
	end(t, b, later, llm.KindTimeout)
	wantState(t, b, later, Open)
}

func TestI1ThousandWaitersAtHalfOpen(t *testing.T) {
	b := New(Options{Probes: 3})
	b.trip(start, CauseRun)
	now := start.Add(time.Minute)
	var passes []Pass
	for range 1000 {
		if p, ok := b.Allow(now); ok {
			passes = append(passes, p)
		}
	}
	if len(passes) != 3 {
		t.Fatalf("%d probes, want 3", len(passes))
	}
	for _, p := range passes {
		if !p.Probe() {
			t.Error("a pass of a half-open breaker is no probe")
		}
	}
	// Failing opens it anew; its other probes still count until they are gone.
	b.Done(now, passes[0], llm.KindTransient)
	wantState(t, b, now, Open)
	if n := b.Snapshot(now).Outstanding; n != 2 {
		t.Errorf("%d outstanding, want 2", n)
	}
}

func TestI1OldProbesCountInTheNextHalfOpen(t *testing.T) {
	b := New(Options{Probes: 2, Open: time.Second, ProbeTimeout: time.Minute})
	b.trip(start, CauseRun)
	now := start.Add(time.Second)
	first, _ := b.Allow(now)
	b.Allow(now)
	b.Done(now, first, llm.KindTransient)
	now = now.Add(time.Second)
	if _, ok := b.Allow(now); !ok {
		t.Fatal("one place should be free")
	}
	if _, ok := b.Allow(now); ok {
		t.Error("three probes on their way, two may be")
	}
}

func TestI2LostProbeIsReclaimed(t *testing.T) {
	b := New(Options{ProbeTimeout: 20 * time.Second})
	b.trip(start, CauseRun)
	now := start.Add(time.Minute)
	lost, _ := b.Allow(now)
	if b.Ready(now.Add(20*time.Second - 1)) {
		t.Error("ready before the probe timed out")
	}
	now = now.Add(20 * time.Second)
	second, ok := b.Allow(now)
	if !ok {
		t.Fatal("stuck")
	}
	b.Done(now, lost, llm.KindTransient) // I4: too late to mean anything
	wantState(t, b, now, HalfOpen)
	if b.Ready(now) {
		t.Error("the late end freed the place of another probe")
	}
	b.Done(now, second, llm.KindNone)
	wantState(t, b, now, Closed)
}

func TestI3KindsWithoutVerdict(t *testing.T) {
	for _, kind := range llm.Kinds() {
		if kind == llm.KindNone || kind.Faulty() {
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			b := New(Options{Failures: 1, MinVolume: 1, Ratio: 0.01})
			for range 100 {
				end(t, b, start, kind)
			}
			wantState(t, b, start, Closed)
			b.trip(start, CauseRun)
			now := start.Add(time.Minute)
			end(t, b, now, kind)
			wantState(t, b, now, HalfOpen)
			if !b.Ready(now) {
				t.Error("the probe was not given back")
			}
		})
	}
}

func TestI4LateEndsChangeNothing(t *testing.T) {
	b := New(Options{Failures: 1})
	old, _ := b.Allow(start)
	b.trip(start, CauseRun)
	now := start.Add(time.Minute)
	b.Done(now, old, llm.KindNone)
	wantState(t, b, now, HalfOpen)

	probe, _ := b.Allow(now)
	b.Done(now, probe, llm.KindNone)
	wantState(t, b, now, Closed)
	b.Done(now, probe, llm.KindTransient) // twice
	b.Done(now, old, llm.KindTransient)   // of the older generation
	b.Done(now, Pass{}, llm.KindTransient)
	wantState(t, b, now, Closed)
}

func TestSuccessesClose(t *testing.T) {
	b := New(Options{Successes: 3})
	b.trip(start, CauseRun)
	now := start.Add(time.Minute)
	end(t, b, now, llm.KindNone)
	end(t, b, now, llm.KindNone)
	wantState(t, b, now, HalfOpen)
	end(t, b, now, llm.KindNone)
	wantState(t, b, now, Closed)
}

func TestResetAndTripByHand(t *testing.T) {
	b := New(Options{Failures: 2})
	end(t, b, start, llm.KindTransient)
	b.trip(start, CauseRun)
	b.Reset(start)
	end(t, b, start, llm.KindTransient) // the count began again
	wantState(t, b, start, Closed)
	if got := b.Snapshot(start).Trips; got != 1 {
		t.Errorf("%d trips, want 1", got)
	}
}

func TestSnapshot(t *testing.T) {
	b := New(Options{Failures: 3})
	end(t, b, start, llm.KindNone)
	end(t, b, start, llm.KindTransient)
	want := Snapshot{State: Closed, Run: 1, Good: 1, Bad: 1, Kind: llm.KindTransient}
	if diff := cmp.Diff(want, b.Snapshot(start)); diff != "" {
		t.Errorf("closed (-want +got):\n%s", diff)
	}
	end(t, b, start, llm.KindTimeout)
	end(t, b, start, llm.KindTransient)
	want = Snapshot{
		State: Open, Since: start, NextProbe: start.Add(time.Minute), Trips: 1,
		Cause: CauseRun, Failures: 3, Verdicts: 4, Kind: llm.KindTransient,
	}
	if diff := cmp.Diff(want, b.Snapshot(start)); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
}

// TestI2ByHand: what was opened by hand stays so through time, ends of requests, a
// reload and a restart, until Reset.
func TestI2ByHand(t *testing.T) {
	b := New(Options{Failures: 3})
	pass, _ := b.Allow(start)
	b.Trip(start)
	b.Done(start, pass, llm.KindNone)
	b.Reconfigure(Options{Failures: 1, Open: time.Second})
	next := New(Options{})
	next.Restore(start, b.Save())
	for _, b := range []*Breaker{b, next} {
		later := start.Add(1000 * time.Hour)
		wantState(t, b, later, Open)
		if s := b.Snapshot(later); !s.ByHand || !s.NextProbe.IsZero() || s.Reason() != "opened by hand" || b.Ready(later) {
			t.Errorf("%+v, %q, ready %v", s, s.Reason(), b.Ready(later))
		}
		b.Reset(later)
		wantState(t, b, later, Closed)
	}
}

func TestReason(t *testing.T) {
	b := New(Options{Failures: 3, MinVolume: 4})
	say := func(want string) {
		t.Helper()
		if got := b.Snapshot(start).Reason(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	say("")
	for _, kind := range []llm.ErrorKind{llm.KindNone, llm.KindNone, llm.KindTimeout, llm.KindTransient} {
		end(t, b, start, kind)
	}
	say("2 of 4 requests failed, the last: transient")
	later := start.Add(time.Minute)
	end(t, b, later, llm.KindTimeout)
	say("a probe failed: timeout")
	b.Reset(start)
	say("")
	for range 3 {
		end(t, b, start, llm.KindTimeout)
	}
	say("3 failures in a row, the last: timeout")
	next := New(Options{})
	next.Restore(start, b.Save())
	b = next
	say("it was open before the restart")
}

func TestSaveAndRestore(t *testing.T) {
	open := New(Options{Failures: 5})
	open.trip(start, CauseRun)
	run := New(Options{Failures: 5})
	for range 4 {
		end(t, run, start, llm.KindTransient)
	}
	for _, c := range []struct {
		name  string
		saved Saved
		at    time.Duration
		want  State
	}{
		{"open", open.Save(), 59 * time.Second, Open},
		{"open time has passed", open.Save(), 60 * time.Second, HalfOpen},
		{"closed", run.Save(), 0, Closed},
		{"far future is cut", Saved{Tripped: true, Until: start.Add(1000 * time.Hour)}, 0, Open},
		{"nothing", Saved{}, 0, Closed},
		{"absurd", Saved{Run: math.MaxInt, Trips: -1}, 0, Closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := start.Add(c.at)
			b := New(Options{Failures: 5})
			b.Restore(now, c.saved)
			wantState(t, b, now, c.want)
			if !b.Ready(now.Add(time.Minute)) {
				t.Error("not ready after the open time")
			}
		})
	}
	b := New(Options{Failures: 5})
	b.Restore(start, run.Save())
	end(t, b, start, llm.KindTransient)
	wantState(t, b, start, Open)
}

func TestValidate(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Errorf("zero options: %v", err)
	}
	bad := Options{Failures: -1, Ratio: math.NaN(), MinVolume: -1, Window: -1, Open: -1, Probes: -1, Successes: -1, ProbeTimeout: -1}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	if n := len(err.(interface{ Unwrap() []error }).Unwrap()); n != 8 {
		t.Errorf("%d faults, want 8:\n%v", n, err)
	}
	if b := New(bad); b.o != New(Options{}).o {
		t.Errorf("New takes %+v for %+v", b.o, bad)
	}
}

func TestNoAllocations(t *testing.T) {
	b, now := New(Options{Failures: 3}), start
	n := testing.AllocsPerRun(200, func() {
		now = now.Add(time.Second)
		if p, ok := b.Allow(now); ok {
			b.Done(now, p, llm.KindTransient)
		}
		_, _, _ = b.NextProbe(now), b.Snapshot(now), b.Save()
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkAllowDone(b *testing.B) {
	br, now := New(Options{Failures: 10}), start
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		p, _ := br.Allow(now)
		br.Done(now, p, llm.KindNone)
	}
}

func TestReconfigureKeepsTheState(t *testing.T) {
	b := New(Options{Failures: 3, Ratio: -1, Open: time.Minute, Probes: 1})
	end(t, b, start, llm.KindTransient)
	end(t, b, start, llm.KindTransient)
	b.Reconfigure(Options{Failures: 3, Ratio: -1, Open: 10 * time.Second, Probes: 2, Window: time.Hour})
	wantState(t, b, start, Closed)
	end(t, b, start, llm.KindTransient)
	wantState(t, b, start, Open)
	later := start.Add(11 * time.Second)
	wantState(t, b, later, HalfOpen)
	one, ok := b.Allow(later)
	two, also := b.Allow(later)
	if !ok || !also {
		t.Error("two probes are allowed now")
	}
	b.Reconfigure(Options{Failures: 3, Ratio: -1, Open: 10 * time.Second, Probes: 1})
	b.Done(later, two, llm.KindNone)
	b.Done(later, one, llm.KindNone)
	wantState(t, b, later, Closed)
}
