package dispatch

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// A sole upstream that is away for a moment is found again: the tries are not all spent
// in that moment.
func TestSoleUpstreamIsAwayForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		start := time.Now()
		h.second.make = func(int) *exchange {
			return &exchange{pieces: 1, atStart: func(context.Context) error {
				if time.Since(start) < time.Second {
					return failure(llm.KindOverload)
				}
				return nil
			}}
		}
		if got := h.Do(t.Context(), request(straight, false), &client{t: t}); got != flow.OutcomeServed {
			t.Errorf("outcome %v after %v and %d attempts", got, time.Since(start), len(h.book.attempts))
		}
	})
}

// Nobody may multiply the load: 300 requests that all want a second attempt get
// 1.1 attempts each, and 10 more.
func TestRetryBudgetBoundsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.first.make = func(int) *exchange { return &exchange{atStart: fail(llm.KindAuth)} }
		const requests = 300
		served := 0
		for range requests {
			if h.Do(t.Context(), request(byBoth, false), &client{t: t}) == flow.OutcomeServed {
				served++
			}
		}
		if got, want := len(h.book.attempts), requests*11/10+10; got != want || served != want-requests {
			t.Errorf("%d attempts for %d requests, want %d; %d served", got, requests, want, served)
		}
	})
}

// Many who are throttled at once are all served in the end: they wait for the windows,
// so there is no load for the budget to bound, and no client sees the 429.
func TestRetryBudgetIsNotForThrottles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 40
		wide := []quota.Limit{{Dim: quota.Requests, Max: 600, Kind: quota.Sliding}}
		c, err := admission.New(admission.Options{
			Upstreams: []gate.Upstream{{Name: "only", Quota: quota.Options{Seats: many, Limits: wide}}},
			Routes:    []gate.Route{{Upstreams: []int{0}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		only := &provider{make: func(n int) *exchange {
			return &exchange{pieces: 1, atStart: func(context.Context) error {
				<-time.After(100 * time.Millisecond)
				if n < many {
					return failure(llm.KindThrottle)
				}
				return nil
			}}
		}}
		d, err := New(Options{Upstreams: []Upstream{{}}}, Deps{Admission: c, Providers: []Provider{only}})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				if got := d.Do(t.Context(), request(0, false), &client{t: t}); got != flow.OutcomeServed {
					t.Errorf("outcome %v", got)
				}
			})
		}
		all.Wait()
		if n := len(only.exchanges); n != 2*many {
			t.Errorf("%d attempts, want %d", n, 2*many)
		}
	})
}

// An upstream that is back serves all again once the first answer has begun, however
// long that takes.
func TestProbeCountsWhenItsAnswerBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := admission.New(admission.Options{
			Upstreams: []gate.Upstream{{Name: "only", Breaker: breaker.Options{Failures: 1, Open: time.Minute, ProbeTimeout: time.Hour}}},
			Routes:    []gate.Route{{Upstreams: []int{0}}},
			Hold:      time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		only := &provider{make: func(int) *exchange {
			if time.Since(start) < 30*time.Second {
				return &exchange{atStart: fail(llm.KindTransient)}
			}
			return &exchange{pieces: 300, atPiece: func(context.Context, int) error { <-time.After(time.Second); return nil }}
		}}
		d, err := New(Options{Upstreams: []Upstream{{}}, Retry: backoff.BudgetOptions{Ratio: -1, Floor: -1}}, Deps{Admission: c, Providers: []Provider{only}})
		if err != nil {
			t.Fatal(err)
		}
		d.Do(t.Context(), request(0, true), &client{t: t}) // opens the breaker
		<-time.After(2 * time.Minute)
		again := time.Now()
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				if i > 0 {
					<-time.After(2 * time.Second)
				}
				if got := d.Do(t.Context(), request(0, true), &client{t: t}); got != flow.OutcomeServed {
					t.Errorf("outcome %v", got)
				}
			})
		}
		all.Wait()
		if took := time.Since(again); took > 305*time.Second {
			t.Errorf("five answers of 5 minutes took %v", took)
		}
		if s := c.Snapshot(); s.Outstanding != 0 || s.Late != 0 {
			t.Errorf("%d outstanding, %d late", s.Outstanding, s.Late)
		}
	})
}
