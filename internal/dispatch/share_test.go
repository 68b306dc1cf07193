package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/coalesce"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
)

// taker is a Reply that keeps what it is given.
type taker struct {
	client
	answer llm.Answer
	body   []byte
	pause  func() // before each write; nil for none
}

func (r *taker) Begin(a *llm.Answer, m *Meta) {
	r.client.Begin(a, m)
	r.answer = *a
}

func (r *taker) Write(p []byte) error {
	if r.pause != nil {
		r.pause()
	}
	r.body = append(r.body, p...)
	return r.client.Write(p)
}

// asking is a request under way.
type asking struct {
	*taker
	cancel  context.CancelFunc
	outcome flow.Outcome
	done    chan struct{}
	at      time.Time // when Do returned
}

// ask starts a request that shares under the key.
func (h *house) ask(t testing.TB, id string, change func(*Request, *taker)) *asking {
	a := &asking{taker: &taker{client: client{t: t}}, done: make(chan struct{})}
	req := request(straight, true)
	req.ID, req.Share, req.Ask.Flow.User = id, shareKey, id
	if change != nil {
		change(req, a.taker)
	}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(a.done)
		a.outcome = h.Do(ctx, req, a)
		a.at = time.Now()
	}()
	return a
}

// slowly is an exchange of n numbered pieces, a second apart.
func slowly(n int) func(int) *exchange {
	return func(int) *exchange {
		return &exchange{pieces: n, atPiece: func(ctx context.Context, _ int) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return &llm.Error{Kind: llm.KindCanceled, Err: ctx.Err()}
			}
		}}
	}
}

func TestI7AnyOf1000WaitersMayLeave(t *testing.T) {
	for _, at := range []time.Duration{time.Millisecond, 10 * time.Second, 25 * time.Second} { // queued, before the first piece, between pieces
		synctest.Test(t, func(t *testing.T) {
			const many = 1000
			h := build(t, Options{})
			h.seat(t, 10*time.Second)
			h.second.make = slowly(40)
			start, all := time.Now(), make([]*asking, many)
			for i := range all {
				all[i] = h.ask(t, fmt.Sprint("r", i), nil)
			}
			<-time.After(at)
			order := rand.Perm(many)
			for _, i := range order[1:] {
				all[i].cancel()
				if i%10 == 0 {
					<-time.After(time.Millisecond)
				}
			}
			last := all[order[0]]
			<-last.done
			if last.outcome != flow.OutcomeServed || len(last.body) != 5*40 {
				t.Errorf("the last one: %v, %d bytes: %v", last.outcome, len(last.body), last.err)
			}
			if len(h.second.exchanges) != 1 {
				t.Errorf("I7: %d calls for one answer", len(h.second.exchanges))
			}
			if took := last.at.Sub(start); took < 50*time.Second || took > 53*time.Second {
				t.Errorf("answered after %v", took)
			}
			for _, i := range order[1:] {
				if <-all[i].done; all[i].outcome != flow.OutcomeCanceled && all[i].outcome != flow.OutcomeDisconnected {
					t.Fatalf("who left: %v", all[i].outcome)
				}
			}
			h.even(t, many)
		})
	}
}

func TestI2CallEndsWhenTheLastWaiterLeaves(t *testing.T) {
	for _, at := range []time.Duration{5 * time.Second, 10*time.Second + time.Millisecond, 25 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			const many = 100
			h := build(t, Options{})
			h.seat(t, 10*time.Second)
			h.second.make = slowly(40)
			all := make([]*asking, many)
			for i := range all {
				all[i] = h.ask(t, fmt.Sprint("r", i), nil)
			}
			<-time.After(at)
			left := time.Now()
			for _, i := range rand.Perm(many) {
				all[i].cancel()
			}
			for _, a := range all {
				if <-a.done; a.at.Sub(left) > time.Second {
					t.Errorf("I2: Do returned after %v", a.at.Sub(left))
				}
			}
			for _, e := range h.second.exchanges {
				if e.closed.IsZero() || e.closed.Sub(left) > time.Second || e.ctx.Err() == nil {
					t.Errorf("I2: the call was closed at %v, they left at %v", e.closed, left)
				}
			}
			if calls := len(h.second.exchanges); calls > 1 || at < 10*time.Second && calls > 0 {
				t.Errorf("I5: %d calls", calls)
			}
			<-time.After(10 * time.Second)
			h.even(t, many)
		})
	}
}

