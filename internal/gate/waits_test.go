package gate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// shares are what is expected of a wait, in seconds.
type shares map[flow.Reason]float64

// told compares what a wait was for with what is expected, to a second.
func (w *world) told(what string, got flow.Waits, want shares) {
	w.t.Helper()
	parts := make(shares)
	for why, d := range got.All() {
		parts[why] = d.Round(time.Second).Seconds()
	}
	if diff := cmp.Diff(want, parts); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// pass lets time pass, wake-ups included, and returns what was granted.
func (w *world) pass(d time.Duration) map[uint64]Grant {
	granted, end := make(map[uint64]Grant), w.now.Add(d)
	for {
		at := w.gate.Wake()
		last := at.IsZero() || at.After(end)
		if last {
			at = end
		}
		w.now = at
		for _, a := range w.step(Event{}) {
			if a.Kind == Dispatch {
				granted[a.ID] = a.Grant
			}
		}
		if last {
			return granted
		}
	}
}

// operate takes the step that an operator's action asks for.
func (w *world) operate(err error) []Action {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return w.step(Event{})
}

// perMinute is a limit on requests in any minute.
func perMinute(n int64) quota.Limit {
	return quota.Limit{Dim: quota.Requests, Max: n, Span: time.Minute, Kind: quota.Sliding}
}

// TestI15Seats: who waits for a seat and then for the quota is told of both, and so is
// he who stands behind him.
func TestI15Seats(t *testing.T) {
	w := newWorld(t, single(1, perMinute(2)))
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	var others []uint64
	for i := range 3 {
		id, _ := w.arrive(Ask{Flow: user(flow.Chat, 2+i)})
		others = append(others, id)
	}
	w.pass(20 * time.Second)
	got := w.settle(first)
	w.want("the seat is free", got, others[0])
	w.told("the second", got[0].Grant.Waits, shares{flow.ReasonSeats: 20})
	w.pass(4 * time.Second)
	w.settle(others[0])
	s, _ := w.gate.Status(w.now, others[2])
	w.told("the last, so far", s.Waits, shares{flow.ReasonSeats: 24})
	granted := w.pass(time.Minute)
	w.told("the third", granted[others[1]].Waits, shares{flow.ReasonSeats: 24, flow.ReasonRequests: 37})
}

// TestI15Class: while his class is shut nothing else counts.
func TestI15Class(t *testing.T) {
	o := single(1)
	o.Classes = []Class{{Name: "x", Rate: Rate{Max: 1, Per: time.Minute}}}
	w := newWorld(t, o)
	started, _ := w.arrive(Ask{Flow: user("x", 1)})
	w.pass(time.Second)
	id, _ := w.arrive(Ask{Flow: user("x", 2)})
	w.pass(10 * time.Second)
	w.operate(w.gate.Pause("x"))
	w.pass(20 * time.Second)
	w.operate(w.gate.Resume("x"))
	w.pass(45 * time.Second) // the rate opens 61 s after the start
	got := w.settle(started)
	w.want("the seat is free", got, id)
	w.told("granted", got[0].Grant.Waits, shares{flow.ReasonRate: 40, flow.ReasonPaused: 20, flow.ReasonSeats: 15})
}

// TestI15Tenant: a tenant's own limits count while its class may run, in that class.
func TestI15Tenant(t *testing.T) {
	o := single(2, perMinute(1))
	o.Tenants = []Tenant{{Name: "t", Seats: 1}}
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.pass(time.Second)
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.pass(10 * time.Second)
	w.operate(w.gate.Pause(flow.Chat))
	w.pass(20 * time.Second)
	w.operate(w.gate.Resume(flow.Chat))
	w.pass(5 * time.Second)
	w.want("the tenant's seat is free", w.settle(first))
	granted := w.pass(time.Minute)
	w.told("granted", granted[id].Waits, shares{flow.ReasonTenant: 15, flow.ReasonPaused: 20, flow.ReasonRequests: 25})
}

// TestI15Tasks: the bound on tasks counts for tasks.
func TestI15Tasks(t *testing.T) {
	o := single(2)
	o.Tasks = 1
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1), Task: true})
	second, _ := w.arrive(Ask{Flow: user(flow.Chat, 2), Task: true})
	w.pass(3 * time.Second)
	chat, _ := w.arrive(Ask{Flow: user(flow.Chat, 3)})
	last, _ := w.arrive(Ask{Flow: user(flow.Chat, 4)})
	w.pass(4 * time.Second)
	got := w.settle(chat)
	w.want("a seat is free", got, last)
	w.told("no task", got[0].Grant.Waits, shares{flow.ReasonSeats: 4})
	w.pass(2 * time.Second)
	got = w.settle(first)
	w.want("there is room for the other task", got, second)
	w.told("the task", got[0].Grant.Waits, shares{flow.ReasonTasks: 9})
}

