package admission

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// outcome is what a ticket has been told without any time passing.
func outcome(t *Ticket) string {
	synctest.Wait()
	select {
	case <-t.Ready():
	default:
		return "waits"
	}
	if _, err := t.Grant(); errors.Is(err, flow.ErrRemoved) {
		return "removed"
	} else if err != nil {
		return err.Error()
	}
	return "runs"
}

// TestI5Operated: an operator's actions wake and end exactly those whom they concern, at
// once, and what they say of a flow is what its clients are told.
func TestI5Operated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController(t, []gate.Upstream{upstream("a", 600, 1), upstream("b", 600, 1)}, gate.Route{Upstreams: []int{0, 1}})
		enter := func(user string) *Ticket {
			t.Helper()
			ticket, err := c.Enter(ask(0, user))
			if err != nil {
				t.Fatal(err)
			}
			return ticket
		}
		want := func(what string, ticket *Ticket, is string) {
			t.Helper()
			if got := outcome(ticket); got != is {
				t.Errorf("%s: %s, want %s", what, got, is)
			}
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		key := func(user string) flow.Key { return ask(0, user).Flow }
		first := enter("first")
		want("the first", first, "runs")
		tripped := enter("tripped")
		do(c.Trip("a"))
		want("a was tripped, b serves", tripped, "runs")
		waits := []*Ticket{enter("u1"), enter("u2"), enter("u3"), enter("u3")}
		do(c.MoveUp(key("u2")))
		flows := c.AppendFlows(nil, 10)
		if len(flows) != 5 || flows[0].Key != key("u2") || !flows[0].MovedUp || flows[4].Running != 1 {
			t.Errorf("flows: %+v", flows)
		}
		for _, f := range flows[:3] {
			ticket := map[string]*Ticket{"u1": waits[0], "u2": waits[1], "u3": waits[2]}[f.Key.User]
			if s := ticket.Status(); s.Position != f.Position || s.ETA != f.ETA || s.ETAP90 != f.ETAP90 || s.Reason != f.Reason {
				t.Errorf("%s is shown as %+v, and told %+v", f.Key.User, f, s)
			}
		}
		if n, err := c.Evict(key("u3")); n != 2 || err != nil {
			t.Errorf("%d evicted, %v", n, err)
		}
		want("evicted", waits[2], "removed")
		want("and his second", waits[3], "removed")
		do(c.Pause(flow.Chat))
		tripped.Settle(Result{Sent: true})
		want("paused", waits[1], "waits")
		do(c.Resume(flow.Chat))
		want("resumed: who was moved up goes", waits[1], "runs")
		<-time.After(time.Minute)
		want("b is full, a tripped", waits[0], "waits")
		first.Settle(Result{Sent: true})
		want("what ran on a has ended", waits[0], "waits")
		do(c.ResetUpstream("a"))
		want("a was reset", waits[0], "runs")
		waits[0].Settle(Result{Sent: true})
		waits[1].Settle(Result{Sent: true})
		idle(t, c)
		if err := c.Trip("x"); !errors.Is(err, gate.ErrUnknown) {
			t.Errorf("an upstream that there is not: %v", err)
		}
	})
}

// BenchmarkConsolePage is what an open page costs in a second while 10,000 flows wait:
// the snapshot and the first 200 flows, with the lock.
func BenchmarkConsolePage(b *testing.B) {
	c, err := New(Options{
		Upstreams: []gate.Upstream{upstream("a", 60, 1)}, Routes: []gate.Route{{Upstreams: []int{0}}},
		MaxQueue: 20_000, Hold: 1000 * time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for i := range 10_001 {
		if _, err := c.Enter(ask(0, fmt.Sprint("user-", i))); err != nil {
			b.Fatal(err)
		}
	}
	var flows []gate.FlowState
	b.ReportAllocs()
	for b.Loop() {
		c.Snapshot()
		if flows = c.AppendFlows(flows[:0], 200); len(flows) != 200 {
			b.Fatal(len(flows))
		}
	}
}
