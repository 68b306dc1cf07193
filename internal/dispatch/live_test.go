package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

func TestLiveTellsWhoWaitsAndWhoRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.second.make = func(int) *exchange {
			return &exchange{pieces: 1, atStart: func(context.Context) error { <-time.After(10 * time.Second); return nil }}
		}
		h.seat(t, 20*time.Second)
		if _, found := h.Live("req_1"); found {
			t.Error("found before it came")
		}
		done := make(chan struct{})
		req := request(straight, false)
		go func() { defer close(done); h.Do(t.Context(), req, &client{t: t}) }()
		<-time.After(time.Second)
		l, found := h.Live("req_1")
		if !found || l.Running || l.Status.Position != 1 || l.Status.Reason != flow.ReasonSeats || l.Flow != req.Ask.Flow || l.Model != "m" {
			t.Errorf("while it waits: %+v, %v", l, found)
		}
		<-time.After(20 * time.Second)
		if l, found = h.Live("req_1"); !found || !l.Running || l.Status != (admission.Status{}) {
			t.Errorf("while it runs: %+v, %v", l, found)
		}
		<-done
		if l, found = h.Live("req_1"); found {
			t.Errorf("after its end: %+v", l)
		}
	})
}

// Those who share a call stand where it stands, and who leaves is gone.
func TestLiveOfSharedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, 20*time.Second)
		a := h.ask(t, "a", nil)
		b := h.ask(t, "b", nil)
		<-time.After(time.Second)
		for _, id := range []string{"a", "b"} {
			if l, found := h.Live(id); !found || l.Status.Position != 1 || l.ID != id {
				t.Errorf("%s: %+v, %v", id, l, found)
			}
		}
		<-a.done
		<-b.done
		if n := len(h.live.runs); n != 0 {
			t.Errorf("%d left behind", n)
		}
	})
}

func TestLiveIsLookedUpWhileRequestsComeAndGo(t *testing.T) {
	h := build(t, Options{})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 50 {
				req := request(straight, j%2 == 0)
				req.ID = fmt.Sprint("req_", i, j)
				h.Do(t.Context(), req, &client{t: t})
				req.ID, req.Ask.Flow.User = "", "reused" // the memory is the caller's again
			}
		})
		group.Go(func() {
			for j := range 500 {
				h.Live(fmt.Sprint("req_", i, j/10))
			}
		})
	}
	group.Wait()
	if n := len(h.live.runs); n != 0 {
		t.Errorf("%d left behind", n)
	}
}

// The records tell what each try waited for, and what the provider said of the next.
func TestStoryOfARequestThatWasThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.second.make = func(n int) *exchange {
			if n > 0 {
				return &exchange{pieces: 1, atStart: func(context.Context) error { <-time.After(time.Second); return nil }}
			}
			return &exchange{atStart: func(context.Context) error {
				return &llm.Error{Kind: llm.KindThrottle, Status: 429, RetryAfter: 3 * time.Second}
			}}
		}
		h.seat(t, 20*time.Second)
		req := request(straight, true)
		req.Ask.Hold = time.Now().Add(time.Minute)
		if got := h.Do(t.Context(), req, &client{t: t}); got != flow.OutcomeServed {
			t.Fatalf("outcome %v", got)
		}
		r, tries := h.book.records[0], h.book.attempts
		if r.Hold != time.Minute || r.Position != 1 || r.First != flow.ReasonSeats || r.Reason == flow.ReasonNone || r.Attempts != 2 {
			t.Errorf("record %+v", r)
		}
		if w := tries[0].Waits.Plus(tries[1].Waits); w != r.Waits || w.Total() != r.Queued || tries[0].Waits.Of(flow.ReasonSeats) != 20*time.Second {
			t.Errorf("the tries waited for %v and %v, the request for %v", tries[0].Waits, tries[1].Waits, r.Waits)
		}
		if a := tries[0]; a.Queued != 20*time.Second || a.Reason != flow.ReasonSeats || a.RetryAfter != 3*time.Second || a.FirstPiece != 0 || !a.Stream {
			t.Errorf("first try %+v", a)
		}
		if a := tries[1]; a.Queued+tries[0].Queued != r.Queued || a.RetryAfter != 0 || a.FirstPiece != time.Second || a.Reason != r.Reason {
			t.Errorf("second try %+v of %+v", a, r)
		}
	})
}

// What waits for an operator was promised no time, neither its client nor the books.
func TestStoryOfAPausedClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		req := request(straight, false)
		if err := h.admission.Pause(flow.Chat); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() {
			if err := h.admission.Resume(flow.Chat); err != nil {
				t.Error(err)
			}
		})
		if got := h.Do(t.Context(), req, &client{t: t}); got != flow.OutcomeServed {
			t.Fatalf("outcome %v", got)
		}
		if r := h.book.records[0]; r.Quoted || r.First != flow.ReasonPaused || r.Queued != time.Minute || r.Waits.Of(flow.ReasonPaused) != time.Minute {
			t.Errorf("record %+v", r)
		}
	})
}

// A refusal's record says what the limit was, and when to come back.
func TestStoryOfARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.seat(t, time.Hour)
		req := request(straight, false)
		req.Ask.Hold = time.Now().Add(30 * time.Second)
		c := &client{t: t}
		if got := h.Do(t.Context(), req, c); got != flow.OutcomeHoldExpired && got != flow.OutcomeRefused {
			t.Fatalf("outcome %v", got)
		}
		r := h.book.records[0]
		if refusal := new(admission.Refusal); !errors.As(c.err, &refusal) || r.Detail != refusal.Detail || r.RetryAfter != refusal.RetryAfter ||
			r.Expected != refusal.ETA || r.RetryAfter == 0 || r.Hold != 30*time.Second {
			t.Errorf("record %+v, and the client was told %v", r, c.err)
		}
	})
}