// even sees that every request has one record, every call one owner, and that
// nothing is left: in the books of admission, of shared calls and recordings.
func (h *house) even(t *testing.T, requests int) {
	t.Helper()
	s := h.admission.Snapshot()
	if s.Outstanding != 0 || s.Waiting != 0 || s.Late != 0 {
		t.Errorf("I1: outstanding %d, waiting %d, late %d; want 0", s.Outstanding, s.Waiting, s.Late)
	}
	attempts, seen := 0, map[string]bool{}
	for i := range h.book.records {
		attempts += h.book.records[i].Attempts
		seen[h.book.records[i].ID] = true
	}
	if len(seen) != requests || len(h.book.records) != requests || attempts != len(h.book.attempts) {
		t.Errorf("I3: %d records of %d requests; %d attempts in them, %d told", len(h.book.records), requests, attempts, len(h.book.attempts))
	}
	if h.shared.book.Len() != 0 || h.shared.book.Bytes() != 0 {
		t.Errorf("I6: %d calls and %d bytes are left", h.shared.book.Len(), h.shared.book.Bytes())
	}
}

// Who joins late reads the same from the beginning, and no slower than it is there.
func TestI8LateJoinerReadsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.second.make = slowly(40)
		start := time.Now()
		all := []*asking{h.ask(t, "first", nil)}
		for i := range 8 {
			<-time.After(4500 * time.Millisecond)
			all = append(all, h.ask(t, fmt.Sprint("later", i), nil))
		}
		for i, a := range all {
			<-a.done
			if want := bytes.Repeat([]byte("piece"), 40); !bytes.Equal(a.body, want) || !a.answer.Stream {
				t.Errorf("I8: the %d. read %d bytes, want %d", i, len(a.body), len(want))
			}
			if a.at.Sub(start) != 41*time.Second {
				t.Errorf("the %d. was done after %v", i, a.at.Sub(start))
			}
			want, cache := flow.OutcomeCoalesced, CacheCoalesced
			if i == 0 {
				want, cache = flow.OutcomeServed, ""
			}
			if a.outcome != want || a.meta.Cache != cache {
				t.Errorf("the %d.: %v, cache %q", i, a.outcome, a.meta.Cache)
			}
		}
		if len(h.second.exchanges) != 1 {
			t.Errorf("I7: %d calls", len(h.second.exchanges))
		}
		h.even(t, len(all))
	})
}

// A call belongs to the oldest who waits: his are the attempts, his is the time.
func TestI7OwnershipPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, 50*time.Second)
		start := time.Now()
		until := func(d time.Duration) func(*Request, *taker) {
			return func(r *Request, _ *taker) { r.Ask.Hold = start.Add(d) }
		}
		a := h.ask(t, "a", until(30*time.Second))
		<-time.After(time.Second)
		b := h.ask(t, "b", until(100*time.Second))
		<-time.After(time.Second)
		c := h.ask(t, "c", until(20*time.Second))
		<-time.After(time.Second)
		d := h.ask(t, "d", until(40*time.Second))
		<-time.After(time.Minute)
		b.cancel() // too late to matter
		for want, all := range map[flow.Outcome][]*asking{flow.OutcomeServed: {b}, flow.OutcomeHoldExpired: {a, c, d}} {
			for _, x := range all {
				if <-x.done; x.outcome != want {
					t.Errorf("%v, want %v: %v", x.outcome, want, x.err)
				}
			}
		}
		if a.at.Sub(start) != 30*time.Second || c.at.Sub(start) != 20*time.Second || d.at.Sub(start) != 40*time.Second {
			t.Errorf("holds ended after %v, %v, %v", a.at.Sub(start), c.at.Sub(start), d.at.Sub(start))
		}
		if b.at.Sub(start) != 50*time.Second || len(h.book.attempts) != 1 || h.book.attempts[0].Request != "b" {
			t.Errorf("answered after %v, attempts %+v", b.at.Sub(start), h.book.attempts)
		}
		var refusal *admission.Refusal
		if !errors.As(a.err, &refusal) || refusal.RetryAfter <= 0 || refusal.Reason != flow.ReasonSeats {
			t.Errorf("told %+v", a.err)
		}
		h.even(t, 4)
	})
}

