package gate

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// operate does what an operator may do, and notes what must follow.
func (m *machine) operate(t *rapid.T) error {
	class := rapid.SampledFrom([]flow.Class{flow.Chat, flow.Analysis, flow.Batch}).Draw(t, "operated class")
	u := rapid.IntRange(0, 1).Draw(t, "upstream")
	name := string(rune('a' + u))
	var err error
	switch rapid.IntRange(0, 5).Draw(t, "operation") {
	case 0:
		m.paused[class] = true
		err = m.gate.Pause(class)
	case 1:
		delete(m.paused, class)
		err = m.gate.Resume(class)
	case 2:
		m.tripped[u] = true
		err = m.gate.Trip(m.now, name)
	case 3:
		m.tripped[u] = false
		err = m.gate.ResetUpstream(m.now, name)
	case 4:
		if id := pick(t, m.waiting, m.lastID); id != 0 {
			err = m.gate.MoveUp(m.keys[id])
		}
	default:
		err = m.evict(t)
	}
	if err != nil {
		return err
	}
	return m.step(Event{})
}

func (m *machine) evict(t *rapid.T) error {
	id := pick(t, m.waiting, m.lastID)
	if id == 0 {
		return nil
	}
	for other := range m.waiting {
		if m.keys[other] == m.keys[id] {
			m.evicted[other] = true
		}
	}
	n, err := m.gate.Evict(m.now, m.keys[id])
	if n != len(m.evicted) {
		return fmt.Errorf("I12: %d requests of %s were evicted, %d waited", n, m.keys[id], len(m.evicted))
	}
	return err
}

// look compares what an operator is shown with the books, and with what clients are
// told.
func (m *machine) look() error {
	want, classes := m.books()
	users := len(want)
	list := m.gate.AppendFlows(nil, m.now, 1000)
	if err := m.found(list); err != nil {
		return err
	}
	for _, f := range list {
		w := want[f.Key]
		if f.Waiting != w.Waiting || f.Running != w.Running || !f.Oldest.Equal(w.Oldest) || f.Paused != m.paused[f.Key.Class] {
			return fmt.Errorf("I13: %s is shown as %+v, the books say %+v", f.Key, f, w)
		}
		delete(want, f.Key)
		if f.Waiting == 0 {
			continue
		}
		if told, ok := m.told(f); !ok {
			return fmt.Errorf("I13: %s is shown as %+v, its head is told %+v", f.Key, f, told)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("I13: %d flows are missing: %v", len(want), want)
	}
	for id := range m.waiting {
		s, _ := m.gate.Status(m.now, id)
		if e := m.gate.entries[id]; s.Waits.Total() != e.waited+m.now.Sub(m.since[id]) {
			return fmt.Errorf("I15: request %d waits for %v and %v before, and is told of %v", id, m.now.Sub(m.since[id]), e.waited, s.Waits)
		}
	}
	s := m.gate.Snapshot(m.now)
	for _, c := range s.ByClass {
		w := classes[c.Name]
		if c.Waiting != w.Waiting || c.Running != w.Running || !c.Oldest.Equal(w.Oldest) || c.Paused != m.paused[c.Name] {
			return fmt.Errorf("I13: %s is shown as %+v, the books say %+v", c.Name, c, w)
		}
		if c.Name == flow.Analysis && (c.Started > machineRate || c.Started < within(m.starts, m.now, time.Minute)) {
			return fmt.Errorf("I13: %d starts of analysis are shown", c.Started)
		}
	}
	if s.Flows < users || len(m.gate.pools) == 1 && s.Flows != users { // a user of two pools counts in both
		return fmt.Errorf("I13: %d users with something waiting or running are shown, %d are", s.Flows, users)
	}
	if s.Running != len(m.running) || s.Waiting != len(m.waiting) {
		return fmt.Errorf("I13: %d waiting and %d running are shown, %d and %d are", s.Waiting, s.Running, len(m.waiting), len(m.running))
	}
	return nil
}

// books are the flows and classes as the machine knows them.
func (m *machine) books() (map[flow.Key]FlowState, map[flow.Class]ClassState) {
	flows, classes := make(map[flow.Key]FlowState), make(map[flow.Class]ClassState)
	note := func(id uint64, waiting, running int, oldest time.Time) {
		f, c := flows[m.keys[id]], classes[m.classOf[id]]
		f.Waiting, f.Running, f.Oldest = f.Waiting+waiting, f.Running+running, earlier(f.Oldest, oldest)
		c.Waiting, c.Running, c.Oldest = c.Waiting+waiting, c.Running+running, earlier(c.Oldest, oldest)
		flows[m.keys[id]], classes[m.classOf[id]] = f, c
	}
	for id := range m.waiting {
		note(id, 1, 0, m.since[id])
	}
	for id := range m.running {
		note(id, 0, 1, time.Time{})
	}
	return flows, classes
}

// told is what the head of a flow is told, and whether the flow is shown so.
func (m *machine) told(f FlowState) (s Status, ok bool) {
	for _, p := range m.gate.pools {
		head := uint64(0)
		p.queue.Each(f.Key, func(it *fairqueue.Item) {
			if head == 0 {
				head = it.Owner.(*entry).id
			}
		})
		if head == 0 {
			continue
		}
		s, _ = m.gate.Status(m.now, head)
		s.Waits = flow.Waits{} // of the status alone
		if s == (Status{Position: f.Position, ETA: f.ETA, ETAP90: f.ETAP90, Unknown: f.Unknown, Reason: f.Reason}) {
			return s, true
		}
	}
	return s, false
}

// TestI12Errors: what there is not cannot be changed.
func TestI12Errors(t *testing.T) {
	w := newWorld(t, single(1))
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1)})
	_, evicted := w.gate.Evict(w.now, user(flow.Chat, 1)) // it runs, and nothing of it waits
	_, nobody := w.gate.Evict(w.now, user(flow.Chat, 2))
	for what, err := range map[string]error{
		"trip":   w.gate.Trip(w.now, "x"),
		"reset":  w.gate.ResetUpstream(w.now, "x"),
		"pause":  w.gate.Pause("x"),
		"resume": w.gate.Resume("x"),
		"move":   w.gate.MoveUp(user(flow.Chat, 1)),
		"evict":  evicted, "evict nobody": nobody,
	} {
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v, want ErrUnknown", what, err)
		}
	}
	w.settle(id)
}

