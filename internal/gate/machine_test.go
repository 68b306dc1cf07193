package gate

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// machine sends random events to a gate of two upstreams and keeps books of its own.
type machine struct {
	gate    *Gate
	now     time.Time
	lastID  uint64
	waiting map[uint64]bool
	running map[uint64]int // id -> upstream
	ended   map[uint64]bool
	sent    [2][]dispatched // that the upstream counts
	starts  []time.Time     // dispatches of the class with a rate
	classOf map[uint64]flow.Class
	ready   [2]bool // breakers before the step
	tenants map[uint64]string
	tasks   map[uint64]bool
	mine    []time.Time // dispatches of the limited tenant that its quota counts
	split   bool        // the configuration in force has two groups of upstreams

	steps   int
	keys    map[uint64]flow.Key
	since   map[uint64]time.Time // when it began to wait
	paused  map[flow.Class]bool
	tripped [2]bool
	evicted map[uint64]bool // by the operator, in the next step
}

// dispatched is one attempt.
type dispatched struct {
	id uint64
	at time.Time
}

const (
	machineRequests = 30 // a minute and upstream
	machineSeats    = 4
	machineRate     = 5 // a minute, class analysis
	machineQueue    = 8
	machineFlow     = 5
	machineTasks    = 3
	machineTenant   = 8 // a minute, tenant limited
	machinePlaces   = 2 // seats of that tenant
)

// machineOptions are those of the machine's gate. Split, no route connects its two
// upstreams, and another limit holds for tokens.
func machineOptions(split bool) Options {
	tokens := int64(40_000)
	routes := []Route{{Upstreams: []int{0}}, {Upstreams: []int{0, 1}}, {Upstreams: []int{1, 0}, Spill: true, SpillAfter: 2 * time.Second}}
	if split {
		tokens = 50_000
		routes = []Route{{Upstreams: []int{0}}, {Upstreams: []int{0}}, {Upstreams: []int{1}}}
	}
	upstream := func(name string) Upstream {
		return Upstream{
			Name: name,
			Quota: quota.Options{
				Limits: []quota.Limit{
					{Dim: quota.Requests, Max: 2, Kind: quota.Sliding, Shadow: true},
					{Dim: quota.Requests, Max: machineRequests, Kind: quota.Sliding},
					{Dim: quota.Total, Max: tokens, Kind: quota.Bucket, Burst: 10_000},
				},
				Seats: machineSeats, Meter: exact(),
			},
			Breaker: breaker.Options{Failures: 3, Open: 20 * time.Second},
		}
	}
	return Options{
		Upstreams: []Upstream{upstream("a"), upstream("b")}, Routes: routes,
		Classes:  []Class{{Name: flow.Chat, Weight: 6}, {Name: flow.Analysis, Weight: 3, Rate: Rate{Max: machineRate, Per: time.Minute}}, {Name: flow.Batch, Rate: Rate{Max: 1, Per: time.Minute, Shadow: true}}},
		Tenants:  []Tenant{{Name: "limited", Weight: 2, Requests: Rate{Max: machineTenant, Per: time.Minute}, Seats: machinePlaces}},
		Tasks:    machineTasks,
		MaxQueue: machineQueue, MaxFlow: machineFlow, Hold: 10 * time.Minute,
	}
}

func newMachine(t *rapid.T) *machine {
	g, err := New(epoch, machineOptions(false))
	if err != nil {
		t.Fatal(err)
	}
	return &machine{
		gate: g, now: epoch, waiting: make(map[uint64]bool), running: make(map[uint64]int),
		ended: make(map[uint64]bool), classOf: make(map[uint64]flow.Class),
		tenants: make(map[uint64]string), tasks: make(map[uint64]bool),
		keys: make(map[uint64]flow.Key), since: make(map[uint64]time.Time),
		paused: make(map[flow.Class]bool), evicted: make(map[uint64]bool),
	}
}

// reshape puts the other configuration in force.
func (m *machine) reshape() error {
	m.split = !m.split
	if err := m.gate.Reconfigure(m.now, machineOptions(m.split)); err != nil {
		return err
	}
	return m.step(Event{})
}

