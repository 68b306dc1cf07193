package gate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// world is a gate with one upstream and a clock.
type world struct {
	t    *testing.T
	gate *Gate
	now  time.Time
	last uint64
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	g, err := New(epoch, o)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, gate: g, now: epoch}
}

// single is one upstream of so many seats behind one route.
func single(seats int, limits ...quota.Limit) Options {
	return Options{
		Upstreams: []Upstream{{Name: "a", Quota: quota.Options{Seats: seats, Limits: limits, Meter: exact()}, Breaker: breaker.Options{Failures: 1, Open: time.Minute}}},
		Routes:    []Route{{Upstreams: []int{0}}},
	}
}

func (w *world) step(ev Event) []Action { return w.gate.Step(w.now, ev) }

// arrive returns the request's id and what became of others and of it.
func (w *world) arrive(ask Ask) (uint64, []Action) {
	w.last++
	if ask.Size == (llm.Size{}) {
		ask.Size = llm.Size{TextBytes: 400}
	}
	return w.last, w.step(Event{Kind: Arrive, ID: w.last, Ask: &ask})
}

func (w *world) settle(id uint64) []Action {
	return w.step(Event{Kind: Settle, ID: id, Result: Result{Sent: true, Usage: llm.Usage{Input: 100}}})
}

func (w *world) reconfigure(o Options) []Action {
	w.t.Helper()
	if err := w.gate.Reconfigure(w.now, o); err != nil {
		w.t.Fatal(err)
	}
	return w.step(Event{})
}