// TestI12Pause: a paused class starts nothing and blocks nobody, its newcomers are let in,
// its holds end, a reload changes nothing; resumed, it goes on in its order.
func TestI12Pause(t *testing.T) {
	o := single(1)
	o.Classes = []Class{{Name: "x", Weight: 100}, {Name: flow.Chat}}
	w := newWorld(t, o)
	busy, _ := w.arrive(Ask{Flow: user(flow.Chat, 0)})
	first, _ := w.arrive(Ask{Flow: user("x", 1)})
	if err := w.gate.Pause("x"); err != nil {
		t.Fatal(err)
	}
	second, got := w.arrive(Ask{Flow: user("x", 2)})
	w.want("a newcomer", got)
	short, _ := w.arrive(Ask{Flow: user("x", 3), Hold: w.now.Add(time.Second)})
	other, _ := w.arrive(Ask{Flow: user(flow.Chat, 4)})
	for _, id := range []uint64{first, second} {
		if s, _ := w.gate.Status(w.now, id); s.Reason != flow.ReasonPaused || !s.Unknown || s.ETA != 0 || s.ETAP90 != 0 || s.Position < 1 {
			t.Errorf("%d is told %+v", id, s)
		}
	}
	w.want("the seat is free", w.settle(busy), other)
	w.now = w.now.Add(2 * time.Second)
	if got := w.step(Event{}); len(got) != 1 || got[0].ID != short || !errors.Is(got[0].Refusal, flow.ErrHold) || got[0].Refusal.ETA != 0 {
		t.Errorf("at the end of the hold: %+v", got)
	}
	w.want("reload", w.reconfigure(o))
	w.want("the seat is free again", w.settle(other))
	if s := w.gate.Snapshot(w.now).ByClass; s[1].Name != "x" || !s[1].Paused || s[1].Waiting != 2 || s[1].Weight != 100 {
		t.Errorf("it is shown as %+v", s)
	}
	quotes := w.gate.classes["x"].quotes
	if err := w.gate.Resume("x"); err != nil {
		t.Fatal(err)
	}
	w.want("resumed", w.step(Event{}), first)
	if w.gate.classes["x"].quotes != quotes {
		t.Error("the pause taught how long waits are")
	}
	w.want("the next", w.settle(first), second)
}