// queued is how many requests stand in the queues, and how many of one flow, beside tasks.
func (m *machine) queued(user flow.Key) (all, mine int) {
	for _, e := range m.gate.entries {
		if !e.item.Waiting() || e.ask.Task {
			continue
		}
		if all++; e.ask.Flow == user {
			mine++
		}
	}
	return all, mine
}

func (m *machine) step(ev Event) error {
	for u := range m.ready {
		m.ready[u] = m.gate.ready(m.now, u)
	}
	for _, a := range m.gate.Step(m.now, ev) {
		if err := m.take(a); err != nil {
			return err
		}
	}
	for id := range m.evicted {
		if m.waiting[id] {
			return fmt.Errorf("I12: request %d was evicted and still waits", id)
		}
	}
	clear(m.evicted)
	if m.steps++; m.steps%4 == 0 {
		return errors.Join(m.check(), m.look())
	}
	return m.check()
}

// take applies an action to the machine's own books.
func (m *machine) take(a Action) error {
	switch {
	case m.ended[a.ID]:
		return fmt.Errorf("I2: request %d had ended, and got action %d", a.ID, a.Kind)
	case !m.waiting[a.ID]:
		return fmt.Errorf("I2: request %d does not wait, and got action %d", a.ID, a.Kind)
	}
	delete(m.waiting, a.ID)
	if a.Kind != Dispatch {
		if a.Refusal == nil || !errors.Is(a.Refusal, flow.ErrRefused) && !errors.Is(a.Refusal, flow.ErrEvicted) {
			return fmt.Errorf("I2: request %d was turned away without a reason: %w", a.ID, a.Refusal)
		}
		if m.evicted[a.ID] != errors.Is(a.Refusal, flow.ErrRemoved) {
			return fmt.Errorf("I12: request %d ended with %w; an operator took it out: %v", a.ID, a.Refusal, m.evicted[a.ID])
		}
		m.ended[a.ID] = true
		return nil
	}
	if m.paused[m.classOf[a.ID]] || m.tripped[a.Grant.Upstream] || m.evicted[a.ID] {
		return fmt.Errorf("I12: request %d of %s runs at upstream %d; paused %v, tripped %v, evicted %v",
			a.ID, m.classOf[a.ID], a.Grant.Upstream, m.paused, m.tripped, m.evicted[a.ID])
	}
	if a.Grant.Waits.Total() != a.Grant.Waited {
		return fmt.Errorf("I15: request %d waited for %v: %v", a.ID, a.Grant.Waited, a.Grant.Waits)
	}
	m.running[a.ID] = a.Grant.Upstream
	m.sent[a.Grant.Upstream] = append(m.sent[a.Grant.Upstream], dispatched{a.ID, m.now})
	if m.classOf[a.ID] == flow.Analysis {
		m.starts = append(m.starts, m.now)
	}
	if m.tenants[a.ID] == "limited" {
		m.mine = append(m.mine, m.now)
	}
	return nil
}

// check compares the books with what the gate promises.
func (m *machine) check() error {
	inUse, tasks, mine := [2]int{}, 0, 0
	for id, u := range m.running {
		inUse[u]++
		if m.tasks[id] {
			tasks++
		}
		if m.tenants[id] == "limited" {
			mine++
		}
	}
	if tasks > machineTasks || m.gate.tasks != tasks {
		return fmt.Errorf("I10: %d tasks run, the gate counts %d and allows %d", tasks, m.gate.tasks, machineTasks)
	}
	if n := within(m.mine, m.now, time.Minute); mine > machinePlaces || n > machineTenant {
		return fmt.Errorf("I9: %d requests of the limited tenant run, %d in a minute", mine, n)
	}
	for u := range inUse {
		if inUse[u] > machineSeats {
			return fmt.Errorf("I3: %d requests run on upstream %d, it has %d seats", inUse[u], u, machineSeats)
		}
		times := make([]time.Time, len(m.sent[u]))
		for i, d := range m.sent[u] {
			times[i] = d.at
		}
		if n := within(times, m.now, time.Minute); n > machineRequests {
			return fmt.Errorf("I3: %d requests in a minute on upstream %d", n, u)
		}
	}
	if n := within(m.starts, m.now, time.Minute); n > machineRate {
		return fmt.Errorf("I5: %d starts of class analysis in a minute", n)
	}
	n := 0
	for _, p := range m.gate.pools {
		n += p.queue.Len()
	}
	if n != len(m.waiting) {
		return fmt.Errorf("I7: the queue holds %d, %d wait", n, len(m.waiting))
	}
	if wake := m.gate.Wake(); len(m.waiting) > 0 && wake.IsZero() && len(m.running) == 0 {
		return fmt.Errorf("I6: %d wait, nothing runs, and no wake-up is set", len(m.waiting))
	}
	return nil
}

