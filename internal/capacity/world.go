package capacity

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/capacity/agenda"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
)

// Pauses and bounds of a simulation.
const (
	errorPause = 100 * time.Millisecond // what a user who does not think waits after a refusal
	grace      = time.Hour              // how long the last to be dispatched may run; more where answers take long
	patience   = 4096                   // events between two looks at the context
)

// What an appointment is about.
const (
	ask    uint8 = iota // user number who means to ask
	arrive              // the next arrival of an open loop or a trace
	finish              // request number who is answered
	begin               // the measured time begins
)

// epoch is when every simulation begins.
func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// world is one simulation: users, a gate, and upstreams that take their time.
type world struct {
	o     *Options
	gate  *gate.Gate
	epoch time.Time
	users int

	now      int64 // ns since the epoch
	end      int64 // of the measured time; nobody asks after it
	stop     int64 // the grace is over
	agenda   agenda.Agenda
	loops    []loop
	names    []string // of users
	requests []request
	free     []int32 // requests that are not in use
	open     opening
	parts    float64 // of the mix
	ask      gate.Ask
	running  []int // by upstream
	book     *book
}

// loop is one user who asks, waits, thinks and asks again.
type loop struct {
	draws draws
	due   int64 // when he meant to ask last
	pause int64 // drawn with that request
}

// opening is where an open loop or a trace stands.
type opening struct {
	draws draws
	next  int     // arrival
	gap   float64 // mean, in ns
	speed float64 // of a trace
}

// request is one that has arrived and not ended. Its place in world.requests is its
// number, from 1 its ID.
type request struct {
	user     int32
	class    uint8
	measured bool
	runs     bool
	input    int32
	output   int32
	arrived  int64
	upstream int32
	grant    gate.Grant
}

// simulate plays one number of users and returns what was seen.
func simulate(ctx context.Context, o *Options, users int) (*book, error) {
	w := &world{o: o, users: users, epoch: epoch(), running: make([]int, len(o.Gate.Upstreams))}
	var err error
	if w.gate, err = gate.New(w.epoch, o.Gate); err != nil {
		return nil, fmt.Errorf("capacity: %w", err)
	}
	for _, s := range o.Work.Mix {
		w.parts += s.Part
	}
	w.span()
	w.book = newBook(o, w.users, w.end)
	w.populate()
	w.agenda.Add(int64(o.WarmUp), begin, 0)
	return w.book, w.run(ctx)
}

// span sets when the simulation ends.
func (w *world) span() {
	last := w.o.Duration
	if trace := w.o.Work.Trace; trace != nil {
		w.open.speed = float64(w.users) / float64(w.o.Work.TraceUsers)
		whole := time.Duration(float64(trace[len(trace)-1].At)/w.open.speed) - w.o.WarmUp
		if last == 0 || last > whole {
			last = max(whole, time.Second)
		}
	}
	w.end = int64(w.o.WarmUp + last)
	run := grace
	for _, l := range w.o.Latency {
		run = max(run, 8*l.Total)
	}
	w.stop = w.end + int64(w.o.longest()+run)
}

// populate makes the users, and their first requests.
func (w *world) populate() {
	w.names = make([]string, w.users)
	for i := range w.names {
		w.names[i] = strconv.Itoa(i)
	}
	work := &w.o.Work
	if work.Trace != nil || work.Open {
		w.open.draws = stream(w.o.Seed, -1)
		w.open.gap = float64(work.pause()) / float64(w.users)
		w.agenda.Add(0, arrive, 0)
		return
	}
	w.loops = make([]loop, w.users)
	w.requests = make([]request, w.users) // one each: they never have two
	for i := range w.loops {
		w.loops[i].draws = stream(w.o.Seed, i)
		w.agenda.Add(int64(w.loops[i].draws.Float64()*float64(work.pause())), ask, int32(i))
	}
}

// run goes from event to event until all have been answered or the grace is over.
func (w *world) run(ctx context.Context) error {
	for n := 1; ; n++ {
		if n%patience == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if w.book.hopeless {
			return nil
		}
		at := w.stop
		next, more := w.agenda.Next()
		if more {
			at = min(at, next)
		}
		if wake := w.gate.Wake(); !wake.IsZero() && wake.Sub(w.epoch) < time.Duration(at) {
			w.advance(max(int64(wake.Sub(w.epoch)), w.now))
			w.step(gate.Event{Kind: gate.Wake})
			continue
		}
		w.advance(at)
		if at >= w.stop || !more {
			w.close()
			return nil
		}
		w.keep(w.agenda.Take())
	}
}

func (w *world) advance(to int64) {
	w.book.pass(w.now, to)
	w.now = to
}

func (w *world) time() time.Time { return w.epoch.Add(time.Duration(w.now)) }

// keep does what an appointment is about.
func (w *world) keep(a agenda.Appointment) {
	switch a.What {
	case ask:
		if w.now < w.end {
			w.askLoop(a.Who)
		}
	case arrive:
		if w.now < w.end {
			w.askOpen()
		}
	case finish:
		w.answered(a.Who)
	case begin:
		w.book.begin(w.gate.Snapshot(w.time()))
	}
}