// Whom an operator evicts takes nobody else along.
func TestI7EvictedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, 50*time.Second)
		var evicted flow.Key
		a := h.ask(t, "a", func(r *Request, _ *taker) { evicted = r.Ask.Flow })
		<-time.After(time.Second)
		b := h.ask(t, "b", nil)
		<-time.After(time.Second)
		if n, err := h.admission.Evict(evicted); n != 1 || err != nil {
			t.Errorf("evicted %d: %v", n, err)
		}
		if <-a.done; a.outcome != flow.OutcomeEvicted || !errors.Is(a.err, flow.ErrRemoved) {
			t.Errorf("a: %v: %v", a.outcome, a.err)
		}
		if <-b.done; b.outcome != flow.OutcomeServed {
			t.Errorf("b: %v: %v", b.outcome, b.err)
		}
		h.even(t, 2)
	})
}

// The last one's hold is the call's: the gate ends it, and keeps the place.
func TestI7LastHoldKeepsThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.second.make = slowly(1) // who runs first is told of first
		h.seat(t, 42*time.Second)
		start := time.Now()
		held := func(d time.Duration) func(*Request, *taker) {
			return func(r *Request, _ *taker) { r.Ask.Hold, r.Ask.Place, r.Ask.Flow.User = start.Add(d), "place", "w" }
		}
		a := h.ask(t, "a", held(20*time.Second))
		b := h.ask(t, "b", held(40*time.Second))
		<-time.After(time.Second)
		rival := h.ask(t, "rival", func(r *Request, _ *taker) { r.Share = flow.ShareKey{}; r.Ask.Flow.User = "v" })
		<-b.done
		<-a.done
		if a.outcome != flow.OutcomeHoldExpired || b.outcome != flow.OutcomeHoldExpired || b.at.Sub(start) != 40*time.Second {
			t.Errorf("%v, %v after %v", a.outcome, b.outcome, b.at.Sub(start))
		}
		back := h.ask(t, "back", held(100*time.Second))
		<-back.done
		<-rival.done
		if back.outcome != flow.OutcomeServed || h.book.attempts[0].Request != "back" {
			t.Errorf("the place was not kept: %v, %+v", back.outcome, h.book.attempts)
		}
	})
}

// What turned away the first alone is no verdict on those who joined him.
func TestI7OthersDoNotShareWhatConcernsOneAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, c := range []struct {
			err  error
			hold time.Time
			want bool
		}{
			{flow.ErrTooLong, now, true},
			{flow.ErrFlowFull, now, true},
			{flow.ErrReplaced, now, true},
			{flow.ErrRemoved, now, true},
			{flow.ErrHold, now.Add(1), true},
			{flow.ErrHold, time.Time{}, true},
			{flow.ErrHold, now, false},
			{flow.ErrQueueFull, now, false},
			{flow.ErrTooLarge, now, false},
			{flow.ErrDrained, now, false},
			{flow.ErrNoUpstream, now, false},
			{failure(llm.KindTransient), now, false},
			{ErrHardLimit, now, false},
			{nil, now, false},
		} {
			err := c.err
			if err != nil {
				err = fmt.Errorf("wrapped: %w", err)
			}
			if got := lonely(err, c.hold); got != c.want {
				t.Errorf("%v, hold %v: %v", c.err, c.hold.Sub(now), got)
			}
		}
	})
}

// A request that cannot be held as long as its call has to wait at the gate's own
// bound goes on by itself when the call of another is refused there.
func TestI7NewcomerGoesOnWhenTheCallEndsAtTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, gate.DefaultHold+time.Minute)
		start := time.Now()
		a := h.ask(t, "a", nil)
		<-time.After(gate.DefaultHold - time.Second)
		h.shared.mu.Lock()
		f := h.shared.book
		h.shared.mu.Unlock()
		if f.Len() != 1 {
			t.Fatal("no call")
		}
		b := h.ask(t, "b", nil)
		<-a.done
		<-b.done
		if b.outcome == flow.OutcomeHoldExpired || b.err != nil || b.at.Sub(start) != gate.DefaultHold+time.Minute {
			t.Errorf("the newcomer: %v after %v: %v", b.outcome, b.at.Sub(start), b.err)
		}
		h.even(t, 2)
	})
}

