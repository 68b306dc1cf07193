package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

// phase is what an unfinished task does now, for Stats.
type phase uint8

const (
	ended phase = iota // or not yet entered
	waiting
	running
	scheduled // for its next try
	phaseCount
)

// entry is an unfinished task in memory. Runner.mu guards what changes.
type entry struct {
	ctx    context.Context // of its work
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when task holds its recorded end
	write  chan struct{} // the right to write this task to the store; of capacity 1
	size   int64
	id     string // these three are the task's, to be read without the lock
	kind   string
	class  flow.Class

	task   task.Task
	ending bool // its end is claimed: nothing but that changes it any more
	try    int  // number of the try whose work may tell; 0 = none runs
	phase  phase
	count  *Count // of its kind
}

func (r *Runner) newEntry(t task.Task) *entry {
	e := &entry{
		task: t, id: t.ID, kind: t.Kind, class: t.Flow.Class, size: t.Size(),
		done: make(chan struct{}), write: make(chan struct{}, 1),
	}
	e.ctx, e.cancel = context.WithCancelCause(r.ctx)
	return e
}

// find returns the entry of an unfinished task of the tenant, or nil.
func (r *Runner) find(tenant, id string) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.live[id]; e != nil && e.task.Flow.Tenant == tenant {
		return e
	}
	return nil
}

// view is a copy of the task as it stands.
func (r *Runner) view(e *entry) task.Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.task.Clone()
}

// stored returns a task that is not in memory.
func (r *Runner) stored(ctx context.Context, tenant, id string) (task.Task, error) {
	t, err := r.store.Get(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return task.Task{}, fmt.Errorf("get task: %w", err)
	}
	if err != nil || t.Flow.Tenant != tenant || r.outlived(&t) {
		return task.Task{}, fmt.Errorf("task %s: %w", id, ErrNotFound)
	}
	return t.Clone(), nil
}

// outlived reports whether a task ended too long ago to be told, swept or not.
func (r *Runner) outlived(t *task.Task) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.Ready() && time.Since(t.Finished) >= r.o.Keep
}

// moveLocked books what the task does now.
func (r *Runner) moveLocked(e *entry, to phase) {
	r.phases[e.phase]--
	r.phases[to]++
	e.count.add(e.phase, -1)
	e.count.add(to, 1)
	e.phase = to
}

// add books tasks in a phase.
func (c *Count) add(p phase, n int) {
	switch p {
	case waiting, scheduled:
		c.Waiting += n
	case running:
		c.Running += n
	case ended, phaseCount:
	}
}

// maxKinds bounds Stats.ByKind; what comes later is counted as "other".
const maxKinds = 1000

// kindLocked is the count of a kind.
func (r *Runner) kindLocked(kind string) *Count {
	c := r.kinds[kind]
	if c == nil && len(r.kinds) >= maxKinds {
		kind = "other"
		c = r.kinds[kind]
	}
	if c == nil {
		c = new(Count)
		r.kinds[kind] = c
	}
	return c
}

// Stats says how all tasks stand.
func (r *Runner) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{
		Waiting: r.phases[waiting], Running: r.phases[running], Scheduled: r.phases[scheduled],
		Kept: len(r.kept), ByKind: make(map[string]Count, len(r.kinds)),
	}
	for kind, c := range r.kinds {
		s.ByKind[kind] = *c
	}
	return s
}