// TestI15TasksOfAClass: while the class of a task is shut, the bound on tasks does not
// count.
func TestI15TasksOfAClass(t *testing.T) {
	o := single(2)
	o.Tasks = 1
	o.Classes = []Class{{Name: "x"}}
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1), Task: true})
	w.operate(w.gate.Pause("x"))
	w.pass(2 * time.Second)
	id, _ := w.arrive(Ask{Flow: user("x", 2), Task: true})
	w.pass(5 * time.Second)
	w.operate(w.gate.Resume("x"))
	w.pass(3 * time.Second)
	w.operate(w.gate.Pause("x"))
	w.pass(4 * time.Second)
	w.settle(first)
	w.arrive(Ask{Flow: user(flow.Chat, 3)})
	last, _ := w.arrive(Ask{Flow: user(flow.Chat, 4)})
	w.operate(w.gate.Resume("x"))
	w.pass(6 * time.Second)
	got := w.settle(last)
	w.want("a seat is free", got, id)
	w.told("granted", got[0].Grant.Waits, shares{flow.ReasonPaused: 9, flow.ReasonTasks: 3, flow.ReasonSeats: 6})
}

// TestI15Breaker: an upstream that is down is what is waited for; an operator who ends
// the wait is told what it was for.
func TestI15Breaker(t *testing.T) {
	w := newWorld(t, single(1))
	w.operate(w.gate.Trip(w.now, "a"))
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	other, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.pass(7 * time.Second)
	w.want("it is up again", w.operate(w.gate.ResetUpstream(w.now, "a")), id)
	w.told("granted", w.gate.entries[id].waits, shares{flow.ReasonBreaker: 7})
	w.pass(5 * time.Second)
	if _, err := w.gate.Evict(w.now, user(flow.Chat, 2)); err != nil {
		t.Fatal(err)
	}
	got := w.step(Event{})
	if len(got) != 1 || got[0].ID != other || got[0].Kind != Evict {
		t.Fatalf("the eviction: %+v", got)
	}
	w.told("evicted", got[0].Refusal.Waits, shares{flow.ReasonBreaker: 7, flow.ReasonSeats: 5})
}

// TestI15Away: what was told of a wait in which the client was away for a time stands when
// the next attempt is told of: no part of it becomes less.
func TestI15Away(t *testing.T) {
	o := single(1)
	o.Upstreams[0].Breaker.Failures = 10
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 2), Place: "p"})
	w.pass(time.Second)
	w.step(Event{Kind: Abandon, ID: id})
	w.settle(first) // it is its turn, and nobody is there
	w.pass(2 * time.Second)
	id, got := w.arrive(Ask{Flow: user(flow.Chat, 2), Place: "p"})
	w.want("back again", got, id)
	told := got[0].Grant
	w.want("it fails", w.step(Event{Kind: Again, ID: id, Result: Result{Kind: llm.KindTransient, Sent: true}}))
	then, ok := w.pass(time.Minute)[id]
	if !ok {
		t.Fatal("it is not tried again")
	}
	for why, d := range told.Waits.All() {
		if now := then.Waits.Of(why); now < d {
			t.Errorf("%v for %s were told, and then %v", d, why, now)
		}
	}
	if sum := then.Waits.Total(); sum != then.Waited {
		t.Errorf("it waited %v, for %v", then.Waited, sum)
	}
}

