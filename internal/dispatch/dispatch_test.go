package dispatch

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// house is a Dispatcher over real admission with two providers of the test's.
type house struct {
	*Dispatcher
	admission     *admission.Controller
	first, second *provider
	book          *book
}

// whole is an exchange that answers in full, at once.
func whole(int) *exchange { return &exchange{pieces: 2} }

func build(t testing.TB, o Options) *house {
	t.Helper()
	h := &house{admission: control(t), first: &provider{make: whole}, second: &provider{make: whole}, book: &book{}}
	o.Upstreams = []Upstream{{Name: "first"}, {Name: "second"}}
	o.Routes = []string{"both", "straight"}
	var err error
	h.Dispatcher, err = New(o, Deps{Admission: h.admission, Providers: []Provider{h.first, h.second}, Sink: h.book})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// seat takes the one seat of the second upstream for d.
func (h *house) seat(t testing.TB, d time.Duration) {
	t.Helper()
	time.AfterFunc(d, occupy(t, h.admission))
}

func TestNotesFollowTheRhythmOfHolding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, 40*time.Second)
		start, c := time.Now(), &client{t: t}
		if got := h.Do(t.Context(), request(straight, true), c); got != flow.OutcomeServed {
			t.Errorf("outcome %v: %v", got, c.err)
		}
		var at []int
		for i, q := range c.queued {
			at = append(at, int(q.Sub(start)/time.Second))
			if c.states[i].Position != 1 || c.states[i].Reason != flow.ReasonSeats {
				t.Errorf("note %d: %+v", i, c.states[i])
			}
		}
		if diff := cmp.Diff([]int{5, 15, 25, 35}, at); diff != "" {
			t.Errorf("notes at (-want +got):\n%s", diff)
		}
		r := h.book.records[0]
		if r.Waits.Of(flow.ReasonSeats) != r.Queued {
			t.Errorf("it waited for %v", r.Waits)
		}
		if r.Queued != 40*time.Second || r.FirstByte != 40*time.Second || !r.Quoted || r.Reason != flow.ReasonSeats || r.BytesOut != 10 {
			t.Errorf("record %+v", r)
		}
	})
}

// A stream whose first attempt runs keeps its header back for longer: it could
// still fail with a status of its own.
func TestRunningStreamIsLeftInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.second.make = func(int) *exchange {
			return &exchange{pieces: 1, atStart: func(context.Context) error { <-time.After(50 * time.Second); return nil }}
		}
		start, c := time.Now(), &client{t: t}
		h.Do(t.Context(), request(straight, true), c)
		var at []int
		for i, q := range c.queued {
			at = append(at, int(q.Sub(start)/time.Second))
			if c.states[i] != (admission.Status{}) {
				t.Errorf("note %d: %+v", i, c.states[i])
			}
		}
		if diff := cmp.Diff([]int{25, 35, 45}, at); diff != "" {
			t.Errorf("notes at (-want +got):\n%s", diff)
		}
	})
}

func TestWholeAnswerIsHeldInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, 100*time.Second)
		c := &client{t: t}
		if got := h.Do(t.Context(), request(straight, false), c); got != flow.OutcomeServed || len(c.queued) != 0 {
			t.Errorf("outcome %v, %d notes", got, len(c.queued))
		}
	})
}

// deaf is a client whose connection takes no notes.
type deaf struct {
	client
	fail func() error
}

func (d *deaf) Queued(admission.Status) error { return d.fail() }

func TestNoteThatCannotBeWrittenEndsTheRequest(t *testing.T) {
	for name, c := range map[string]struct {
		fail func() error
		want flow.Outcome
	}{
		"error": {func() error { return errPipe }, flow.OutcomeCanceled},
		"panic": {func() error { panic("note") }, flow.OutcomeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, Options{})
				h.seat(t, 100*time.Second)
				start := time.Now()
				got := h.Do(t.Context(), request(straight, true), &deaf{client{t: t}, c.fail})
				if got != c.want || time.Since(start) != 5*time.Second {
					t.Errorf("outcome %v after %v", got, time.Since(start))
				}
				if len(h.second.exchanges) != 0 {
					t.Error("I5: it was sent although nobody listens")
				}
				<-time.After(100 * time.Second)
			})
		})
	}
}

