package load

import (
	"context"
	"time"
)

// generate starts the load. Loops and arrivals stop at the end of the context
// load; requests they have started go on under asking.
func (r *run) generate(load, asking context.Context) {
	if r.options.Trace != nil {
		r.users.Go(func() { r.replay(load, asking) })
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
	due := time.Now().Add(d.offset())
	for sleep(load, time.Until(due)) {
		p := d.draw()
		bucket, end := r.ask(asking, p, due)
		due = r.nextDue(due, end, p.pause)
		if bucket == failed && due.Sub(end) < errorPause {
			due = end.Add(errorPause)
		}
	}
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
		intended := r.begun.Add(time.Duration(float64(row.At) / o.Speed))
		if !sleep(load, time.Until(intended)) {
			return
		}
		if r.book.skip(o.MaxInFlight) {
			continue
		}
		p := replayed(o, i)
		r.users.Go(func() { r.ask(asking, p, intended) })
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