// A slow reader holds up nobody, and is cut off only when he has fallen behind the
// bound; a lonely one slows down the upstream.
func TestI9SlowReaderHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Share: coalesce.Options{Bytes: 400}})
		const n = 400 // pieces of 5 bytes, each after 10 ms
		h.second.make = func(int) *exchange {
			return &exchange{pieces: n, atPiece: func(context.Context, int) error { <-time.After(10 * time.Millisecond); return nil }}
		}
		start := time.Now()
		slower := func(d time.Duration) func(*Request, *taker) {
			return func(_ *Request, r *taker) { r.pause = func() { <-time.After(d) } }
		}
		fast := h.ask(t, "fast", nil)
		synctest.Wait()
		slow := h.ask(t, "slow", slower(300*time.Millisecond))
		stuck := h.ask(t, "stuck", slower(2*time.Second))
		<-time.After(2 * time.Second)
		late := h.ask(t, "late", nil) // the recording is not whole any more: a call of its own, once there is a seat
		<-fast.done
		<-slow.done
		<-stuck.done
		<-late.done
		if fast.outcome != flow.OutcomeServed || fast.at.Sub(start) > 4100*time.Millisecond {
			t.Errorf("I9: the fast one: %v after %v", fast.outcome, fast.at.Sub(start))
		}
		if slow.outcome != flow.OutcomeCoalesced || len(slow.body) != 5*n {
			t.Errorf("I9: one who is slow within the bound: %v, %d bytes: %v", slow.outcome, len(slow.body), slow.err)
		}
		if stuck.outcome != flow.OutcomeDisconnected || !errors.Is(stuck.err, errBehind) || stuck.ended != 1 {
			t.Errorf("I9: one who is too slow: %v: %v", stuck.outcome, stuck.err)
		}
		if late.outcome != flow.OutcomeServed || len(late.body) != 5*n || len(h.second.exchanges) != 2 {
			t.Errorf("who came too late: %v, %d calls", late.outcome, len(h.second.exchanges))
		}
		h.even(t, 4)
	})
}

func TestI9LonelySlowReaderSlowsTheUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		const n = 200_000 // 1 MB
		var sent, read atomic.Int64
		h.second.make = func(int) *exchange {
			return &exchange{pieces: n, atPiece: func(context.Context, int) error { sent.Add(5); return nil }}
		}
		a := h.ask(t, "a", func(_ *Request, r *taker) {
			r.pause = func() { <-time.After(time.Second); read.Store(int64(len(r.body))) }
		})
		for range 5 {
			<-time.After(time.Second)
			synctest.Wait()
			if kept := sent.Load() - read.Load(); kept > 4*maxUnread {
				t.Fatalf("I9: %d bytes wait for one reader", kept)
			}
		}
		<-a.done
		if a.outcome != flow.OutcomeServed || len(a.body) != 5*n {
			t.Errorf("%v, %d bytes", a.outcome, len(a.body))
		}
		h.even(t, 1)
	})
}

func TestBeyondTheBoundsARequestRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Share: coalesce.Options{Waiters: 2, Flights: 1}})
		h.seat(t, 10*time.Second)
		var all []*asking
		for i := range 5 {
			all = append(all, h.ask(t, fmt.Sprint("r", i), func(r *Request, _ *taker) { r.Share[1] = byte(i / 3) }))
			<-time.After(time.Millisecond)
		}
		for _, a := range all {
			if <-a.done; a.err != nil {
				t.Error(a.err)
			}
		}
		if len(h.second.exchanges) != 4 {
			t.Errorf("%d calls, want 4", len(h.second.exchanges))
		}
		h.even(t, 5)
	})
}

