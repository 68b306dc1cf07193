package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/millrace/millrace/internal/task"
)

// What people read of a task that failed without words of its own.
const (
	wordsInternal = "internal error"
	wordsClosed   = "the gateway shut down before the task was done; it can be submitted again"
)

// run is the goroutine of a task: it tries until the task has ended.
func (r *Runner) run(e *entry) {
	defer r.busy.Done()
	defer r.fail(e, wordsInternal) // changes nothing, unless the work left by runtime.Goexit
	for try := 1; ; try++ {
		if e.ctx.Err() != nil {
			r.fail(e, wordsClosed) // changes nothing if it was canceled
			return
		}
		result, err := r.try(e, try)
		if err == nil {
			r.end(e, nil, func(t *task.Task, now time.Time) error { return t.Succeed(now, result) })
			return
		}
		wait, again := r.judge(e, err)
		if !again {
			return
		}
		pause(e.ctx, wait)
	}
}

// try calls the work once.
func (r *Runner) try(e *entry, try int) (result task.Result, err error) {
	r.mu.Lock()
	e.try = try
	r.moveLocked(e, e.phaseNow())
	t := e.task.Clone()
	r.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		r.mu.Lock()
		e.try = 0
		r.mu.Unlock()
	}()
	return r.work(e.ctx, t, func(u Update) { r.told(e, try, u) })
}

// judge decides what follows a try that failed: another one, after a wait, or the end.
func (r *Runner) judge(e *entry, err error) (wait time.Duration, again bool) {
	if e.ctx.Err() != nil {
		r.fail(e, wordsClosed)
		return 0, false
	}
	failure, ok := errors.AsType[*task.Failure](err)
	if !ok || failure == nil {
		r.log.Error("task broke", "task", e.id, "kind", e.kind, "error", err)
		failure = &task.Failure{}
	}
	if failure.Retry {
		if wait, again = r.again(e); again {
			r.save(e)
			return wait, true
		}
	}
	if r.fail(e, cmp.Or(failure.Message, wordsInternal)) {
		// Its words and its cause stay out: providers quote the prompt in their errors.
		r.log.Warn("task failed", "task", e.id, "kind", e.kind, "class", string(e.class))
	}
	return 0, false
}

// again schedules another try if the class's rule has one left.
func (r *Runner) again(e *entry) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rule := r.o.Classes[e.class]
	tries := e.task.Attempts
	if e.task.State == task.Pending {
		tries++ // given up before it was dispatched
	}
	if e.ending || r.draining || tries > rule.Times {
		return 0, false
	}
	_ = e.task.Again(time.Now()) // cannot fail: it has not ended
	r.moveLocked(e, scheduled)
	return rule.Wait, true
}

// pause waits between two tries.
func pause(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// told takes in what the work of a try tells.
func (r *Runner) told(e *entry, try int, u Update) {
	if r.apply(e, try, u) {
		r.save(e)
	}
}

// apply reports whether the task's state changed.
func (r *Runner) apply(e *entry, try int, u Update) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.ending || e.try != try {
		return false
	}
	was := e.task.State
	// None of these can fail: the task has not ended.
	if u.Started {
		_ = e.task.Start(time.Now())
	}
	if u.Progress != (task.Progress{}) {
		_ = e.task.Note(u.Progress)
	}
	if u.Position > 0 {
		_ = e.task.Stand(u.Position, u.ETA, u.Reason)
	}
	r.moveLocked(e, e.phaseNow())
	return e.task.State != was
}

// phaseNow is what a task does whose work runs.
func (e *entry) phaseNow() phase {
	switch {
	case e.ending:
		return e.phase
	case e.task.State == task.Pending || e.task.Position > 0:
		return waiting
	}
	return running
}
