package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/task"
)

// shelf keeps tasks and runs them at once, each in a goroutine of its own.
type shelf struct {
	work    runner.Work
	refused error // what Submit says

	mu    sync.Mutex
	tasks map[string]*shelved
}

type shelved struct {
	task   task.Task
	ended  chan struct{}
	cancel context.CancelCauseFunc
}

func newShelf() *shelf { return &shelf{tasks: make(map[string]*shelved)} }

func (s *shelf) Submit(_ context.Context, t task.Task) (task.Task, error) {
	if s.refused != nil {
		return task.Task{}, s.refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.ID, t.Created = fmt.Sprintf("%032x", len(s.tasks)+1), time.Now()
	ctx, cancel := context.WithCancelCause(context.Background())
	kept := &shelved{task: t, ended: make(chan struct{}), cancel: cancel}
	s.tasks[t.ID] = kept
	go func() {
		result, err := s.work(ctx, t, func(u runner.Update) { s.note(kept, u) })
		s.end(kept, result, err)
	}()
	return t, nil
}

func (s *shelf) note(k *shelved, u runner.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Started {
		_ = k.task.Start(time.Now())
		return
	}
	_ = k.task.Stand(u.Position, u.ETA, u.Reason)
}

func (s *shelf) end(k *shelved, result task.Result, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(k.ended)
	var failed *task.Failure
	switch {
	case err == nil:
		_ = k.task.Succeed(time.Now(), result)
	case errors.As(err, &failed):
		_ = k.task.Fail(time.Now(), failed.Message)
	default:
		_ = k.task.Fail(time.Now(), "internal error")
	}
}

func (s *shelf) find(tenant, id string) (*shelved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.tasks[id]
	if k == nil || k.task.Flow.Tenant != tenant {
		return nil, task.ErrNotFound
	}
	return k, nil
}

func (s *shelf) look(k *shelved) task.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return k.task.Clone()
}

func (s *shelf) Get(_ context.Context, tenant, id string) (task.Task, error) {
	k, err := s.find(tenant, id)
	if err != nil {
		return task.Task{}, err
	}
	return s.look(k), nil
}

func (s *shelf) Wait(ctx context.Context, tenant, id string) (task.Task, error) {
	k, err := s.find(tenant, id)
	if err != nil {
		return task.Task{}, err
	}
	select {
	case <-k.ended:
	case <-ctx.Done():
	}
	return s.look(k), nil
}

func (s *shelf) Cancel(_ context.Context, tenant, id string) (task.Task, bool, error) {
	k, err := s.find(tenant, id)
	if err != nil {
		return task.Task{}, false, err
	}
	s.mu.Lock()
	revoked := k.task.Revoke(time.Now()) == nil
	s.mu.Unlock()
	k.cancel(runner.ErrRevoked)
	return s.look(k), revoked, nil
}

// put shelves a task that nobody runs.
func (s *shelf) put(t task.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[t.ID] = &shelved{task: t, ended: make(chan struct{}), cancel: func(error) {}}
}