// askLoop is a user's next request.
func (w *world) askLoop(user int32) {
	l, work := &w.loops[user], &w.o.Work
	r := &w.requests[user]
	class := l.draws.class(work.Mix, w.parts)
	*r = request{user: user, class: uint8(class), input: int32(l.draws.size(work.Input)), output: int32(l.draws.size(work.Output))}
	l.due, l.pause = w.now, int64(l.draws.pause(work.pause(), work.Fixed))
	w.submit(user)
}

// again makes the appointment for a user's next request.
func (w *world) again(user int32, failed bool) {
	l := &w.loops[user]
	next := w.now + l.pause
	if w.o.Work.Rate > 0 { // the pause began with the last request, and ends not before its answer
		next = max(l.due+l.pause, w.now)
	}
	if failed {
		next = max(next, w.now+int64(errorPause))
	}
	w.agenda.Add(next, ask, user)
}

// askOpen is the next arrival of those that wait for nobody.
func (w *world) askOpen() {
	work, o := &w.o.Work, &w.open
	r := request{user: int32(o.next % w.users)}
	class := o.draws.class(work.Mix, w.parts)
	r.class = uint8(class)
	at, more := w.now, true
	if work.Trace != nil {
		row := work.Trace[o.next]
		r.input, r.output = int32(max(row.Input, 1)), int32(row.Output)
		if more = o.next+1 < len(work.Trace); more {
			at = int64(float64(work.Trace[o.next+1].At) / o.speed)
		}
	} else {
		r.input, r.output = int32(o.draws.size(work.Input)), int32(o.draws.size(work.Output))
		at += int64(o.draws.gap(work.CV) * o.gap)
	}
	o.next++
	if more {
		w.agenda.Add(at, arrive, 0)
	}
	w.submit(w.room(r))
}

// room finds a number for a request.
func (w *world) room(r request) int32 {
	if n := len(w.free); n > 0 {
		number := w.free[n-1]
		w.free = w.free[:n-1]
		w.requests[number] = r
		return number
	}
	w.requests = append(w.requests, r)
	return int32(len(w.requests) - 1)
}

// submit lets a request arrive at the gate.
func (w *world) submit(number int32) {
	r, work := &w.requests[number], &w.o.Work
	r.arrived, r.measured = w.now, w.now >= int64(w.o.WarmUp)
	if work.MaxOutput > 0 {
		r.output = min(r.output, int32(work.MaxOutput))
	}
	w.ask = gate.Ask{
		Route: w.o.Route, Task: work.Manner == Task, Model: "m",
		Flow: flow.Key{Class: work.Mix[r.class].Class, Tenant: work.Tenants[int(r.user)%len(work.Tenants)], User: w.names[r.user]},
		Size: llm.Size{TextBytes: 4 * int64(r.input), Messages: 1, MaxOutput: int64(work.MaxOutput)},
	}
	if work.Manner == JSON && w.o.Hold > 0 {
		w.ask.Hold = w.time().Add(w.o.Hold)
	}
	w.book.arrive(r)
	w.step(gate.Event{Kind: gate.Arrive, ID: uint64(number) + 1, Ask: &w.ask})
}

// step drives the gate by one event and does what it says.
func (w *world) step(ev gate.Event) {
	for _, a := range w.gate.Step(w.time(), ev) {
		number := int32(a.ID - 1)
		if a.Kind == gate.Dispatch {
			w.dispatch(number, &a.Grant)
			continue
		}
		w.book.lose(w.now, &w.requests[number], &a)
		w.done(number, true)
	}
}

// dispatch sends a request to its upstream.
func (w *world) dispatch(number int32, g *gate.Grant) {
	r := &w.requests[number]
	r.runs, r.upstream, r.grant = true, int32(g.Upstream), *g
	load := 0.0
	w.running[g.Upstream]++
	if seats := w.o.Gate.Upstreams[g.Upstream].Quota.Seats; seats > 0 {
		load = float64(w.running[g.Upstream]) / float64(seats)
	}
	var latency Latency
	if g.Upstream < len(w.o.Latency) {
		latency = w.o.Latency[g.Upstream]
	}
	took := w.draws(number).took(&latency, int(r.input), int(r.output), load)
	w.book.dispatched++
	w.book.service += float64(took)
	w.book.start(w.now, r)
	w.agenda.Add(w.now+int64(took), finish, number)
}

// draws is the stream of a request's user.
func (w *world) draws(number int32) draws {
	if w.loops == nil {
		return w.open.draws
	}
	return w.loops[w.requests[number].user].draws
}

// answered ends a request's attempt.
func (w *world) answered(number int32) {
	r := &w.requests[number]
	usage := llm.Usage{Input: int64(r.input), Output: int64(r.output)}
	w.running[r.upstream]--
	w.book.finish(w.now, r, usage)
	w.done(number, false)
	w.step(gate.Event{Kind: gate.Settle, ID: uint64(number) + 1, Result: gate.Result{Sent: true, Usage: usage}})
}

// done ends a request for its user.
func (w *world) done(number int32, failed bool) {
	if w.loops == nil {
		w.free = append(w.free, number)
		return
	}
	w.again(number, failed)
}

// close counts what has not ended.
func (w *world) close() {
	snapshot := w.gate.Snapshot(w.time())
	w.book.close(snapshot.Waiting, snapshot.Outstanding)
}
