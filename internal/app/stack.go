package app

import (
	"errors"
	"sync"
)

// stack undoes what was done, the last first. The zero value is empty.
type stack struct {
	mu      sync.Mutex
	actions []func() error
}

// push adds what undoes a step that was just taken.
func (s *stack) push(undo func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actions = append(s.actions, undo)
}

func (s *stack) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.actions) == 0
}

// unwind undoes everything, goes on after a failure, and leaves the stack empty.
func (s *stack) unwind() error {
	var failures []error
	for {
		undo := s.pop()
		if undo == nil {
			return errors.Join(failures...)
		}
		failures = append(failures, undo())
	}
}

func (s *stack) pop() func() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.actions) == 0 {
		return nil
	}
	last := len(s.actions) - 1
	undo := s.actions[last]
	s.actions[last] = nil
	s.actions = s.actions[:last]
	return undo
}
