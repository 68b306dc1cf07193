package runner

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/internal/task"
)

// end ends a task: it claims the end, records it, then tells it. It reports whether
// this call did; if not, another end is being recorded or was told.
func (r *Runner) end(e *entry, cause error, how func(*task.Task, time.Time) error) bool {
	r.mu.Lock()
	if e.ending {
		r.mu.Unlock()
		return false
	}
	e.ending = true
	last := e.task
	_ = how(&last, time.Now()) // cannot fail: nobody has ended it before
	r.mu.Unlock()
	e.cancel(cause)

	e.write <- struct{}{} // a write under way comes first
	recorded := r.record(last)
	<-e.write

	r.publish(e, last, recorded)
	return true
}

// fail ends a task without an answer, as end does.
func (r *Runner) fail(e *entry, words string) bool {
	return r.end(e, nil, func(t *task.Task, now time.Time) error { return t.Fail(now, words) })
}

// publish makes an end seen.
func (r *Runner) publish(e *entry, last task.Task, recorded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.task = last
	r.bytes -= e.size
	r.keepLocked(end{at: last.Finished, size: last.Size()})
	r.leaveLocked(e)
	switch last.State {
	case task.Success:
		e.count.Succeeded++
	case task.Revoked:
		e.count.Revoked++
	default:
		e.count.Failed++
	}
	if recorded {
		delete(r.live, e.id)
	} else {
		r.owed = append(r.owed, e)
		r.armed = false // sooner than it is set for
	}
	close(e.done)
	r.armLocked(time.Now())
}

// record writes a task to the store and reports whether it is there.
func (r *Runner) record(t task.Task) bool {
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	err := r.store.Update(ctx, t)
	if err == nil || errors.Is(err, task.ErrFinal) { // an earlier call did it, and its answer was lost
		return true
	}
	r.log.Error("record task", "task", t.ID, "state", t.State.String(), "error", err)
	return false
}

// save writes the state of an unfinished task. A write that fails is made up for by the
// next one.
func (r *Runner) save(e *entry) {
	e.write <- struct{}{}
	defer func() { <-e.write }()
	r.mu.Lock()
	t, ending := e.task, e.ending
	r.mu.Unlock()
	if !ending {
		r.record(t)
	}
}

// payDebts offers the store the ends that it did not take, and says how many it still
// has not. Those that nobody may read any more are given up.
func (r *Runner) payDebts(now time.Time) int {
	r.mu.Lock()
	debts := r.owed
	r.owed = nil
	keep := r.o.Keep
	r.mu.Unlock()
	var left []*entry
	for _, e := range debts {
		if now.Sub(e.task.Finished) < keep && !r.record(e.task) {
			left = append(left, e)
			continue
		}
		r.mu.Lock()
		delete(r.live, e.id)
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owed = append(r.owed, left...)
	return len(left)
}

// endAll fails what is unfinished although its work has not returned, and says how many
// that are.
func (r *Runner) endAll() int {
	r.mu.Lock()
	left := make([]*entry, 0, len(r.live))
	for _, e := range r.live {
		if !e.ending {
			left = append(left, e)
		}
	}
	r.mu.Unlock()
	n := 0
	for _, e := range left {
		if r.fail(e, wordsClosed) {
			n++
		}
	}
	return n
}
