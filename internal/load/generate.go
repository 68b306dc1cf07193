package load

import (
	"context"
	"time"

	"github.com/millrace/millrace/internal/load/arrival"
)

// generate starts the load. Loops and arrivals stop at the end of the context
// load; requests they have started go on under asking.
func (r *run) generate(load, asking context.Context) {
	switch {
	case r.options.Trace != nil:
		r.users.Go(func() { r.replay(load, asking) })
		return
	case r.options.open():
		r.users.Go(func() { r.arrive(load, asking) })
		return
	}
	for user := range r.options.Users {
		for loop := range r.options.loops(user) {
			d := newDrawer(r.options, user, loop)
			r.users.Go(func() { r.loop(load, asking, d) })
		}
	}
}

// loops is the number of loops of a user.
func (o *Options) loops(user int) int {
	if user > 0 {
		return 1
	}
	return max(o.GreedyLoops, o.GreedyFactor, 1)
}

// loop is one closed loop: ask, wait for the answer, pause. Due is when the
// user means to ask, which is not put off when the loop wakes late.
func (r *run) loop(load, asking context.Context, d *drawer) {
	due, present := r.present(d.next.user, r.clock.begun)
	due = due.Add(d.offset())
	for present && r.clock.sleepUntil(load, due) {
		p := d.draw()
		bucket, end := r.ask(asking, p, due)
		due = r.nextDue(due, end, p.pause)
		if bucket == failed && due.Sub(end) < errorPause {
			due = end.Add(errorPause)
		}
		due, present = r.present(p.user, due)
	}
}

// present is the first time at or after t at which the user is there; false if
// he never comes back.
func (r *run) present(user int, t time.Time) (time.Time, bool) {
	if len(r.options.UserStages) == 0 {
		return t, true
	}
	at, ok := r.profile.Above(float64(user), t.Sub(r.clock.begun))
	return r.clock.begun.Add(at), ok
}

// nextDue is the end of the pause that begins with the answer; for paced users
// it begins with the last start, and ends with the answer if that came later.
func (r *run) nextDue(due, end time.Time, pause time.Duration) time.Time {
	if r.options.PacedRate <= 0 {
		return end.Add(pause)
	}
	if next := due.Add(pause); next.After(end) {
		return next
	}
	return end
}

// replay is the open loop: every arrival of the trace at its own time, whatever
// became of the ones before.
func (r *run) replay(load, asking context.Context) {
	defer r.stop()
	o := r.options
	for i, row := range o.Trace {
		intended := r.clock.begun.Add(row.At)
		if !r.clock.sleepUntil(load, intended) {
			return
		}
		p := replayed(o, i)
		if !r.skip(p, intended) {
			r.users.Go(func() { r.ask(asking, p, intended) })
		}
	}
}

// replayed is the plan for a row of the trace.
func replayed(o *Options, row int) plan {
	d := newDrawer(o, row%o.TraceUsers, row)
	p := d.draw()
	p.seq, p.loop = row, 0
	p.tokens, p.output = max(o.Trace[row].Context, 1), o.Trace[row].Generated
	return p
}

// arrive is the open loop without a trace: conversations begin at random times.
func (r *run) arrive(load, asking context.Context) {
	defer r.stop()
	o := r.options
	process := arrival.NewProcess(r.profile, o.ArrivalsCV, o.Seed)
	for i := 0; ; i++ {
		at, ok := process.Next()
		intended := r.clock.begun.Add(at)
		if !ok || !r.clock.sleepUntil(load, intended) {
			return
		}
		d := newDrawer(o, i%o.TraceUsers, i)
		p := d.draw()
		if !r.skip(p, intended) {
			r.users.Go(func() { r.visit(load, asking, visit{d, p, intended}) })
		}
	}
}

// visit is one conversation of the open loop: its first request and when it is due.
type visit struct {
	drawer *drawer
	plan   plan
	due    time.Time
}

// visit asks the first request at once, and each further one a pause after the
// answer before it.
func (r *run) visit(load, asking context.Context, v visit) {
	for {
		_, end := r.ask(asking, v.plan, v.due)
		v.due = end.Add(v.plan.pause)
		if v.drawer.left == 0 || !r.clock.sleepUntil(load, v.due) {
			return
		}
		v.plan = v.drawer.draw()
	}
}