func within(times []time.Time, now time.Time, span time.Duration) int {
	count := 0
	for i := len(times) - 1; i >= 0 && now.Sub(times[i]) < span; i-- {
		count++
	}
	return count
}

func (m *machine) arrive(t *rapid.T) error {
	m.lastID++
	class := rapid.SampledFrom([]flow.Class{flow.Chat, flow.Chat, flow.Analysis, flow.Batch}).Draw(t, "class")
	m.waiting[m.lastID], m.classOf[m.lastID] = true, class
	m.tenants[m.lastID] = rapid.SampledFrom([]string{"t", "t", "limited"}).Draw(t, "tenant")
	m.tasks[m.lastID] = rapid.Bool().Draw(t, "task")
	user := flow.Key{Class: class, Tenant: m.tenants[m.lastID], User: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "user")}
	m.keys[m.lastID], m.since[m.lastID] = user, m.now
	before, mine := m.queued(user)
	err := m.step(Event{Kind: Arrive, ID: m.lastID, Ask: &Ask{
		Route: rapid.IntRange(0, 2).Draw(t, "route"),
		Flow:  user,
		Size:  llm.Size{TextBytes: int64(rapid.SampledFrom([]int{400, 8000, 36_000, 60_000}).Draw(t, "bytes"))},
		Task:  m.tasks[m.lastID],
		Hold:  m.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "hold")) * time.Second),
	}})
	after, now := m.queued(user)
	if after > before && after > machineQueue {
		return fmt.Errorf("I7: a newcomer made the queue %d long beside tasks, the bound is %d", after, machineQueue)
	}
	if now > mine && now > machineFlow {
		return fmt.Errorf("I7: a newcomer made its flow %d long, the bound is %d", now, machineFlow)
	}
	return err
}

func (m *machine) result(t *rapid.T) Result {
	kind := rapid.SampledFrom([]llm.ErrorKind{
		llm.KindNone, llm.KindNone, llm.KindNone, llm.KindThrottle, llm.KindTransient, llm.KindCanceled, llm.KindInvalid, llm.KindTimeout,
	}).Draw(t, "kind")
	r := Result{Kind: kind, Sent: rapid.IntRange(0, 9).Draw(t, "sent") > 0}
	if kind == llm.KindNone {
		r.Usage = llm.Usage{Input: int64(rapid.IntRange(1, 20_000).Draw(t, "usage"))}
	}
	return r
}

// pick chooses one of a set of requests; 0 if there is none.
func pick[V any](t *rapid.T, set map[uint64]V, last uint64) uint64 {
	if len(set) == 0 {
		return 0
	}
	from := uint64(rapid.IntRange(0, int(last)).Draw(t, "from"))
	for i := range last + 1 {
		if id := (from + i) % (last + 1); id != 0 {
			if _, ok := set[id]; ok {
				return id
			}
		}
	}
	return 0
}