// Long after the end nothing happens any more: a timer that was left would call
// the Reply, which objects.
func TestI6NothingOutlivesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Limits: map[flow.Class]Limits{flow.Chat: {Hard: time.Minute}}})
		for _, fail := range []bool{false, true} {
			h.second.make = func(int) *exchange {
				return &exchange{pieces: 1, atPiece: func(context.Context, int) error { return failIf(fail) }}
			}
			h.Do(t.Context(), request(straight, true), &client{t: t})
			<-time.After(10 * time.Minute)
		}
	})
}

// The client leaves at the very moment its turn comes: nothing may be sent.
func TestI5NothingIsSentForAClientThatHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		for range 50 { // select takes either way out at random
			release := occupy(t, h.admission)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, func() {
				cancel()
				release()
			})
			if got := h.Do(ctx, request(straight, false), &client{t: t}); got != flow.OutcomeCanceled {
				t.Fatalf("outcome %v", got)
			}
			cancel()
			synctest.Wait()
		}
		if n := len(h.second.exchanges); n != 0 {
			t.Errorf("I5: sent %d times", n)
		}
		if s := h.admission.Snapshot(); s.Outstanding != 0 {
			t.Errorf("I1: outstanding %d", s.Outstanding)
		}
	})
}

func TestFallback(t *testing.T) {
	for _, kind := range []llm.ErrorKind{llm.KindTransient, llm.KindOverload, llm.KindTimeout, llm.KindExhausted, llm.KindAuth} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, Options{})
				h.first.make = func(int) *exchange { return &exchange{atStart: fail(kind)} }
				c := &client{t: t}
				if got := h.Do(t.Context(), request(byBoth, false), c); got != flow.OutcomeServed {
					t.Fatalf("outcome %v: %v", got, c.err)
				}
				if len(h.first.exchanges) != 1 || len(h.second.exchanges) != 1 || c.meta.Upstream != "second" || c.meta.Attempts != 2 {
					t.Errorf("called %d and %d times, meta %+v", len(h.first.exchanges), len(h.second.exchanges), c.meta)
				}
				a := h.book.attempts
				if a[0].Kind != kind || a[1].Kind != llm.KindNone || h.book.records[0].Kind != llm.KindNone {
					t.Errorf("attempts %v, %v; record %v", a[0].Kind, a[1].Kind, h.book.records[0].Kind)
				}
			})
		})
	}
}

// The only upstream is tried three times more, if what went wrong may have passed.
func TestSoleUpstreamIsTriedAgain(t *testing.T) {
	for kind, want := range map[llm.ErrorKind]int{
		llm.KindTransient: 4, llm.KindOverload: 4, llm.KindTimeout: 4,
		llm.KindExhausted: 1, llm.KindAuth: 1, llm.KindInvalid: 1, llm.KindTooLarge: 1,
		llm.KindThrottle: 6,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, Options{})
				h.second.make = func(int) *exchange { return &exchange{atStart: fail(kind)} }
				c := &client{t: t}
				h.Do(t.Context(), request(straight, false), c)
				if got := len(h.second.exchanges); got != want {
					t.Errorf("%d attempts, want %d", got, want)
				}
				var told *llm.Error
				if !errors.As(c.err, &told) || told.Kind != kind {
					t.Errorf("the client was told %v", c.err)
				}
			})
		})
	}
}

// What is refused at the door or leaves the queue never was an attempt, and pays
// for nobody's second one.
func TestRetryBudgetCountsWhatRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Retry: backoff.BudgetOptions{Floor: -1}})
		h.first.make = func(int) *exchange { return &exchange{atStart: fail(llm.KindAuth)} }
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		release := occupy(t, h.admission)
		for range 100 {
			h.Do(gone, request(straight, false), &client{t: t})
		}
		release()
		if got := h.Do(t.Context(), request(byBoth, false), &client{t: t}); got != flow.OutcomeFailed || len(h.book.attempts) != 1 {
			t.Errorf("outcome %v after %d attempts", got, len(h.book.attempts))
		}
	})
}

func TestRetryBudgetIsConfigurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Retry: backoff.BudgetOptions{Ratio: -1, Floor: -1}})
		h.first.make = func(int) *exchange { return &exchange{atStart: fail(llm.KindTransient)} }
		if got := h.Do(t.Context(), request(byBoth, false), &client{t: t}); got != flow.OutcomeFailed || len(h.book.attempts) != 1 {
			t.Errorf("outcome %v after %d attempts", got, len(h.book.attempts))
		}
	})
}