// ran are the requests that the actions dispatch.
func ran(actions []Action) []uint64 {
	var ids []uint64
	for _, a := range actions {
		if a.Kind == Dispatch {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

func (w *world) want(what string, got []Action, ids ...uint64) {
	w.t.Helper()
	list := ran(got)
	if len(list) != len(ids) {
		w.t.Fatalf("%s: dispatched %v, want %v", what, list, ids)
	}
	for i := range ids {
		if list[i] != ids[i] {
			w.t.Fatalf("%s: dispatched %v, want %v", what, list, ids)
		}
	}
}

// TestI11Reload: what is used, who waits and what was learned survive a change of
// the options, and the change takes effect at once.
func TestI11Reload(t *testing.T) {
	minute := quota.Limit{Dim: quota.Requests, Max: 3, Kind: quota.Sliding}
	w := newWorld(t, single(0, minute))
	for id := uint64(1); id <= 3; id++ {
		_, got := w.arrive(Ask{Flow: user(flow.Chat, 1)})
		w.want("within the minute", got, id)
	}
	_, got := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.want("beyond the minute", got)
	w.want("the same options", w.reconfigure(single(0, minute)))
	minute.Max = 4
	w.want("one more a minute", w.reconfigure(single(0, minute)), 4)
	_, got = w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.want("beyond it again", got)
	minute.Max = 2
	w.reconfigure(single(0, minute))
	w.now = w.now.Add(30 * time.Second)
	w.want("half a minute later", w.step(Event{}))
	w.now = epoch.Add(62 * time.Second)
	w.want("when the minute has passed", w.step(Event{}), 5)
	for id := uint64(1); id <= 5; id++ {
		w.settle(id)
	}
	if s := w.gate.Snapshot(w.now); s.Upstreams[0].Outstanding != 0 || s.Waiting != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// TestI11ReloadKeepsBreakers: an open breaker stays open, until it is reset.
func TestI11ReloadKeepsBreakers(t *testing.T) {
	w := newWorld(t, single(0))
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.step(Event{Kind: Settle, ID: id, Result: Result{Sent: true, Kind: llm.KindTransient}})
	o := single(0)
	o.Upstreams[0].Breaker.Open = 2 * time.Minute
	w.reconfigure(o)
	id, got := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.want("an open breaker", got)
	if n := w.gate.Reset(w.now); n != 1 {
		t.Errorf("reset closed %d breakers, want 1", n)
	}
	w.want("after the reset", w.step(Event{}), id)
}

// TestI11ReloadOfGroups: routes may connect what was apart, and part what was
// connected, while requests wait and run.
func TestI11ReloadOfGroups(t *testing.T) {
	two := func(routes ...Route) Options {
		o := single(1)
		o.Upstreams = append(o.Upstreams, Upstream{Name: "b", Quota: quota.Options{Seats: 1, Meter: exact()}})
		o.Routes = routes
		return o
	}
	apart := two(Route{Upstreams: []int{0}}, Route{Upstreams: []int{1}})
	w := newWorld(t, apart)
	onA, got := w.arrive(Ask{Route: 0, Flow: user(flow.Chat, 1)})
	w.want("a is free", got, onA)
	waits, got := w.arrive(Ask{Route: 0, Flow: user(flow.Chat, 2)})
	w.want("a is taken", got)
	w.want("b is joined to its route", w.reconfigure(two(Route{Upstreams: []int{0, 1}, Spill: true, SpillAfter: time.Minute}, Route{Upstreams: []int{1}})))
	if len(w.gate.pools) != 1 {
		t.Fatalf("%d groups, want 1", len(w.gate.pools))
	}
	w.now = w.now.Add(time.Second)
	behind, got := w.arrive(Ask{Route: 1, Flow: user(flow.Chat, 3)})
	if len(ran(got)) != 1 {
		t.Fatalf("b stays idle: %v", got)
	}
	w.reconfigure(apart)
	if len(w.gate.pools) != 2 {
		t.Fatalf("%d groups, want 2", len(w.gate.pools))
	}
	w.settle(behind)
	got = w.settle(onA)
	if len(ran(got)) == 1 {
		w.settle(ran(got)[0])
	}
	w.settle(waits)
	w.settle(behind)
	if s := w.gate.Snapshot(w.now); s.Waiting != 0 || s.Upstreams[0].Outstanding+s.Upstreams[1].Outstanding != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// TestReconfigureRefuses: indices keep their meaning.
func TestReconfigureRefuses(t *testing.T) {
	w := newWorld(t, single(1))
	renamed := single(1)
	renamed.Upstreams[0].Name = "other"
	bad := single(1)
	bad.Upstreams[0].Quota.Seats = -1
	for what, o := range map[string]Options{"another name": renamed, "no route": {Upstreams: renamed.Upstreams}, "bad quota": bad} {
		if err := w.gate.Reconfigure(w.now, o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	id, got := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.want("afterwards", got, id)
}

// TestI9Tenant: what a tenant may not use now waits, is told why, and blocks nobody.
func TestI9Tenant(t *testing.T) {
	o := single(0)
	o.Tenants = []Tenant{{Name: "small", Tokens: Rate{Max: 1000, Per: time.Minute}}}
	w := newWorld(t, o)
	small := func(bytes int64) Ask {
		return Ask{Flow: flow.Key{Class: flow.Chat, Tenant: "small", User: "u"}, Size: llm.Size{TextBytes: bytes, MaxOutput: 1}}
	}
	first, got := w.arrive(small(3200)) // 800 tokens
	w.want("within its tokens", got, first)
	second, got := w.arrive(small(3200))
	w.want("beyond its tokens", got)
	if s, _ := w.gate.Status(w.now, second); s.Reason != flow.ReasonTenant || s.ETA < 50*time.Second {
		t.Errorf("the waiting request stands %+v", s)
	}
	_, got = w.arrive(small(8000))
	if len(got) != 1 || !errors.Is(got[0].Refusal, flow.ErrTooLarge) || !strings.Contains(got[0].Refusal.Detail, "the key allows 1000") {
		t.Errorf("more than it may ever use: %+v", got)
	}
	other, got := w.arrive(Ask{Flow: user(flow.Chat, 1), Size: llm.Size{TextBytes: 40_000}})
	w.want("another tenant", got, other)
	w.now = w.now.Add(62 * time.Second)
	w.want("a minute later", w.step(Event{}), second)
}

// TestI9TenantSettles: what a tenant's requests held of its limits comes back when they
// end, and who waited for that runs at once.
func TestI9TenantSettles(t *testing.T) {
	o := single(0)
	o.Tenants = []Tenant{{Name: "small", Seats: 1, Tokens: Rate{Max: 1500, Per: time.Minute}}}
	w := newWorld(t, o)
	small := Ask{Flow: flow.Key{Class: flow.Chat, Tenant: "small", User: "u"}, Size: llm.Size{TextBytes: 3200, MaxOutput: 1}}
	first, _ := w.arrive(small)
	second, got := w.arrive(small)
	w.want("the tenant's seat is taken", got)
	w.want("it comes back, and most of its tokens", w.settle(first), second)
	w.step(Event{Kind: Settle, ID: second, Result: Result{Kind: llm.KindCanceled}})
	third, got := w.arrive(small)
	w.want("what was never sent is free", got, third)
	w.settle(third)
	if used, _ := w.gate.tenants["small"].quota.Seats(); used != 0 {
		t.Errorf("%d of its seats are taken by nobody", used)
	}
}

// TestI11RateChanges: a class whose rate changes remembers its starts.
func TestI11RateChanges(t *testing.T) {
	with := func(most int) Options {
		o := single(0)
		o.Classes = []Class{{Name: flow.Chat, Rate: Rate{Max: most, Per: time.Minute}}}
		return o
	}
	w := newWorld(t, with(2))
	w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.arrive(Ask{Flow: user(flow.Chat, 1)})
	third, got := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.want("beyond the rate", got)
	fourth, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.want("one more a minute", w.reconfigure(with(3)), third)
	w.want("less again", w.reconfigure(with(2)))
	w.now = w.now.Add(62 * time.Second)
	w.want("when the minute has passed", w.step(Event{}), fourth)
}

// TestI10Tasks: the bound on tasks holds for tasks alone, and the next runs as soon
// as one has ended.
func TestI10Tasks(t *testing.T) {
	o := single(0)
	o.Tasks = 1
	w := newWorld(t, o)
	first, got := w.arrive(Ask{Flow: user(flow.Chat, 1), Task: true})
	w.want("the first task", got, first)
	second, got := w.arrive(Ask{Flow: user(flow.Chat, 2), Task: true})
	w.want("the second task", got)
	if s, _ := w.gate.Status(w.now, second); s.Reason != flow.ReasonTasks {
		t.Errorf("the second task waits for %q", s.Reason)
	}
	third, got := w.arrive(Ask{Flow: user(flow.Chat, 3)})
	w.want("who is no task", got, third)
	w.want("the first has ended", w.settle(first), second)
}

// TestAdjust: a waiting request that passes to another flow takes that one's place
// in the fair order and is held as long as its clients can be.
func TestAdjust(t *testing.T) {
	w := newWorld(t, single(1))
	runs, _ := w.arrive(Ask{Flow: user(flow.Chat, 9)})
	shared, _ := w.arrive(Ask{Flow: user(flow.Chat, 1), Hold: w.now.Add(time.Second)})
	w.step(Event{Kind: Adjust, ID: shared, Ask: &Ask{Flow: user(flow.Chat, 2), Hold: w.now.Add(time.Minute)}})
	if _, mine := w.gate.pools[0].queue.Waiting(user(flow.Chat, 1)); mine != 0 {
		t.Error("it still stands in the line of its first owner")
	}
	w.now = w.now.Add(10 * time.Second)
	w.want("the first owner's hold has passed", w.settle(runs), shared)
	next, got := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.want("the seat is taken", got)
	w.step(Event{Kind: Adjust, ID: shared, Ask: &Ask{Flow: user(flow.Chat, 3)}})
	w.want("the shared call has ended", w.settle(shared), next)
	w.settle(next)
	if s := w.gate.Snapshot(w.now); s.Waiting != 0 || s.Outstanding != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// TestAdjustMovesTheCharge: who takes over a running call pays for it, and who gave
// it up does not.
func TestAdjustMovesTheCharge(t *testing.T) {
	w := newWorld(t, single(1, quota.Limit{Dim: quota.Requests, Max: 600, Kind: quota.Sliding}))
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.step(Event{Kind: Adjust, ID: first, Ask: &Ask{Flow: user(flow.Chat, 2)}})
	payer, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	freed, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	w.want("the flow that was relieved is first", w.settle(first), freed)
	w.want("then the one that paid", w.settle(freed), payer)
}

// TestAbandon: who leaves without a word finds his place again, if he comes soon
// with the same request; nobody runs in his stead, and nobody waits for him.
func TestAbandon(t *testing.T) {
	w := newWorld(t, single(1))
	runs, _ := w.arrive(Ask{Flow: user(flow.Chat, 9)})
	mine := Ask{Flow: user(flow.Chat, 1), Place: "body"}
	left, _ := w.arrive(mine)
	w.now = w.now.Add(time.Second)
	behind, _ := w.arrive(Ask{Flow: user(flow.Chat, 2)})
	w.step(Event{Kind: Abandon, ID: left})
	w.now = w.now.Add(2 * time.Second)
	back, got := w.arrive(mine)
	w.want("nothing is free", got)
	w.want("he who came back is first", w.settle(runs), back)
	w.want("then the other", w.settle(back), behind)

	gone, _ := w.arrive(mine)
	w.step(Event{Kind: Abandon, ID: gone})
	w.now = w.now.Add(linger)
	w.step(Event{})
	if len(w.gate.entries) != 1 || len(w.gate.places) != 0 {
		t.Errorf("the place is kept for good: %d entries, %d places", len(w.gate.entries), len(w.gate.places))
	}
}

// TestI11ReloadTakesTheLastResort: who has failed at one upstream and waits for another
// does not wait, a day if it is a task, for one that a reload has taken away.
func TestI11ReloadTakesTheLastResort(t *testing.T) {
	o := single(1)
	o.Upstreams[0].Breaker.Failures = 10
	o.Upstreams = append(o.Upstreams, Upstream{Name: "b", Quota: quota.Options{Limits: []quota.Limit{perMinute(1)}, Meter: exact()}})
	o.Routes = []Route{{Upstreams: []int{0, 1}}, {Upstreams: []int{1}}}
	w := newWorld(t, o)
	w.arrive(Ask{Flow: user(flow.Chat, 9), Route: 1}) // takes what b allows in this minute
	id, got := w.arrive(Ask{Flow: user(flow.Chat, 1), Task: true})
	w.want("at a", got, id)
	w.want("b is full", w.step(Event{Kind: Again, ID: id, Result: Result{Kind: llm.KindTransient, Sent: true}}))
	o.Routes = []Route{{Upstreams: []int{0}}, {Upstreams: []int{1}}}
	w.want("a is all that is left", w.reconfigure(o), id)
}

// TestI11FailsWhereItsRouteWas: likewise when the attempt that a reload found under way
// there fails.
func TestI11FailsWhereItsRouteWas(t *testing.T) {
	o := single(1)
	o.Upstreams[0].Breaker.Failures = 10
	o.Upstreams = append(o.Upstreams, Upstream{Name: "b", Quota: quota.Options{Seats: 1, Meter: exact()}})
	o.Routes = []Route{{Upstreams: []int{0, 1}}}
	w := newWorld(t, o)
	id, got := w.arrive(Ask{Flow: user(flow.Chat, 1), Task: true})
	w.want("at a", got, id)
	failed := Event{Kind: Again, ID: id, Result: Result{Kind: llm.KindTransient, Sent: true}}
	w.want("at b", w.step(failed), id)
	o.Routes = []Route{{Upstreams: []int{0}}}
	w.reconfigure(o)
	w.want("a is all that is left", w.step(failed))
	if granted := w.pass(time.Minute); len(granted) != 1 {
		t.Errorf("a minute later: %v", granted)
	}
}

// TestRetryTakesOver: an SDK's own retry takes the place of the request that it
// repeats, which nobody waits for any more.
func TestRetryTakesOver(t *testing.T) {
	w := newWorld(t, single(1))
	runs, _ := w.arrive(Ask{Flow: user(flow.Chat, 9)})
	mine := Ask{Flow: user(flow.Chat, 1), Place: "body"}
	held, _ := w.arrive(mine)
	w.arrive(Ask{Flow: user(flow.Chat, 2)})
	same, got := w.arrive(mine) // not a retry: a second request of its own
	if len(got) != 0 {
		t.Fatalf("a twin that is no retry: %+v", got)
	}
	mine.Retry = true
	if again, got := w.arrive(mine); len(got) != 0 {
		t.Fatalf("a retry of one of two, and nobody knows of which: %+v", got)
	} else {
		w.step(Event{Kind: Leave, ID: again})
	}
	w.step(Event{Kind: Leave, ID: same})
	retry, got := w.arrive(mine)
	if len(got) != 1 || got[0].ID != held || got[0].Kind != Evict || !errors.Is(got[0].Refusal, flow.ErrReplaced) {
		t.Fatalf("the retry: %+v; want %d replaced", got, held)
	}
	w.want("the retry stands first", w.settle(runs), retry)
	if _, got = w.arrive(Ask{Flow: user(flow.Chat, 1), Place: "another", Retry: true}); len(got) != 0 {
		t.Errorf("a retry of what runs or is gone waits like any other: %+v", got)
	}
}

// TestI11ReloadKeepsTheLine: who waits stands in the line of its class by arrival, however
// a reload makes all join it anew and whoever comes back to a place from long ago.
func TestI11ReloadKeepsTheLine(t *testing.T) {
	o := single(1)
	w := newWorld(t, o)
	w.arrive(Ask{Flow: user(flow.Chat, 0)})
	inLine := func(what string) {
		t.Helper()
		n := 0
		for e := w.gate.classes[flow.Chat].first; e != nil; e = e.newer {
			if e.newer != nil && e.newer.arrived.Before(e.arrived) {
				t.Fatalf("%s: %v stands before %v", what, e.arrived, e.newer.arrived)
			}
			n++
		}
		if want := w.gate.pools[0].queue.Len(); n != want {
			t.Fatalf("%s: %d stand in line, and %d wait", what, n, want)
		}
	}
	for i := range 300 {
		w.now = w.now.Add(time.Duration(i%3) * time.Millisecond)
		w.arrive(Ask{Flow: user(flow.Chat, i%7), Task: true})
	}
	for i, tenants := range [][]Tenant{{{Name: "t", Seats: 1}}, nil, {{Name: "t", Seats: 2}}} {
		o.Tenants = tenants
		w.reconfigure(o)
		inLine(fmt.Sprint("reload ", i))
		for id := uint64(20 + i); id < 300; id += 17 {
			w.step(Event{Kind: Adjust, ID: id, Ask: &Ask{Flow: user(flow.Chat, 8+i)}})
			inLine(fmt.Sprint("passed on ", id))
		}
		w.step(Event{Kind: Leave, ID: uint64(200 + i)})
		inLine("one left")
	}
}

// BenchmarkReload is how long the queue stands still when a reload gives the tenant of
// so many tasks that wait limits of its own.
func BenchmarkReload(b *testing.B) {
	o := single(1)
	g, err := New(epoch, o)
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint64(20_000) {
		g.Step(epoch.Add(time.Duration(i)), Event{Kind: Arrive, ID: i, Ask: &Ask{Flow: user(flow.Chat, int(i)%500), Task: true}})
	}
	for b.Loop() {
		if o.Tenants == nil {
			o.Tenants = []Tenant{{Name: "t", Seats: 1}}
		} else {
			o.Tenants = nil
		}
		if err := g.Reconfigure(epoch.Add(time.Second), o); err != nil {
			b.Fatal(err)
		}
	}
}