// TestI12MoveUp: the last of ten users goes next of his class, once; another class is not
// passed.
func TestI12MoveUp(t *testing.T) {
	w := newWorld(t, single(1))
	running, _ := w.arrive(Ask{Flow: user(flow.Chat, 0)})
	var ids []uint64
	for i := range 20 {
		id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1+i%10)})
		ids = append(ids, id)
	}
	last := ids[9]
	if err := w.gate.MoveUp(user(flow.Chat, 10)); err != nil {
		t.Fatal(err)
	}
	w.want("nothing is free", w.step(Event{}))
	s, _ := w.gate.Status(w.now, last)
	list := w.gate.AppendFlows(nil, w.now, 3)
	if s.Position != 1 || len(list) != 3 || list[0].Key != user(flow.Chat, 10) || !list[0].MovedUp || list[1].Position < 2 {
		t.Errorf("who was moved up is told %+v; shown: %+v", s, list)
	}
	w.want("a seat is free", w.settle(running), last)
	w.want("and again", w.settle(last), ids[0])
	for i := range 8 {
		w.want("the others, before he has another turn", w.settle(ids[i]), ids[i+1])
	}
}

// TestI12Trip: what was tripped by hand gets nothing more, whatever time passes; who waits
// for it is told so, uses another upstream, and goes on after the reset.
func TestI12Trip(t *testing.T) {
	o := twoUp(Route{Upstreams: []int{0}}, Route{Upstreams: []int{0, 1}})
	o.Hold = 100 * time.Hour
	w := newWorld(t, o)
	running, _ := w.arrive(Ask{Route: 0, Flow: user(flow.Chat, 0)})
	sole, _ := w.arrive(Ask{Route: 0, Flow: user(flow.Chat, 1)})
	both, got := w.arrive(Ask{Route: 1, Flow: user(flow.Chat, 2)})
	w.want("the first upstream is full", got)
	if err := w.gate.Trip(w.now, "a"); err != nil {
		t.Fatal(err)
	}
	w.want("tripped: the second serves", w.step(Event{}), both)
	w.want("the end of what ran", w.settle(running))
	w.now = w.now.Add(50 * time.Hour)
	w.want("50 hours later", w.step(Event{}))
	if s, _ := w.gate.Status(w.now, sole); s.Reason != flow.ReasonBreaker || !s.Unknown {
		t.Errorf("who waits is told %+v", s)
	}
	if b := w.gate.Snapshot(w.now).Upstreams[0].Breaker; b.State != breaker.Open || !b.ByHand || b.Reason() == "" {
		t.Errorf("it is shown as %+v", b)
	}
	newcomer, got := w.arrive(Ask{Route: 0, Flow: user(flow.Chat, 3)})
	w.want("a newcomer is let in", got)
	if err := w.gate.ResetUpstream(w.now, "a"); err != nil {
		t.Fatal(err)
	}
	w.want("reset", w.step(Event{}), sole)
	w.want("the next", w.settle(sole), newcomer)
}

// TestI14Shadow: a class's rate and a limit that only watch hold nobody up, and what they
// would have held up is counted.
func TestI14Shadow(t *testing.T) {
	o := single(0, quota.Limit{Dim: quota.Requests, Max: 3, Kind: quota.Sliding, Shadow: true})
	o.Classes = []Class{{Name: flow.Chat, Rate: Rate{Max: 2, Per: time.Minute, Shadow: true}}}
	w := newWorld(t, o)
	for i := range 5 {
		id, got := w.arrive(Ask{Flow: user(flow.Chat, i)})
		w.want("a shadow holds nobody up", got, id)
	}
	s := w.gate.Snapshot(w.now)
	if c := s.ByClass[0]; c.Exceeded != 3 || c.Started != 2 || !c.Next.IsZero() {
		t.Errorf("the class is shown as %+v", c)
	}
	if l := s.Upstreams[0].Windows[0]; !l.Shadow || l.Exceeded != 2 || l.Used != 5 {
		t.Errorf("the limit is shown as %+v", l)
	}
	if l := w.gate.AppendLimits(nil, w.now, 0); len(l) != 0 {
		t.Errorf("clients are told of %+v", l)
	}
	o.Classes[0].Rate.Shadow = false
	w.want("reload", w.reconfigure(o))
	id, got := w.arrive(Ask{Flow: user(flow.Chat, 9)})
	w.want("now it holds", got)
	if s, _ := w.gate.Status(w.now, id); s.Reason != flow.ReasonRate {
		t.Errorf("who waits is told %+v", s)
	}
}