// TestI15Hold: who is sent back is told what he has waited for in vain.
func TestI15Hold(t *testing.T) {
	w := newWorld(t, single(1))
	w.arrive(Ask{Flow: user(flow.Chat, 1)})
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 2), Hold: w.now.Add(30 * time.Second)})
	w.now = w.gate.Wake()
	got := w.step(Event{})
	if len(got) != 1 || got[0].ID != id || got[0].Kind != Evict {
		t.Fatalf("the hold ended: %+v", got)
	}
	w.told("evicted", got[0].Refusal.Waits, shares{flow.ReasonSeats: 30})
}

// TestI15Again: what a request waits for after a failed attempt adds to what it waited
// for before it.
func TestI15Again(t *testing.T) {
	o := single(1)
	o.Upstreams = append(o.Upstreams, Upstream{Name: "b", Quota: quota.Options{Limits: []quota.Limit{perMinute(1)}, Meter: exact()}})
	o.Routes = []Route{{Upstreams: []int{0, 1}}, {Upstreams: []int{1}}}
	w := newWorld(t, o)
	w.arrive(Ask{Flow: user(flow.Chat, 9), Route: 1}) // takes what b allows in this minute
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.pass(10 * time.Second)
	w.want("its turn", w.settle(first), id)
	w.pass(time.Second)
	w.want("b is full", w.step(Event{Kind: Again, ID: id, Result: Result{Kind: llm.KindTransient, Sent: true}}))
	granted := w.pass(time.Minute)
	w.told("granted at b", granted[id].Waits, shares{flow.ReasonSeats: 10, flow.ReasonRequests: 50})
}

// TestI15Last: who is tried again on the last upstream of its route waits for what that
// one is short of.
func TestI15Last(t *testing.T) {
	o := single(1)
	o.Upstreams[0].Breaker.Failures = 10
	o.Upstreams = append(o.Upstreams, Upstream{Name: "b", Quota: quota.Options{Limits: []quota.Limit{perMinute(1)}, Meter: exact()}})
	o.Routes = []Route{{Upstreams: []int{0, 1}}}
	w := newWorld(t, o)
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	failed := Event{Kind: Again, ID: id, Result: Result{Kind: llm.KindTransient, Sent: true, RetryAfter: 10 * time.Second}}
	w.want("at b", w.step(failed), id)
	w.want("it failed at both", w.step(failed))
	granted := w.pass(90 * time.Second)
	w.told("granted", granted[id].Waits, shares{flow.ReasonBreaker: 10, flow.ReasonRequests: 51})
}

// TestI15Owner: what a request waited for stays its own when its flow changes.
func TestI15Owner(t *testing.T) {
	o := single(1)
	o.Classes = []Class{{Name: "x"}}
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	id, _ := w.arrive(Ask{Flow: user("x", 2)})
	w.operate(w.gate.Pause("x"))
	w.pass(6 * time.Second)
	w.step(Event{Kind: Adjust, ID: id, Ask: &Ask{Flow: user(flow.Chat, 3)}})
	w.pass(3 * time.Second)
	got := w.settle(first)
	w.want("the seat is free", got, id)
	w.told("granted", got[0].Grant.Waits, shares{flow.ReasonPaused: 6, flow.ReasonSeats: 3})
}

// TestI15TenantElsewhere: who waits for his tenant's limits goes on to do so although the
// tenant's last request for other upstreams gives up.
func TestI15TenantElsewhere(t *testing.T) {
	o := single(5)
	o.Upstreams = append(o.Upstreams, Upstream{Name: "b", Quota: quota.Options{Seats: 5, Meter: exact()}})
	o.Routes = []Route{{Upstreams: []int{0}}, {Upstreams: []int{1}}}
	o.Tenants = []Tenant{{Name: "t", Seats: 1}}
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	other, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 3), Route: 1})
	w.pass(2 * time.Second)
	w.step(Event{Kind: Leave, ID: other})
	w.pass(8 * time.Second)
	got := w.settle(first)
	w.want("the tenant's seat is free", got, id)
	w.told("granted", got[0].Grant.Waits, shares{flow.ReasonTenant: 10})
}