func (m *machine) settle(t *rapid.T) error {
	id := pick(t, m.running, m.lastID)
	if id == 0 {
		return nil
	}
	u := m.running[id]
	delete(m.running, id)
	r := m.result(t)
	if !r.Sent || r.Kind == llm.KindThrottle { // the upstream counts nothing
		last := m.latest(u, id)
		m.sent[u] = slices.DeleteFunc(m.sent[u], func(d dispatched) bool { return d.id == id && d.at.Equal(last) })
		if i := slices.IndexFunc(m.mine, last.Equal); i >= 0 && m.tenants[id] == "limited" {
			m.mine = slices.Delete(m.mine, i, i+1)
		}
	}
	if r.Kind.Fallback() || r.Kind == llm.KindThrottle {
		m.waiting[id], m.since[id] = true, m.now
		return m.step(Event{Kind: Again, ID: id, Result: r})
	}
	m.ended[id] = true
	return m.step(Event{Kind: Settle, ID: id, Result: r})
}

// latest is when the request was last sent to the upstream.
func (m *machine) latest(u int, id uint64) (at time.Time) {
	for _, d := range m.sent[u] {
		if d.id == id {
			at = d.at
		}
	}
	return at
}

func (m *machine) leave(t *rapid.T) error {
	id := pick(t, m.waiting, m.lastID)
	if id == 0 {
		return nil
	}
	delete(m.waiting, id)
	m.ended[id] = true
	return m.step(Event{Kind: Leave, ID: id})
}

// pass lets time pass, stepping at each wake-up.
func (m *machine) pass(d time.Duration) error {
	end := m.now.Add(d)
	for range 100_000 {
		wake := m.gate.Wake()
		if wake.IsZero() || wake.After(end) {
			m.now = end
			return m.step(Event{})
		}
		if wake.After(m.now) {
			m.now = wake
		}
		before, _ := m.queued(flow.Key{})
		if err := m.step(Event{}); err != nil {
			return err
		}
		if after, _ := m.queued(flow.Key{}); m.gate.Wake().Equal(wake) && after == before {
			return fmt.Errorf("I6: the wake-up at %v did nothing and stands", wake.Sub(epoch))
		}
	}
	return errors.New("I6: the gate wakes without end")
}

// TestI1Exact: whatever happens, in whatever order, the gate keeps all its promises
// after every step, and in the end nothing is outstanding.
func TestI1Exact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		for range rapid.IntRange(20, 150).Draw(t, "steps") {
			var err error
			switch rapid.IntRange(0, 12).Draw(t, "op") {
			case 11, 12:
				err = m.operate(t)
			case 10:
				err = m.reshape()
			case 0, 1, 2, 3:
				err = m.arrive(t)
			case 4, 5, 6:
				err = m.settle(t)
			case 7:
				err = m.leave(t)
			default:
				err = m.pass(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		m.finish(t)
	})
}

// finish lets all that is left run out: running requests are answered, time passes.
func (m *machine) finish(t *rapid.T) {
	for class := range m.paused {
		if err := m.gate.Resume(class); err != nil {
			t.Fatal(err)
		}
	}
	clear(m.paused)
	m.tripped = [2]bool{}
	m.gate.Reset(m.now)
	for range 10_000 {
		if len(m.waiting)+len(m.running) == 0 {
			break
		}
		for id := range m.running {
			delete(m.running, id)
			m.ended[id] = true
			if err := m.step(Event{Kind: Settle, ID: id, Result: Result{Sent: true, Usage: llm.Usage{Input: 1000}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.pass(time.Second); err != nil {
			t.Fatal(err)
		}
	}
	s := m.gate.Snapshot(m.now)
	flows := s.Flows
	for _, p := range m.gate.pools {
		flows += p.queue.Flows() // those included that owe
	}
	if len(m.waiting) > 0 || s.Waiting > 0 || flows > 0 || len(m.gate.entries) > 0 || len(m.gate.due) > 0 {
		t.Fatalf("I1: left behind: %d waiting, %d queued, %d flows, %d entries, %d due", len(m.waiting), s.Waiting, flows, len(m.gate.entries), len(m.gate.due))
	}
	for _, u := range s.Upstreams {
		if u.Outstanding != 0 || u.InUse != 0 {
			t.Fatalf("I1: upstream %s: %d outstanding, %d seats in use", u.Name, u.Outstanding, u.InUse)
		}
	}
}
