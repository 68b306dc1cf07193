package memory

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/task"
)

// ErrFull says that a store holds as much as it may.
var ErrFull = errors.New("the store is full")

// TasksOptions bound a store of tasks.
type TasksOptions struct {
	Max int // tasks held; 0 = 1,000,000. A second line behind the runner's own bound
}

// Tasks keeps tasks for the life of the process. Use NewTasks.
type Tasks struct {
	max int

	mu    sync.Mutex
	tasks map[string]*task.Task
	ended byFinish // those of tasks that are Ready
}

// NewTasks returns an empty store.
func NewTasks(o TasksOptions) (*Tasks, error) {
	if o.Max < 0 {
		return nil, fmt.Errorf("tasks: Max is %d; give how many are held, or 0 for 1,000,000", o.Max)
	}
	return &Tasks{max: cmp.Or(o.Max, 1_000_000), tasks: make(map[string]*task.Task)}, nil
}

// Create implements runner.Store. At the bound it returns an error that wraps ErrFull.
func (s *Tasks) Create(_ context.Context, t task.Task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.tasks[t.ID]; taken {
		return fmt.Errorf("create task %s: %w", t.ID, task.ErrExists)
	}
	if len(s.tasks) >= s.max {
		return fmt.Errorf("create task: %w: %d tasks", ErrFull, s.max)
	}
	s.put(t)
	return nil
}

// Update implements runner.Store.
func (s *Tasks) Update(_ context.Context, t task.Task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.tasks[t.ID]
	if !found {
		return fmt.Errorf("update task %s: %w", t.ID, task.ErrNotFound)
	}
	if old.Ready() {
		return fmt.Errorf("update task %s: %w", t.ID, task.ErrFinal)
	}
	s.put(t)
	return nil
}

// put keeps a copy of the task; s.mu is held.
func (s *Tasks) put(t task.Task) {
	own := t.Clone()
	own.Position, own.ETA, own.Reason = 0, 0, ""
	s.tasks[t.ID] = &own
	if own.Ready() {
		heap.Push(&s.ended, &own)
	}
}

// Get implements runner.Store.
func (s *Tasks) Get(_ context.Context, id string) (task.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, found := s.tasks[id]
	if !found {
		return task.Task{}, fmt.Errorf("task %s: %w", id, task.ErrNotFound)
	}
	return t.Clone(), nil
}

// Expire implements runner.Store.
func (s *Tasks) Expire(_ context.Context, before time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for len(s.ended) > 0 && s.ended[0].Finished.Before(before) {
		delete(s.tasks, heap.Pop(&s.ended).(*task.Task).ID)
		n++
	}
	return n, nil
}

// Unfinished implements runner.Store.
func (s *Tasks) Unfinished(context.Context) ([]task.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []task.Task
	for _, t := range s.tasks {
		if !t.Ready() {
			out = append(out, t.Clone())
		}
	}
	slices.SortFunc(out, func(a, b task.Task) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Len is how many tasks are held.
func (s *Tasks) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks)
}

// byFinish is a heap whose head finished first.
type byFinish []*task.Task

func (h byFinish) Len() int           { return len(h) }
func (h byFinish) Less(i, j int) bool { return h[i].Finished.Before(h[j].Finished) }
func (h byFinish) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *byFinish) Push(x any) { *h = append(*h, x.(*task.Task)) }

// Pop implements heap.Interface.
func (h *byFinish) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return t
}
