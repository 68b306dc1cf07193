package capacity

import (
	"errors"
	"math"
	"slices"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// points is the length of a series.
const points = 120

// tally counts requests. Arrived is the sum of the others.
type tally struct{ arrived, served, refused, evicted, left int64 }

// book is what was seen in one simulation.
type book struct {
	o         *Options
	limits    []Limit
	from, end int64 // of the measured time

	all      tally // from the very beginning
	measured tally // of those that arrived in the measured time
	gateLeft int   // what the gate itself says is left
	causes   map[string]int64
	classes  []classBook // by place in the mix

	charged  [][quota.NumDims]float64 // by upstream, in the measured time
	room     [][]float64              // what each window may be charged beyond its rate
	starts   map[flow.Class]int64     // in the measured time
	busy     []float64                // seat seconds by upstream
	tasks    float64                  // task seconds
	running  []int                    // by upstream
	runs     int
	most     int // in the measured time
	waiting  int
	cost     []float64 // tokens served by user
	askedBy  []bool    // users who asked
	waits    series
	seats    series
	answered series
	ended    int64 // answers in the measured time

	dispatched int64        // from the very beginning
	service    float64      // ns that their answers take, together
	tenants    []tenantBook // by place in Gate.Tenants
	tenantOf   []int        // by place in Work.Tenants; -1 where nothing is limited

	enough   float64 // requests that, answered late, are too many
	late     int64   // requests that were
	queued   int64   // measured requests that wait
	marked   int64   // of them, those that were there at the mark and may still be
	mark     int64
	hopeless bool
}

// classBook is what was seen of one class.
type classBook struct {
	tally
	waits []float32 // seconds, of answers
}

// series is a quantity over the whole simulation in equal parts.
type series [points]float64

// tenantBook is what one tenant used in the measured time.
type tenantBook struct {
	starts, tokens int64
	running        int
	busy           float64 // seat seconds
}

func newBook(o *Options, users int, end int64) *book {
	n := len(o.Gate.Upstreams)
	expected := float64(users) * float64(end-int64(o.WarmUp)) / float64(o.Work.gap())
	if o.Work.Trace != nil {
		expected = float64(len(o.Work.Trace))
	}
	var tenants []int
	for _, name := range o.Work.Tenants {
		tenants = append(tenants, slices.IndexFunc(o.Gate.Tenants, func(t gate.Tenant) bool { return t.Name == name }))
	}
	return &book{
		tenants: make([]tenantBook, len(o.Gate.Tenants)), tenantOf: tenants,
		enough: 0.06*expected + 10,
		o:      o, limits: limitsOf(o), from: int64(o.WarmUp), end: end,
		causes: make(map[string]int64), classes: make([]classBook, len(o.Work.Mix)),
		charged: make([][quota.NumDims]float64, n), room: make([][]float64, n), starts: make(map[flow.Class]int64),
		busy: make([]float64, n), running: make([]int, n),
		cost: make([]float64, users), askedBy: make([]bool, users),
	}
}

// judge notes whether too many have waited too long for the simulation to end well.
// Of those that stood in the queue a while ago at least so many still do as are not
// made up for by departures.
func (b *book) judge(now int64) {
	if now-b.mark >= int64(b.o.MaxP95) {
		if b.marked > 0 && float64(b.late+b.marked) > b.enough {
			b.hopeless = true
		}
		b.mark, b.marked = now, b.queued
	}
	b.hopeless = b.hopeless || float64(b.late) > b.enough
}

// during reports whether a moment is measured.
func (b *book) during(now int64) bool { return now >= b.from && now < b.end }

// begin notes what the buckets hold when the measured time begins: that can be
// spent beside what comes back.
func (b *book) begin(s gate.Snapshot) {
	for u := range s.Upstreams {
		for _, w := range s.Upstreams[u].Windows {
			room := 0.0
			if w.Kind == quota.Bucket {
				room = float64(w.Free)
			}
			b.room[u] = append(b.room[u], room)
		}
	}
}

// pass books that time goes by.
func (b *book) pass(from, to int64) {
	b.waits.add(b, from, to, float64(b.waiting))
	b.seats.add(b, from, to, float64(b.runs))
	from, to = max(from, b.from), min(to, b.end)
	if to <= from || b.runs == 0 {
		return
	}
	b.most = max(b.most, b.runs)
	seconds := float64(to-from) / 1e9
	for u, n := range b.running {
		b.busy[u] += float64(n) * seconds
	}
	for i := range b.tenants {
		b.tenants[i].busy += float64(b.tenants[i].running) * seconds
	}
	if b.o.Work.Manner == Task {
		b.tasks += float64(b.runs) * seconds
	}
}

// add spreads value over the parts between two moments; each part ends up with its mean.
func (s *series) add(b *book, from, to int64, value float64) {
	to = min(to, b.end)
	if value == 0 || from >= to {
		return
	}
	part := float64(b.end) / points
	for i := int(float64(from) / part); i < points; i++ {
		low, high := max(float64(from), float64(i)*part), min(float64(to), float64(i+1)*part)
		if high <= low {
			break
		}
		s[i] += value * (high - low) / part
	}
}

func (b *book) arrive(r *request) {
	b.all.arrived++
	b.waiting++
	if r.measured {
		b.measured.arrived++
		b.classes[r.class].arrived++
		b.askedBy[r.user] = true
		b.queued++
	}
}

// depart books that a request leaves the queue.
func (b *book) depart(now int64, r *request, late bool) {
	b.waiting--
	if !r.measured {
		return
	}
	b.queued--
	b.marked--
	if late {
		b.late++
	}
	if b.o.brief && b.enough > 0 {
		b.judge(now)
	}
}

func (b *book) start(now int64, r *request) {
	b.depart(now, r, now-r.arrived > int64(b.o.MaxP95))
	b.runs++
	b.running[r.upstream]++
	t := b.tenant(r)
	t.running++
	if !b.during(now) {
		return
	}
	t.starts++
	b.starts[b.o.Work.Mix[r.class].Class]++
	meter := &b.o.Gate.Upstreams[r.upstream].Quota.Meter
	b.charge(r.upstream, meter.Charge(r.grant.Size), 1)
}

// tenant is the book of a request's tenant; nobody looks into that of one without limits.
func (b *book) tenant(r *request) *tenantBook {
	if i := b.tenantOf[int(r.user)%len(b.tenantOf)]; i >= 0 {
		return &b.tenants[i]
	}
	return &tenantBook{}
}

func (b *book) charge(upstream int32, a quota.Amount, sign float64) {
	for d, n := range a {
		b.charged[upstream][d] += sign * float64(n)
	}
}

// finish books an answer.
func (b *book) finish(now int64, r *request, usage llm.Usage) {
	b.runs--
	b.running[r.upstream]--
	b.tenant(r).running--
	b.all.served++
	if b.during(now) {
		meter := &b.o.Gate.Upstreams[r.upstream].Quota.Meter
		held := meter.Charge(r.grant.Size)
		b.charge(r.upstream, held, -1)
		b.charge(r.upstream, meter.Actual(held, usage, r.grant.Size), 1)
		b.answered[min(int(float64(now)*points/float64(b.end)), points-1)]++
		b.ended++
		b.tenant(r).tokens += usage.Total()
		b.cost[r.user] += float64(usage.Total())
	}
	if r.measured {
		b.measured.served++
		class := &b.classes[r.class]
		class.served++
		class.waits = append(class.waits, float32(r.grant.Waited.Seconds()))
	}
}

// lose books a request that the gate turned away or took out of the queue.
func (b *book) lose(now int64, r *request, a *gate.Action) {
	b.depart(now, r, true)
	refused := func(t *tally) *int64 {
		if a.Kind == gate.Evict {
			return &t.evicted
		}
		return &t.refused
	}
	*refused(&b.all)++
	if r.measured {
		*refused(&b.measured)++
		*refused(&b.classes[r.class].tally)++
		b.causes[cause(a.Refusal)]++
	}
}

// causes are why a request is lost, as reports call them.
var causes = []struct {
	err  error
	name string
}{
	{flow.ErrTooLong, "wait_too_long"},
	{flow.ErrQueueFull, "queue_full"},
	{flow.ErrFlowFull, "user_queue_full"},
	{flow.ErrTooLarge, "too_large"},
	{flow.ErrHold, "hold_expired"},
}

func cause(why *gate.Refusal) string {
	for _, c := range causes {
		if errors.Is(why, c.err) {
			return c.name
		}
	}
	return "other"
}

// close books what has not ended.
func (b *book) close(waiting, outstanding int) {
	b.gateLeft = waiting + outstanding
	rest := func(t *tally) { t.left = t.arrived - t.served - t.refused - t.evicted }
	rest(&b.all)
	rest(&b.measured)
	for i := range b.classes {
		rest(&b.classes[i].tally)
	}
}

// seconds is the measured time.
func (b *book) seconds() float64 { return float64(b.end-b.from) / 1e9 }

// lost is the share of requests that got no answer, 0 to 1.
func (t *tally) lost() float64 {
	if t.arrived == 0 {
		return 0
	}
	return float64(t.arrived-t.served) / float64(t.arrived)
}

// quantiles are the p50 and p95 of waits in seconds, all classes together.
func (b *book) quantiles() (p50, p95 float64) {
	if len(b.classes) == 1 {
		return quantiles(b.classes[0].waits)
	}
	var all []float32
	for i := range b.classes {
		all = append(all, b.classes[i].waits...)
	}
	return quantiles(all)
}

func quantiles(waits []float32) (p50, p95 float64) {
	if len(waits) == 0 {
		return 0, 0
	}
	slices.Sort(waits)
	at := func(q float64) float64 { return float64(waits[min(int(q*float64(len(waits))), len(waits)-1)]) }
	return at(0.5), at(0.95)
}

// worst is the highest p95 wait of a class: a class that is served at once must not
// hide another that waits.
func (b *book) worst() float64 {
	worst := 0.0
	for i := range b.classes {
		_, p95 := quantiles(b.classes[i].waits)
		worst = max(worst, p95)
	}
	return worst
}

// tolerated is the share of lost requests that is still called none.
const tolerated = 0.001

// meets reports whether all were answered in time.
func (b *book) meets() bool {
	spent, _ := b.spent()
	return !b.hopeless && !b.unseen() && b.measured.lost() <= tolerated && b.worst() <= b.o.MaxP95.Seconds() && spent == nil
}

// spent is the limit over more time than was measured, such as a day's, that going on so
// would use up first, and after how much of that time, in seconds; nil if there is none.
// A bucket fills up again meanwhile, and a trace may have ended.
func (b *book) spent() (first *Limit, after float64) {
	t := b.seconds()
	if b.o.Work.Trace != nil {
		return nil, 0
	}
	for _, l := range b.limits {
		if l.Shadow || l.Per.Seconds() <= t || l.kind == quotaLimit && b.o.Gate.Upstreams[l.index].Quota.Limits[l.window].Kind == quota.Bucket {
			continue
		}
		if at := t / b.used(&l); at < l.Per.Seconds() && (first == nil || at < after) {
			first, after = &l, at
		}
	}
	return first, after
}

// misery is one figure of how bad it is, to compare what lifts: a lost request weighs
// as much as half an hour of waiting.
func (b *book) misery() float64 {
	misery := b.measured.lost()*1800 + b.worst()
	if l, after := b.spent(); l != nil { // after that all are lost
		misery += (1 - after/l.Per.Seconds()) * 1800
	}
	return misery
}

// jain is Jain's index of the tokens served per user who asked.
func (b *book) jain() float64 {
	n, sum, squares := 0.0, 0.0, 0.0
	for i, asked := range b.askedBy {
		if asked {
			n++
			sum += b.cost[i]
			squares += b.cost[i] * b.cost[i]
		}
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (n * squares)
}

// used is the share of a limit that was used in the measured time, 0 to 1.
func (b *book) used(l *Limit) float64 {
	t, limit := b.seconds(), float64(l.Max)
	if limit == 0 || t == 0 {
		return 0
	}
	switch l.kind {
	case seatLimit:
		return b.busy[l.index] / t / limit
	case taskLimit:
		return b.tasks / t / limit
	case tenantLimit:
		return b.tenants[l.index].used(l, t) / limit
	case classLimit:
		return float64(b.starts[b.o.Gate.Classes[l.index].Name]) / (limit * max(t/l.Per.Seconds(), 1))
	case quotaLimit:
		room := 0.0
		if l.window < len(b.room[l.index]) {
			room = b.room[l.index][l.window]
		}
		return b.charged[l.index][l.dim] / (limit*max(t/l.Per.Seconds(), 1) + room)
	}
	return 0
}

// used is what a tenant used of a limit in t seconds, in its own unit.
func (b *tenantBook) used(l *Limit, t float64) float64 {
	if l.Per == 0 {
		return b.busy / t
	}
	n := b.starts
	if l.dim == quota.Total {
		n = b.tokens
	}
	return float64(n) / max(t/l.Per.Seconds(), 1)
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// course is the series of a report.
func (b *book) course() Series {
	return Series{Step: float64(b.end) / 1e9 / points, Waiting: b.waits[:], Running: b.seats[:], Served: b.answered[:]}
}
