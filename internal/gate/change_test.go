package gate

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

func twoUp(routes ...Route) Options {
	o := single(1)
	o.Upstreams[0].Breaker = breaker.Options{}
	o.Upstreams = append(o.Upstreams, Upstream{Name: "b", Quota: quota.Options{Seats: 1, Meter: exact()}})
	o.Routes = routes
	return o
}

// TestI6SettleWakesTheUpstreamsPool: a route moves to another group while its request
// runs; the seat that it frees wakes those who wait there.
func TestI6SettleWakesTheUpstreamsPool(t *testing.T) {
	w := newWorld(t, twoUp(Route{Upstreams: []int{0}}, Route{Upstreams: []int{0}}))
	one, got := w.arrive(Ask{Route: 0, Flow: user(flow.Chat, 1)})
	w.want("free", got, one)
	two, got := w.arrive(Ask{Route: 1, Flow: user(flow.Chat, 2)})
	w.want("taken", got)
	w.want("reload", w.reconfigure(twoUp(Route{Upstreams: []int{1}}, Route{Upstreams: []int{0}})))
	w.want("seat is free", w.settle(one), two)
}

// TestI11ClassThatComesBack: a class is removed and comes back while somebody waits; its
// starts are remembered, and those who wait are its own again.
func TestI11ClassThatComesBack(t *testing.T) {
	o := single(0)
	with := o
	with.Classes = []Class{{Name: "x", Rate: Rate{Max: 1, Per: time.Minute}}}
	w := newWorld(t, with)
	id, got := w.arrive(Ask{Flow: user("x", 1)})
	w.want("first", got, id)
	for i := range 5 {
		w.arrive(Ask{Flow: user("x", 1+i)})
	}
	// removed: but let nothing run: seat
	blocked := o
	blocked.Tasks = 0
	blocked.Upstreams = append([]Upstream(nil), o.Upstreams...)
	blocked.Upstreams[0].Quota.Seats = 1
	w.want("removed; seat is taken", w.reconfigure(blocked))
	with2 := with
	got2 := w.reconfigure(with2)
	n := len(ran(got2))
	w.now = w.now.Add(61 * time.Second)
	n2 := len(ran(w.step(Event{})))
	if n > 0 || n2 > 1 {
		t.Errorf("class of 1/m: %d started at once after reload, %d in next minute", n, n2)
	}
}

func TestI11QuotaBelowWhatWaits(t *testing.T) {
	lim := func(n int64) Options {
		o := single(0, quota.Limit{Dim: quota.Total, Max: n, Kind: quota.Sliding})
		o.Hold = 30 * time.Minute
		return o
	}
	w := newWorld(t, lim(1000))
	one, got := w.arrive(Ask{Flow: user(flow.Chat, 1), Size: llm.Size{TextBytes: 3000}})
	w.want("fills", got, one)
	big, _ := w.arrive(Ask{Flow: user(flow.Chat, 2), Size: llm.Size{TextBytes: 3000}})
	w.step(Event{Kind: Settle, ID: one, Result: Result{Sent: true, Usage: llm.Usage{Input: 910}}})
	fate := map[uint64]Action{}
	note := func(acts []Action) {
		for _, a := range acts {
			fate[a.ID] = a
			if a.Kind == Dispatch {
				w.step(Event{Kind: Settle, ID: a.ID, Result: Result{Sent: true, Usage: llm.Usage{Input: 100, Output: 1}}})
			}
		}
	}
	note(w.reconfigure(lim(300)))
	ran, last := 0, 0
	for s := range 1700 {
		w.now = epoch.Add(time.Duration(s) * time.Second)
		note(w.step(Event{}))
		if s%40 == 0 { // half of what the quota allows
			id, acts := w.arrive(Ask{Flow: user(flow.Chat, 10+s), Size: llm.Size{TextBytes: 300, MaxOutput: 1}})
			note(acts)
			if a, ok := fate[id]; ok && a.Kind == Dispatch {
				ran, last = ran+1, s
			}
		}
	}
	st := w.gate.Snapshot(w.now)
	if a, ok := fate[big]; !ok || a.Kind != Evict || st.Waiting > 0 {
		t.Errorf("what can never run waits on: %v; of 43 small ones %d ran at once, the last at %d s; %d wait", fate[big], ran, last, st.Waiting)
	}
}

func TestI11SpillBeginsByReload(t *testing.T) {
	w := newWorld(t, twoUp(Route{Upstreams: []int{0}}))
	one, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	_ = one
	two, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.now = w.now.Add(10 * time.Second)
	got := w.reconfigure(twoUp(Route{Upstreams: []int{0, 1}, Spill: true, SpillAfter: 5 * time.Second}))
	w.want("spill is allowed now, it waits 10 s", got, two)
}

func TestI11FailedReloadChangesNothing(t *testing.T) {
	w := newWorld(t, single(1))
	bad := single(7)
	bad.Tenants = []Tenant{{Name: "t", Tokens: Rate{Max: 1 << 62, Per: time.Minute}}}
	err := w.gate.Reconfigure(w.now, bad)
	if _, most := w.gate.upstreams[0].quota.Seats(); err != nil && most != 1 {
		t.Errorf("failed with %v, and yet has %d seats", err, most)
	}
}

