package runner

import (
	"context"
	"time"
)

// enter books a new task, if there is room for it. The store has to forget what finished
// before the time returned, unless that is zero.
func (r *Runner) enter(e *entry) (before time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return time.Time{}, ErrDraining
	}
	if !r.mayHoldLocked(e) {
		return time.Time{}, ErrTenant
	}
	before, ok := r.makeRoomLocked(e)
	if !ok {
		return time.Time{}, ErrFull
	}
	r.insertLocked(e)
	return before, nil
}

// mayHoldLocked reports whether a tenant may have one task more: nobody's fill what is
// there for all.
func (r *Runner) mayHoldLocked(e *entry) bool {
	if r.o.Part <= 0 {
		return true
	}
	h := r.tenants[e.task.Flow.Tenant]
	return float64(h.n) < float64(r.o.Max)*r.o.Part && float64(h.bytes+e.size) <= float64(r.o.Bytes)*r.o.Part
}

// holdLocked books what a tenant's task takes, or gives back.
func (r *Runner) holdLocked(e *entry, n int) {
	tenant := e.task.Flow.Tenant
	h := r.tenants[tenant]
	h.n, h.bytes = h.n+n, h.bytes+int64(n)*e.size
	if h.n == 0 {
		delete(r.tenants, tenant)
		return
	}
	r.tenants[tenant] = h
}

// insertLocked books a task; its goroutine is counted from here on.
func (r *Runner) insertLocked(e *entry) {
	r.busy.Add(1)
	r.live[e.id] = e
	r.unfinished++
	r.holdLocked(e, 1)
	r.bytes += e.size
	e.count = r.kindLocked(e.kind)
	r.moveLocked(e, waiting)
}

// withdraw takes back a task that the store did not take.
func (r *Runner) withdraw(e *entry, cause error) {
	defer r.busy.Done()
	e.cancel(cause)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.ending {
		return // Close lost patience and has ended it
	}
	e.ending = true
	delete(r.live, e.id)
	r.bytes -= e.size
	r.leaveLocked(e)
}

// leaveLocked books that a task is no longer unfinished.
func (r *Runner) leaveLocked(e *entry) {
	r.moveLocked(e, ended)
	r.unfinished--
	r.holdLocked(e, -1)
	if r.unfinished == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

// makeRoomLocked forgets the oldest ends until the task fits; false if it cannot.
func (r *Runner) makeRoomLocked(e *entry) (before time.Time, ok bool) {
	drop, bytes, now := 0, r.bytes+e.size, time.Now()
	for r.unfinished+len(r.kept)-drop >= r.o.Max || bytes > r.o.Bytes {
		if drop == len(r.kept) || now.Sub(r.kept[drop].at) < freshness {
			return time.Time{}, false
		}
		bytes -= r.kept[drop].size
		drop++
	}
	if drop == 0 {
		return time.Time{}, true
	}
	before = justAfter(r.kept[drop-1].at)
	r.forgetLocked(before)
	return before, true
}

// keepLocked remembers that a task has ended, in the order of the ends.
func (r *Runner) keepLocked(k end) {
	r.bytes += k.size
	i := len(r.kept)
	r.kept = append(r.kept, k)
	for ; i > 0 && r.kept[i-1].at.After(k.at); i-- { // seldom, and not far: ends are recorded about as they come
		r.kept[i] = r.kept[i-1]
	}
	r.kept[i] = k
}

// forgetLocked drops the ends before a time; the store does the same in Expire.
func (r *Runner) forgetLocked(before time.Time) {
	n := 0
	for n < len(r.kept) && r.kept[n].at.Before(before) {
		r.bytes -= r.kept[n].size
		n++
	}
	r.kept = r.kept[n:]
}

// justAfter makes Expire, which spares the time it is given, include it.
func justAfter(t time.Time) time.Time { return t.Add(1) }

// expire makes the store forget. What it does not do now it does with the next call.
func (r *Runner) expire(before time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	if _, err := r.store.Expire(ctx, before); err != nil {
		r.log.Warn("expire tasks", "error", err)
	}
}

// armLocked sets the timer of the next sweep, unless it is set.
func (r *Runner) armLocked(now time.Time) {
	if r.armed || r.closed || len(r.kept)+len(r.owed) == 0 {
		return
	}
	in := debtGap
	if len(r.owed) == 0 {
		in = max(r.kept[0].at.Add(r.o.Keep).Sub(now), sweepGap)
	}
	r.armed = true
	if r.timer == nil {
		r.timer = time.AfterFunc(in, r.sweep)
		return
	}
	r.timer.Reset(in)
}

// sweep forgets what was kept long enough; the timer calls it.
func (r *Runner) sweep() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.busy.Add(1)
	defer r.busy.Done()
	now := time.Now()
	before := justAfter(now.Add(-r.o.Keep))
	r.forgetLocked(before)
	r.mu.Unlock()

	r.expire(before)
	r.payDebts(now)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed = false
	r.armLocked(time.Now())
}