// Two that run under different limits do not share.
func TestLimitsAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, 10*time.Second)
		all := []*asking{
			h.ask(t, "a", nil),
			h.ask(t, "b", func(r *Request, _ *taker) { r.Ask.Flow.Class = flow.Analysis }),
			h.ask(t, "c", func(r *Request, _ *taker) { r.Soft = true }),
		}
		for _, a := range all {
			<-a.done
		}
		if len(h.second.exchanges) != 3 {
			t.Errorf("%d calls, want 3", len(h.second.exchanges))
		}
	})
}

// Everybody is told where the call stands, in his own rhythm.
func TestEveryWaiterGetsItsOwnNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, 40*time.Second)
		start := time.Now()
		a := h.ask(t, "a", nil)
		<-time.After(12 * time.Second)
		b := h.ask(t, "b", nil)
		<-a.done
		<-b.done
		for name, c := range map[string]struct {
			who  *asking
			want []int
		}{"a": {a, []int{5, 15, 25, 35}}, "b": {b, []int{17, 27, 37}}} {
			var at []int
			for i, q := range c.who.queued {
				at = append(at, int(q.Sub(start)/time.Second))
				if s := c.who.states[i]; s.Position != 1 || s.Reason != flow.ReasonSeats {
					t.Errorf("%s: note %+v", name, s)
				}
			}
			if fmt.Sprint(at) != fmt.Sprint(c.want) {
				t.Errorf("%s: notes at %v, want %v", name, at, c.want)
			}
		}
		for i, want := range []time.Duration{40 * time.Second, 28 * time.Second} {
			r := h.book.records[i]
			if r.ID == "b" != (i == 1) {
				r = h.book.records[1-i]
			}
			if made := r.ID != "b"; made != (r.Waits.Of(flow.ReasonSeats) == r.Queued) || !made && r.Waits.Total() != 0 {
				t.Errorf("%s is said to have waited for %v", r.ID, r.Waits)
			}
			if r.Queued != want || !r.Quoted || r.Reason != flow.ReasonSeats {
				t.Errorf("record %+v", r)
			}
		}
	})
}

func TestHeaderOfOneRequestIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, time.Second)
		h.second.make = func(int) *exchange {
			return &exchange{pieces: 1, header: http.Header{"X-Request-Id": {"x"}, "Set-Cookie": {"x"}, "Content-Type": {"text/event-stream"}}}
		}
		a := h.ask(t, "a", nil)
		<-time.After(time.Millisecond)
		b := h.ask(t, "b", nil)
		<-a.done
		<-b.done
		if a.answer.Header.Get("X-Request-Id") != "x" || len(b.answer.Header) != 1 || b.answer.Header.Get("Content-Type") == "" {
			t.Errorf("%v and %v", a.answer.Header, b.answer.Header)
		}
	})
}

// In real time, with real goroutines: nothing is left when the last Do has returned.
func TestI6NothingOutlivesTheLastDo(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h := build(t, Options{})
	h.second.make = func(int) *exchange {
		return &exchange{pieces: 3, atPiece: func(ctx context.Context, n int) error {
			if n == 2 {
				return hang(ctx)
			}
			return nil
		}}
	}
	for range 20 {
		var all []*asking
		for i := range 10 {
			all = append(all, h.ask(t, fmt.Sprint("r", i), nil))
		}
		for _, i := range rand.Perm(len(all)) {
			all[i].cancel()
		}
		for _, a := range all {
			<-a.done
		}
	}
	if h.shared.book.Len() != 0 || h.admission.Snapshot().Outstanding != 0 {
		t.Error("I6: a call goes on for nobody")
	}
	h.admission.Close()
}

// A panic of one waiter's Reply is that one's own.
func TestPanicOfOneWaiterIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.second.make = slowly(4)
		a := h.ask(t, "a", func(_ *Request, r *taker) { r.pause = func() { panic("reply") } })
		b := h.ask(t, "b", nil)
		<-a.done
		<-b.done
		if a.outcome != flow.OutcomeFailed || b.outcome != flow.OutcomeServed && b.outcome != flow.OutcomeCoalesced || len(b.body) != 20 {
			t.Errorf("%v and %v, %d bytes", a.outcome, b.outcome, len(b.body))
		}
		h.even(t, 2)
	})
}