// TestReasonRate: who waits for his class's rate is told so while he waits, when he is
// refused and when he runs; who waits for a seat then is told that.
func TestReasonRate(t *testing.T) {
	o := single(2)
	o.Classes = []Class{{Name: "x", Rate: Rate{Max: 1, Per: time.Minute}}}
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user("x", 1)})
	w.settle(first)
	second, _ := w.arrive(Ask{Flow: user("x", 2)})
	third, _ := w.arrive(Ask{Flow: user("x", 3)})
	for _, id := range []uint64{second, third} {
		if s, _ := w.gate.Status(w.now, id); s.Reason != flow.ReasonRate || s.ETAP90 < 55*time.Second {
			t.Errorf("%d is told %+v", id, s)
		}
	}
	_, got := w.arrive(Ask{Flow: user("x", 4), Hold: w.now.Add(5 * time.Second)})
	if len(got) != 1 || got[0].Kind != Refuse || got[0].Refusal.Reason != flow.ReasonRate {
		t.Errorf("who cannot wait gets %+v", got)
	}
	w.now = w.gate.Wake()
	got = w.step(Event{})
	w.want("a minute later", got, second)
	if len(got) == 1 && got[0].Grant.Reason != flow.ReasonRate {
		t.Errorf("he waited for %q", got[0].Grant.Reason)
	}
	other, _ := w.arrive(Ask{Flow: user(flow.Chat, 5)}) // the second seat
	w.now = w.now.Add(2 * time.Minute)
	w.want("the seats are taken", w.step(Event{}))
	w.now = w.now.Add(time.Second)
	got = w.settle(other)
	w.want("a seat is free", got, third)
	if len(got) == 1 && got[0].Grant.Reason != flow.ReasonSeats {
		t.Errorf("he waited for %q last", got[0].Grant.Reason)
	}
}

// TestI9TenantReason: who waits for his tenant's own quota is told so.
func TestI9TenantReason(t *testing.T) {
	o := single(0)
	o.Tenants = []Tenant{{Name: "t", Seats: 1}}
	w := newWorld(t, o)
	first, _ := w.arrive(Ask{Flow: user(flow.Chat, 1), Size: llm.Size{TextBytes: 400}})
	var ids []uint64
	for i := range 3 {
		id, _ := w.arrive(Ask{Flow: user(flow.Chat, 2+i), Size: llm.Size{TextBytes: 400}})
		ids = append(ids, id)
	}
	w.now = w.now.Add(time.Second)
	got := w.settle(first)
	w.want("the seat is free", got, ids[0])
	if len(got) == 1 && got[0].Grant.Reason != flow.ReasonTenant {
		t.Errorf("he waited for %q", got[0].Grant.Reason)
	}
}

// smallTenant is a gate with a tenant of 1,000 tokens a minute, and its requests.
func smallTenant(t *testing.T) (w *world, ask func(user string, tokens int64) Ask) {
	t.Helper()
	o := single(0)
	o.Tenants = []Tenant{{Name: "small", Tokens: Rate{Max: 1000, Per: time.Minute}}}
	return newWorld(t, o), func(user string, tokens int64) Ask {
		return Ask{Flow: flow.Key{Class: flow.Chat, Tenant: "small", User: user}, Size: llm.Size{TextBytes: 4 * tokens, MaxOutput: 1}}
	}
}

// TestI9HaltedHeadLeaves: whoever waited behind a head that is beyond its tenant's quota
// runs at once when that head gives up.
func TestI9HaltedHeadLeaves(t *testing.T) {
	w, ask := smallTenant(t)
	first, got := w.arrive(ask("a", 500))
	w.want("within its tokens", got, first)
	second, got := w.arrive(ask("b", 800))
	w.want("beyond its tokens", got)
	third, got := w.arrive(ask("c", 100))
	w.want("behind the head", got)
	w.want("the head leaves", w.step(Event{Kind: Leave, ID: second}), third)
}