// What never left costs nothing; what may have left is kept.
func TestUnsentAttemptIsCanceledInFull(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		used int64
	}{
		"unsent": {&llm.Error{Kind: llm.KindTransient, Message: "dial", Err: unsent{}}, 0},
		"sent":   {&llm.Error{Kind: llm.KindTransient, Message: "reset"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, Options{})
				full := h.admission.Snapshot().Upstreams[1].Windows[0].Free
				h.second.make = func(int) *exchange { return &exchange{atStart: func(context.Context) error { return c.err }} }
				h.Do(t.Context(), request(straight, false), &client{t: t})
				if got := full - h.admission.Snapshot().Upstreams[1].Windows[0].Free; got != c.used {
					t.Errorf("%d requests charged, want %d", got, c.used)
				}
			})
		})
	}
}

func TestRefusedAtTheDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.admission.Drain()
		c := &client{t: t}
		if got := h.Do(t.Context(), request(straight, false), c); got != flow.OutcomeRefused || !errors.Is(c.err, flow.ErrDraining) {
			t.Errorf("outcome %v: %v", got, c.err)
		}
		if r := h.book.records[0]; r.Cause != "draining" || r.Attempts != 0 || r.Route != "straight" {
			t.Errorf("record %+v", r)
		}
	})
}

// last is a client that is broken at its very end.
type last struct{ client }

func (l *last) End(error, *Meta) int { panic("end") }

func TestPanicAtTheEndIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		if got := h.Do(t.Context(), request(straight, false), &last{client{t: t}}); got != flow.OutcomeServed || len(h.book.records) != 1 {
			t.Errorf("outcome %v, %d records", got, len(h.book.records))
		}
	})
}

// first is a client that is broken from the start.
type first struct{ client }

func (f *first) Begin(*llm.Answer, *Meta) { panic("begin") }

func TestPanicAtTheBeginningIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		c := &first{client{t: t}}
		if got := h.Do(t.Context(), request(byBoth, true), c); got != flow.OutcomeFailed || len(h.book.records) != 1 || len(h.book.attempts) != 1 || c.ended != 1 {
			t.Errorf("outcome %v, %d records, %d attempts, %d ends", got, len(h.book.records), len(h.book.attempts), c.ended)
		}
		if s := h.admission.Snapshot(); s.Outstanding != 0 || h.first.exchanges[0].closed.IsZero() {
			t.Errorf("outstanding %d, closed %v", s.Outstanding, h.first.exchanges[0].closed)
		}
	})
}

func TestHardLimitSpansAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Limits: map[flow.Class]Limits{flow.Chat: {Hard: 20 * time.Second}}})
		slow := func(context.Context) error { <-time.After(15 * time.Second); return failure(llm.KindTransient) }
		h.first.make = func(int) *exchange { return &exchange{atStart: slow} }
		h.second.make = func(int) *exchange { return &exchange{atStart: hang} }
		start, c := time.Now(), &client{t: t}
		if got := h.Do(t.Context(), request(byBoth, false), c); got != flow.OutcomeDeadline || !errors.Is(c.err, ErrHardLimit) {
			t.Errorf("outcome %v: %v", got, c.err)
		}
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// The clock runs on in the queue: a request whose limit passes there is told so
// at once, and is not sent again.
func TestHardLimitEndsTheWaitForAnotherAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Limits: map[flow.Class]Limits{flow.Chat: {Hard: 20 * time.Second}}})
		h.first.make = func(int) *exchange { return &exchange{atStart: fail(llm.KindAuth)} }
		h.seat(t, time.Minute)
		start, c := time.Now(), &client{t: t}
		if got := h.Do(t.Context(), request(byBoth, false), c); got != flow.OutcomeDeadline || !errors.Is(c.err, ErrHardLimit) {
			t.Errorf("outcome %v: %v", got, c.err)
		}
		if took := time.Since(start); took != 20*time.Second || len(h.second.exchanges) != 0 || h.book.records[0].Cause != "hard_limit" {
			t.Errorf("took %v and %d more calls: %+v", took, len(h.second.exchanges), h.book.records[0])
		}
		if s := h.admission.Snapshot(); s.Waiting != 0 || s.Outstanding != 1 {
			t.Errorf("waiting %d, outstanding %d", s.Waiting, s.Outstanding)
		}
	})
}

func TestRecordTellsWhatWasUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.first.make = func(int) *exchange {
			return &exchange{pieces: 2, atPiece: func(_ context.Context, n int) error { return failIf(n == 2) }}
		}
		h.Do(t.Context(), request(byBoth, true), &client{t: t})
		r := h.book.records[0]
		if r.Outcome != flow.OutcomeFailed || r.Used.Output != 2 || r.BytesOut != 10 || r.Kind != llm.KindTransient || r.Status != 200 {
			t.Errorf("record %+v", r)
		}
	})
}

