package admission

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// upstream allows so many requests a minute, one at a time or a few.
func upstream(name string, requests int64, seats int) gate.Upstream {
	meter, _ := quota.MeterFor("openai")
	return gate.Upstream{Name: name, Quota: quota.Options{
		Limits: []quota.Limit{{Dim: quota.Requests, Max: requests, Kind: quota.Bucket, Burst: requests}},
		Seats:  seats, Meter: meter,
	}, Breaker: breaker.Options{Failures: 3, Open: 30 * time.Second}}
}

func newController(t *testing.T, upstreams []gate.Upstream, routes ...gate.Route) *Controller {
	t.Helper()
	c, err := New(Options{Upstreams: upstreams, Routes: routes, Classes: []gate.Class{{Name: flow.Chat}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func ask(route int, user string) Ask {
	return Ask{Route: route, Flow: flow.Key{Class: flow.Chat, Tenant: "t", User: user}, Size: llm.Size{TextBytes: 400}}
}

func idle(t *testing.T, c *Controller) {
	t.Helper()
	s := c.Snapshot()
	if s.Outstanding != 0 || s.Waiting != 0 || s.Flows != 0 {
		t.Errorf("left behind: %d outstanding, %d waiting, %d flows", s.Outstanding, s.Waiting, s.Flows)
	}
}

// TestI1ExactlyOnce: of all calls on one grant the first counts.
func TestI1ExactlyOnce(t *testing.T) {
	answer := Result{Sent: true, Usage: llm.Usage{Input: 100}}
	for name, calls := range map[string]func(*Ticket){
		"settle twice":       func(t *Ticket) { t.Settle(answer); t.Settle(answer) },
		"settle, then leave": func(t *Ticket) { t.Settle(answer); t.Leave() },
		"leave, then settle": func(t *Ticket) { t.Leave(); t.Settle(answer) },
		"settle, then again": func(t *Ticket) { t.Settle(answer); _ = t.Again(answer) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newController(t, []gate.Upstream{upstream("a", 60, 1)}, gate.Route{Upstreams: []int{0}})
				ticket, err := c.Enter(ask(0, "u"))
				if err != nil {
					t.Fatal(err)
				}
				<-ticket.Ready()
				if _, err := ticket.Grant(); err != nil {
					t.Fatal(err)
				}
				calls(ticket)
				idle(t, c)
				if s := c.Snapshot(); s.Upstreams[0].InUse != 0 || s.Late != 0 {
					t.Errorf("%d seats in use; %d calls reached the gate although the request had ended", s.Upstreams[0].InUse, s.Late)
				}
			})
		})
	}
}

// TestI2NoLostWakeUp: hundreds of users share a quota that makes most of them wait;
// every one is woken at its turn, by the timer or by a settlement, and none polls.
func TestI2NoLostWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, []gate.Upstream{upstream("a", 600, 4)}, gate.Route{Upstreams: []int{0}})
		start := time.Now()
		var group sync.WaitGroup
		for i := range 300 {
			group.Go(func() {
				ticket, err := c.Enter(ask(0, fmt.Sprint(i%30)))
				if err != nil {
					t.Error(err)
					return
				}
				<-ticket.Ready()
				if _, err := ticket.Grant(); err != nil {
					t.Error(err)
					return
				}
				<-time.After(time.Second)
				ticket.Settle(Result{Sent: true, Usage: llm.Usage{Input: 100}})
			})
		}
		group.Wait()
		// Four seats of a second each: 75 s, with nothing lost between two requests.
		if took := time.Since(start); took < 75*time.Second || took > 76*time.Second {
			t.Errorf("300 requests of 1 s on 4 seats took %v, want 75 s", took)
		}
		idle(t, c)
	})
}

// TestI3NoLeak: users who leave, fail, retry and are evicted leave nothing behind.
func TestI3NoLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, []gate.Upstream{upstream("a", 120, 3), upstream("b", 120, 3)}, gate.Route{Upstreams: []int{0, 1}})
		var group sync.WaitGroup
		for i := range 200 {
			group.Go(func() { impatient(c, i) })
		}
		group.Wait()
		idle(t, c)
	})
}

// impatient asks once, and does one of all that can be done with a ticket.
func impatient(c *Controller, i int) {
	rnd := rand.New(rand.NewPCG(uint64(i), 5))
	<-time.After(time.Duration(rnd.IntN(60_000)) * time.Millisecond)
	a := ask(0, fmt.Sprint(i%7))
	a.Hold = time.Now().Add(time.Duration(rnd.IntN(60)+1) * time.Second)
	ticket, err := c.Enter(a)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(40_000))*time.Millisecond)
	defer cancel()
	defer ticket.Leave()
	for {
		select {
		case <-ticket.Ready():
		case <-ctx.Done():
			return
		}
		if _, err := ticket.Grant(); err != nil {
			return
		}
		<-time.After(time.Duration(rnd.IntN(4000)) * time.Millisecond)
		switch rnd.IntN(3) {
		case 0:
			ticket.Settle(Result{Sent: true, Usage: llm.Usage{Input: 10}})
			return
		case 1:
			return // Leave gives the unused grant back
		}
		if ticket.Again(Result{Sent: true, Kind: llm.KindTransient}) != nil {
			return
		}
	}
}