// TestI12MoveUpOfAHaltedTenant: who was moved up does not wait for a head of his tenant.
func TestI12MoveUpOfAHaltedTenant(t *testing.T) {
	w, ask := smallTenant(t)
	w.arrive(ask("a", 500))
	w.arrive(ask("b", 800))
	third, got := w.arrive(ask("c", 100))
	w.want("behind the head", got)
	if err := w.gate.MoveUp(ask("c", 1).Flow); err != nil {
		t.Fatal(err)
	}
	w.want("moved up", w.step(Event{}), third)
}

// TestI12MoveUpOfAShelvedTask: who was moved up is the next task that runs.
func TestI12MoveUpOfAShelvedTask(t *testing.T) {
	o := single(0)
	o.Tasks = 1
	w := newWorld(t, o)
	running, _ := w.arrive(Ask{Flow: user(flow.Chat, 0), Task: true})
	var ids []uint64
	for i := range 3 {
		id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1+i), Task: true})
		ids = append(ids, id)
	}
	if err := w.gate.MoveUp(user(flow.Chat, 3)); err != nil {
		t.Fatal(err)
	}
	w.want("no task more may run", w.step(Event{}))
	w.want("a task has ended", w.settle(running), ids[2])
	w.want("and again", w.settle(ids[2]), ids[0])
}

// TestI12EvictOfAKeptPlace: where nothing is evicted nothing changes.
func TestI12EvictOfAKeptPlace(t *testing.T) {
	w := newWorld(t, single(1))
	w.arrive(Ask{Flow: user(flow.Chat, 0)})
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1), Place: "p"})
	w.step(Event{Kind: Abandon, ID: id})
	if _, err := w.gate.Evict(w.now, user(flow.Chat, 1)); !errors.Is(err, ErrUnknown) {
		t.Fatalf("%v, want ErrUnknown", err)
	}
	w.step(Event{})
	if len(w.gate.places) != 1 {
		t.Error("the place of who will ask again is lost")
	}
}

// TestI13PausedClassGone: who waits in a paused class that a reload has taken away goes
// on, and is not told that it is paused.
func TestI13PausedClassGone(t *testing.T) {
	o := single(1)
	o.Classes = []Class{{Name: "x"}, {Name: flow.Chat}}
	w := newWorld(t, o)
	busy, _ := w.arrive(Ask{Flow: user(flow.Chat, 0)})
	id, _ := w.arrive(Ask{Flow: user("x", 1)})
	if err := w.gate.Pause("x"); err != nil {
		t.Fatal(err)
	}
	w.step(Event{})
	o.Classes = o.Classes[1:]
	w.reconfigure(o)
	if s, _ := w.gate.Status(w.now, id); s.Unknown || s.Reason == flow.ReasonPaused {
		t.Errorf("he is told %+v", s)
	}
	w.want("a seat is free", w.settle(busy), id)
}

// TestI7OneTenantLeavesRoom: a tenant cannot fill the queue of all, whatever names of
// users and classes it makes up.
func TestI7OneTenantLeavesRoom(t *testing.T) {
	o := single(1)
	o.MaxQueue, o.MaxTenant = 20, 10
	o.Classes = []Class{{Name: flow.Chat}, {Name: flow.Batch}}
	w := newWorld(t, o)
	w.arrive(Ask{Flow: user(flow.Chat, 0)}) // takes the seat
	ask := func(tenant string, i int) error {
		class := []flow.Class{flow.Chat, flow.Batch}[i%2]
		_, got := w.arrive(Ask{Flow: flow.Key{Class: class, Tenant: tenant, User: fmt.Sprint(i)}})
		if len(got) > 0 {
			return got[0].Refusal
		}
		return nil
	}
	for i := range 30 {
		if err := ask("greedy", i); (err != nil) != (i >= 10) || err != nil && !errors.Is(err, flow.ErrFlowFull) {
			t.Errorf("request %d of one tenant: %v", i+1, err)
		}
	}
	for i := range 10 {
		if err := ask("other", i); err != nil {
			t.Errorf("request %d of another: %v", i+1, err)
		}
	}
	if err := ask("third", 0); !errors.Is(err, flow.ErrQueueFull) {
		t.Errorf("beyond the queue: %v", err)
	}
}