func TestI11WeightOfATenantThatIsGone(t *testing.T) {
	o := single(1)
	o.Classes = []Class{{Name: "x", Weight: 9}}
	o.Tenants = []Tenant{{Name: "gold", Weight: 100}}
	w := newWorld(t, o)
	w.reconfigure(single(1))
	one, _ := w.arrive(Ask{Flow: flow.Key{Class: flow.Chat, Tenant: "z", User: "1"}})
	for range 20 {
		for _, n := range []string{"gold", "iron"} {
			w.arrive(Ask{Flow: flow.Key{Class: flow.Chat, Tenant: n, User: "u"}})
		}
	}
	id := one
	count := map[string]int{}
	for range 20 {
		got := ran(w.settle(id))
		id = got[0]
		count[w.gate.entries[id].ask.Flow.Tenant]++
	}
	if count["gold"] > 12 {
		t.Errorf("a tenant without a weight any more is served %v", count)
	}
}

func TestI11DepthIsNeverNegative(t *testing.T) {
	with := single(1)
	with.Classes = []Class{{Name: "x"}}
	w := newWorld(t, with)
	w.arrive(Ask{Flow: user("x", 1)})
	id, _ := w.arrive(Ask{Flow: user("x", 2), Place: "p"})
	w.step(Event{Kind: Abandon, ID: id})
	w.reconfigure(single(1))
	if n := w.gate.Snapshot(w.now).Classes["x"]; n < 0 {
		t.Errorf("%d wait", n)
	}
}

func TestI11SpillEndsByReload(t *testing.T) {
	w := newWorld(t, twoUp(Route{Upstreams: []int{0, 1}, Spill: true, SpillAfter: 5 * time.Second}))
	w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.reconfigure(twoUp(Route{Upstreams: []int{0, 1}}))
	w.now = w.now.Add(6 * time.Second)
	w.want("no spill any more", w.step(Event{}))
}

func TestParkedLeaveNothing(t *testing.T) {
	o := single(0)
	o.Tenants = []Tenant{{Name: "t", Seats: 1}}
	w := newWorld(t, o)
	k := flow.Key{Class: flow.Chat, Tenant: "t", User: "u"}
	w.arrive(Ask{Flow: k})
	for range 10000 {
		id, _ := w.arrive(Ask{Flow: k})
		w.step(Event{Kind: Leave, ID: id})
	}
	if n := len(w.gate.pools[0].parked); n > 100 {
		t.Errorf("%d parked", n)
	}
}

func BenchmarkParkedTenant(b *testing.B) {
	o := single(0)
	o.Tenants = []Tenant{{Name: "t", Seats: 1}}
	g, _ := New(epoch, o)
	for i := range 5000 {
		g.Step(epoch, Event{Kind: Arrive, ID: uint64(i + 1), Ask: &Ask{Flow: flow.Key{Class: flow.Chat, Tenant: "t", User: fmt.Sprint(i)}, Size: llm.Size{TextBytes: 400}}})
	}
	run := uint64(1)
	next := uint64(10000)
	for b.Loop() {
		for _, a := range g.Step(epoch, Event{Kind: Settle, ID: run, Result: Result{Sent: true, Usage: llm.Usage{Input: 100}}}) {
			if a.Kind == Dispatch {
				run = a.ID
			}
		}
		next++
		g.Step(epoch, Event{Kind: Arrive, ID: next, Ask: &Ask{Flow: flow.Key{Class: flow.Chat, Tenant: "t", User: fmt.Sprint(next)}, Size: llm.Size{TextBytes: 400}}})
	}
}

// TestStatusBehindTasks: who waits for a task to end is told how many stand before
// him, and how long they take.
func TestStatusBehindTasks(t *testing.T) {
	o := single(0, quota.Limit{Dim: quota.Requests, Max: 1000, Kind: quota.Sliding})
	o.Tasks, o.Hold = 1, time.Hour
	w := newWorld(t, o)
	for range 20 { // it takes 30 s, as is learned
		id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
		w.now = w.now.Add(30 * time.Second)
		w.settle(id)
	}
	last := uint64(0)
	for i := range 11 {
		last, _ = w.arrive(Ask{Flow: user(flow.Chat, 1+i), Task: true})
	}
	s, _ := w.gate.Status(w.now, last)
	if s.Position != 10 || s.ETA < 4*time.Minute || s.ETA > 7*time.Minute || s.Reason != flow.ReasonTasks {
		t.Errorf("the tenth that waits for tasks of 30 s stands %+v", s)
	}
}

// TestStatusBehindATenant: who waits for his tenant's quota stands behind all of the
// tenant that wait, whoever they are.
func TestStatusBehindATenant(t *testing.T) {
	o := single(0)
	o.Tenants = []Tenant{{Name: "t", Requests: Rate{Max: 1, Per: time.Minute}}}
	w := newWorld(t, o)
	last := uint64(0)
	for _, name := range []string{"a", "b", "c", "d"} {
		last, _ = w.arrive(Ask{Flow: flow.Key{Class: flow.Chat, Tenant: "t", User: name}})
	}
	if s, _ := w.gate.Status(w.now, last); s.Position != 3 || s.ETA < 3*time.Minute || s.ETA > 4*time.Minute {
		t.Errorf("the third that waits for 1 a minute stands %+v", s)
	}
}