// TestI4GroupsAreApart: upstreams that no route connects do not share a queue, but
// a class's rate holds for all of them together.
func TestI4GroupsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{
			Upstreams: []gate.Upstream{upstream("a", 60, 1), upstream("b", 60, 1), upstream("c", 60, 1)},
			Routes:    []gate.Route{{Upstreams: []int{0, 2}}, {Upstreams: []int{1}}},
			Classes:   []gate.Class{{Name: flow.Analysis, Rate: gate.Rate{Max: 1, Per: time.Minute}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		enter := func(a Ask) *Ticket {
			t.Helper()
			ticket, err := c.Enter(a)
			if err != nil {
				t.Fatal(err)
			}
			return ticket
		}
		first := enter(ask(0, "u"))
		<-first.Ready()
		behind := enter(ask(0, "u")) // waits for the only seat of a
		other := ask(1, "u")
		other.Flow.Class = flow.Analysis
		elsewhere := enter(other)
		<-elsewhere.Ready()
		if grant, err := elsewhere.Grant(); err != nil || grant.Upstream != 1 {
			t.Fatalf("granted upstream %d, %v; want 1", grant.Upstream, err)
		}
		elsewhere.Settle(Result{Sent: true})
		behind.Leave()
		first.Settle(Result{Sent: true})
		again := ask(0, "v")
		again.Flow.Class = flow.Analysis
		begun := time.Now()
		limited := enter(again)
		<-limited.Ready()
		if _, err := limited.Grant(); err != nil {
			t.Error(err)
		}
		if waited := time.Since(begun); waited < 59*time.Second || waited > 62*time.Second {
			t.Errorf("the class started twice within %s, on two groups of upstreams", waited)
		}
		limited.Settle(Result{Sent: true})
	})
}

// TestHold: a request whose hold ends is evicted with a time to come back, and finds
// its place kept.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, []gate.Upstream{upstream("a", 600, 1)}, gate.Route{Upstreams: []int{0}})
		first, _ := c.Enter(ask(0, "x"))
		<-first.Ready()
		kept := ask(0, "u")
		kept.Place, kept.Hold = "body", time.Now().Add(20*time.Second)
		second, err := c.Enter(kept)
		if err != nil {
			t.Fatal(err)
		}
		third, _ := c.Enter(ask(0, "u")) // behind the second, the same user
		<-second.Ready()
		_, err = second.Grant()
		var refusal *Refusal
		if !errors.As(err, &refusal) || !errors.Is(err, flow.ErrHold) || refusal.RetryAfter < time.Second || refusal.RetryAfter > 59*time.Second {
			t.Fatalf("at the end of the hold: %v, want ErrHold with a Retry-After of 1 to 59 s", err)
		}
		kept.Hold = time.Time{}
		back, err := c.Enter(kept)
		if err != nil {
			t.Fatal(err)
		}
		first.Settle(Result{Sent: true})
		select {
		case <-back.Ready():
		case <-third.Ready():
			t.Fatal("who came back lost its place")
		}
		back.Settle(Result{Sent: true})
		<-third.Ready()
		third.Settle(Result{Sent: true})
		idle(t, c)
	})
}

// TestDrainAndClose: newcomers are refused at once, those that wait go on until Close
// evicts them, and what runs can still be settled.
func TestDrainAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, []gate.Upstream{upstream("a", 60, 1)}, gate.Route{Upstreams: []int{0}})
		running, _ := c.Enter(ask(0, "u"))
		<-running.Ready()
		waits, _ := c.Enter(ask(0, "u"))
		c.Drain()
		if _, err := c.Enter(ask(0, "v")); !errors.Is(err, flow.ErrDraining) {
			t.Errorf("a newcomer got %v, want ErrDraining", err)
		}
		c.Close()
		<-waits.Ready()
		if _, err := waits.Grant(); !errors.Is(err, flow.ErrDrained) {
			t.Errorf("who waited got %v, want ErrDrained", err)
		}
		if err := running.Again(Result{Sent: true, Kind: llm.KindTransient}); !errors.Is(err, flow.ErrDrained) {
			t.Errorf("who wants another attempt got %v, want ErrDrained", err)
		}
		idle(t, c)
	})
}

// TestSpillAndFallback: a route that spills uses the second upstream once the wait is
// too long; one that does not, only after a failure.
func TestSpillAndFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, []gate.Upstream{upstream("a", 6000, 1), upstream("b", 6000, 1)},
			gate.Route{Upstreams: []int{0, 1}},
			gate.Route{Upstreams: []int{0, 1}, Spill: true, SpillAfter: 5 * time.Second})
		enter := func(route int) *Ticket {
			ticket, err := c.Enter(ask(route, fmt.Sprint("user", route)))
			if err != nil {
				t.Fatal(err)
			}
			return ticket
		}
		first := enter(0)
		<-first.Ready()
		start := time.Now()
		spills := enter(1)
		<-spills.Ready()
		if grant, err := spills.Grant(); err != nil || grant.Upstream != 1 || time.Since(start) > 5*time.Second {
			t.Errorf("spill: upstream %d after %v, %v; want 1 within 5 s", grant.Upstream, time.Since(start), err)
		}
		spills.Settle(Result{Sent: true})
		if err := first.Again(Result{Sent: true, Kind: llm.KindOverload}); err != nil {
			t.Fatal(err)
		}
		<-first.Ready()
		if grant, err := first.Grant(); err != nil || grant.Upstream != 1 || grant.Attempt != 2 {
			t.Errorf("fallback: upstream %d, attempt %d, %v; want upstream 1, attempt 2", grant.Upstream, grant.Attempt, err)
		}
		first.Settle(Result{Sent: true})
		idle(t, c)
	})
}
