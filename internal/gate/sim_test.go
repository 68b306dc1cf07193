package gate

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// The discrete-event simulator of these tests drives a gate, or a FIFO that knows
// the upstream's exact bucket, in virtual time.

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// job is one request of a simulated user.
type job struct {
	id      uint64
	flow    flow.Key
	tokens  float64 // what it is thought to take, and what it takes at the provider
	actual  float64 // what it settles to
	service time.Duration
	arrived time.Time
	started time.Time
	ended   time.Time
	done    func(*job)
	refused bool
	index   int // for the test's own books
}

func (j *job) wait() float64    { return j.started.Sub(j.arrived).Seconds() }
func (j *job) latency() float64 { return j.ended.Sub(j.arrived).Seconds() }

// server is what the simulator drives.
type server interface {
	submit(now time.Time, j *job)
	finish(now time.Time, j *job)
	wake() time.Time
	tick(now time.Time)
}

// sim is the clock, and what happens when.
type sim struct {
	now     time.Time
	server  server
	agenda  agenda
	seq     uint64
	started []*job
	ended   []*job
	all     []*job
	watch   func(*job) // told when a job arrives, starts and ends
}

type appointment struct {
	at  time.Time
	seq uint64
	do  func()
}

type agenda []appointment

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func (s *sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.agenda, appointment{s.now.Add(d), s.seq, do})
}

func (s *sim) submit(j *job) {
	j.arrived = s.now
	s.all = append(s.all, j)
	s.tell(j)
	s.server.submit(s.now, j)
}

func (s *sim) tell(j *job) {
	if s.watch != nil {
		s.watch(j)
	}
}

// start is what a server calls when a job begins to run.
func (s *sim) start(j *job) {
	j.started = s.now
	s.started = append(s.started, j)
	s.tell(j)
	s.after(j.service, func() {
		j.ended = s.now
		s.ended = append(s.ended, j)
		s.tell(j)
		s.server.finish(s.now, j)
		if j.done != nil {
			j.done(j)
		}
	})
}

func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		at := end
		if len(s.agenda) > 0 && s.agenda[0].at.Before(at) {
			at = s.agenda[0].at
		}
		if w := s.server.wake(); !w.IsZero() && w.Before(at) {
			s.now = maxTime(s.now, w)
			s.server.tick(s.now)
			continue
		}
		if len(s.agenda) == 0 || !s.agenda[0].at.Before(end) {
			s.now = end
			return
		}
		s.now = at
		heap.Pop(&s.agenda).(appointment).do()
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// gated is a gate as a server.
type gated struct {
	sim  *sim
	gate *Gate
	jobs map[uint64]*job
}

func newGated(t testing.TB, o Options) *sim {
	t.Helper()
	g, err := New(epoch, o)
	if err != nil {
		t.Fatal(err)
	}
	s := &sim{now: epoch}
	s.server = &gated{sim: s, gate: g, jobs: make(map[uint64]*job)}
	return s
}

func (g *gated) submit(now time.Time, j *job) {
	j.id = uint64(len(g.sim.all))
	g.jobs[j.id] = j
	g.apply(g.gate.Step(now, Event{Kind: Arrive, ID: j.id, Ask: &Ask{
		Flow: j.flow, Size: llm.Size{TextBytes: int64(4 * j.tokens)},
	}}))
}

func (g *gated) finish(now time.Time, j *job) {
	g.apply(g.gate.Step(now, Event{Kind: Settle, ID: j.id, Result: Result{
		Sent: true, Usage: llm.Usage{Input: int64(j.actual)},
	}}))
}

func (g *gated) wake() time.Time    { return g.gate.Wake() }
func (g *gated) tick(now time.Time) { g.apply(g.gate.Step(now, Event{})) }

func (g *gated) apply(actions []Action) {
	for _, a := range slices.Clone(actions) {
		j := g.jobs[a.ID]
		if a.Kind == Dispatch {
			g.sim.start(j)
			continue
		}
		j.refused = true
	}
}

// fifo serves in order of arrival, through the same windows as the gate.
type fifo struct {
	sim   *sim
	quota *quota.Quota
	meter quota.Meter
	held  map[*job]quota.Reservation
	queue []*job
}

func newFIFO(t testing.TB, o Options) *sim {
	t.Helper()
	q, err := quota.New(epoch, o.Upstreams[0].Quota)
	if err != nil {
		t.Fatal(err)
	}
	s := &sim{now: epoch}
	s.server = &fifo{sim: s, quota: q, meter: exact(), held: make(map[*job]quota.Reservation)}
	return s
}

func (f *fifo) need(j *job) quota.Amount {
	return f.meter.Charge(llm.Size{TextBytes: int64(4 * j.tokens)})
}

func (f *fifo) submit(now time.Time, j *job) {
	f.queue = append(f.queue, j)
	f.tick(now)
}

func (f *fifo) finish(now time.Time, j *job) {
	f.quota.Settle(now, f.held[j], f.need(j))
	delete(f.held, j)
	f.tick(now)
}

func (f *fifo) wake() time.Time {
	if len(f.queue) == 0 {
		return time.Time{}
	}
	at, _ := f.quota.Next(f.sim.now, f.need(f.queue[0]))
	return at
}

func (f *fifo) tick(now time.Time) {
	for len(f.queue) > 0 {
		r, ok := f.quota.Reserve(now, f.need(f.queue[0]))
		if !ok {
			break
		}
		j := f.queue[0]
		f.queue = f.queue[1:]
		f.held[j] = r
		f.sim.start(j)
	}
	f.quota.Saturate(now, len(f.queue) > 0)
}

// bucketed is an upstream with buckets, as the scenarios have it.
type bucketed struct {
	rate, burst            float64 // tokens per second, tokens
	requests, requestBurst float64 // per minute, requests
	seats                  int
}

// exact is the meter of the scenarios: a quarter of the text, corrected by usage.
func exact() quota.Meter {
	return quota.Meter{Name: "exact", Reserve: quota.ReserveLarger, Settle: quota.SettleUsage}
}

func (b bucketed) options() Options {
	return Options{
		Upstreams: []Upstream{{Name: "up", Quota: quota.Options{
			Limits: []quota.Limit{
				{Dim: quota.Total, Max: int64(b.rate * 60), Kind: quota.Bucket, Burst: int64(b.burst)},
				{Dim: quota.Requests, Max: int64(b.requests), Kind: quota.Bucket, Burst: int64(b.requestBurst)},
			},
			Seats: b.seats, Meter: exact(),
		}}},
		Routes: []Route{{Upstreams: []int{0}}},
		Hold:   100 * time.Hour,
	}
}

// draws are the random numbers of a scenario.
type draws struct{ *rand.Rand }

func newDraws(seed uint64) draws { return draws{rand.New(rand.NewPCG(seed, 7))} }

func (d draws) lognormal(mean, sigma float64) float64 {
	return mean * math.Exp(sigma*d.NormFloat64()-sigma*sigma/2)
}

func (d draws) service(mean float64) time.Duration {
	return time.Duration(d.lognormal(mean, 0.5) * float64(time.Second))
}

func user(class flow.Class, i int) flow.Key {
	return flow.Key{Class: class, Tenant: "t", User: string(class) + "-" + strconv.Itoa(i)}
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(len(values), 1))
}

func waits(jobs []*job, class flow.Class) []float64 {
	var out []float64
	for _, j := range jobs {
		if j.flow.Class == class {
			out = append(out, j.wait())
		}
	}
	return out
}
