package task

import "fmt"

// State is how far a task is. The zero value is Pending.
type State uint8

// The states.
const (
	Pending    State = iota // accepted; waits in the queue or for its next try
	Started                 // dispatched to an upstream
	InProgress              // started, and has told how far it is (PROGRESS; Progress is what it told)
	Success                 // final: it has a Result
	Failed                  // final: it has an Error (FAILURE; Failure is what a work returns)
	Revoked                 // final: somebody canceled it
)

var stateNames = [...]string{"PENDING", "STARTED", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED"}

// String returns Celery's word for the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "UNKNOWN"
}

// Final reports whether no transition leaves the state.
func (s State) Final() bool { return s >= Success }

// MarshalText returns the word of the state, so that JSON shows it.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a state of a task; one of %v is", text, stateNames)
}