func failIf(yes bool) error {
	if yes {
		return failure(llm.KindTransient)
	}
	return nil
}

// Many at once with every kind of misfortune: the books are even at the end.
func TestI1BooksAreEvenAfterAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		dice := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(n)
		}
		h.first.make = func(int) *exchange {
			return &exchange{pieces: 3, atPiece: func(ctx context.Context, _ int) error { return misfortune(ctx, dice(20)) }}
		}
		h.second.make = h.first.make
		var all sync.WaitGroup
		const requests = 400
		for i := range requests {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if dice(4) == 0 {
					time.AfterFunc(time.Duration(dice(20_000))*time.Millisecond, cancel)
				}
				h.Do(ctx, request(i%2, i%3 == 0), &client{t: t})
			})
		}
		all.Wait()
		s := h.admission.Snapshot()
		if s.Outstanding != 0 || s.Waiting != 0 || s.Late != 0 || len(h.book.records) != requests {
			t.Errorf("outstanding %d, waiting %d, late %d, records %d", s.Outstanding, s.Waiting, s.Late, len(h.book.records))
		}
		if calls := len(h.first.exchanges) + len(h.second.exchanges); calls != len(h.book.attempts) {
			t.Errorf("I3: %d calls, %d attempts told", calls, len(h.book.attempts))
		}
	})
}

func misfortune(ctx context.Context, roll int) error {
	switch roll {
	case 0:
		return failure(llm.KindTransient)
	case 1:
		return failure(llm.KindThrottle)
	case 2:
		panic("misfortune")
	case 3:
		select {
		case <-ctx.Done():
			return &llm.Error{Kind: llm.KindCanceled, Err: ctx.Err()}
		case <-time.After(3 * time.Second):
		}
	}
	return nil
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(
		Options{Upstreams: []Upstream{{}, {}}, Limits: map[flow.Class]Limits{"x": {Hard: -1}}, Patience: -1, Retry: backoff.BudgetOptions{Ratio: 99}},
		Deps{Providers: []Provider{nil}},
	)
	for _, want := range []string{"admission", "2 upstreams but 1 providers", "providers[0]", `class "x"`, "patience", "ratio"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not speak of %s", err, want)
		}
	}
}

// quiet is a Reply that does nothing.
type quiet struct{}

func (quiet) Queued(admission.Status) error { return nil }
func (quiet) Begin(*llm.Answer, *Meta)      {}
func (quiet) Write([]byte) error            { return nil }
func (quiet) End(error, *Meta) int          { return 200 }

// instant answers at once and keeps nothing.
type instant struct{ pieces int }

func (i instant) Do(context.Context, *llm.Call) (*llm.Answer, error) {
	return &llm.Answer{Status: 200, Body: &exchange{pieces: i.pieces}}, nil
}

func BenchmarkDo(b *testing.B) {
	for name, stream := range map[string]bool{"json": false, "stream": true} {
		b.Run(name, func(b *testing.B) {
			d, err := New(Options{Upstreams: []Upstream{{}, {}}}, Deps{Admission: control(b), Providers: []Provider{instant{1}, instant{1}}})
			if err != nil {
				b.Fatal(err)
			}
			req := request(straight, stream)
			b.ReportAllocs()
			for b.Loop() {
				d.Do(b.Context(), req, quiet{})
			}
		})
	}
}

// A piece of an answer passes without an allocation.
func TestRelayAllocatesNothingPerPiece(t *testing.T) {
	measure := func(n int) float64 {
		d, err := New(Options{Upstreams: []Upstream{{}, {}}}, Deps{Admission: control(t), Providers: []Provider{instant{n}, instant{n}}})
		if err != nil {
			t.Fatal(err)
		}
		req := request(straight, true)
		return testing.AllocsPerRun(50, func() { d.Do(t.Context(), req, quiet{}) })
	}
	// The pieces of the fake are made of a constant, which costs one each.
	few, many := measure(1), measure(1001)
	if extra := many - few - 1000*testing.AllocsPerRun(10, func() { sinkPiece, _ = (&exchange{pieces: 1}).Next() }); extra > 5 {
		t.Errorf("%v allocations more for 1000 pieces more", extra)
	}
}

var sinkPiece []byte
