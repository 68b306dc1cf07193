package task

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// The sentinels of tasks and of their stores.
var (
	// ErrFinal says that the task has ended and stays as it is.
	ErrFinal = errors.New("the task has ended")
	// ErrNotFound says that no such task is kept.
	ErrNotFound = errors.New("no such task")
	// ErrExists says that a task of this id is kept already.
	ErrExists = errors.New("a task of this id exists")
)

// Task is one piece of accepted work and what became of it.
type Task struct {
	ID      string      // 128 random bits, in hex
	Kind    string      // what runs it: an endpoint's path, or "openai/chat" and the like
	Flow    flow.Key    // whose it is
	Header  http.Header // request headers it needs, from an allow-list; nil for none
	Payload []byte      // the request's body as it came; never written

	State    State
	Attempts int // tries that were started or given up
	Created  time.Time
	Started  time.Time // of the latest try; zero while it was never dispatched
	Finished time.Time // zero while it is not Ready
	Progress Progress  // what its work told last
	Result   *Result   // of Success, else nil
	Error    string    // of Failure: words for people, never a secret

	// Where it stands while it waits; describes the moment and is never kept.
	Position int           // 1 = next; 0 = it does not wait in the queue
	ETA      time.Duration // until it is dispatched; 0 = unknown
	Reason   flow.Reason   // what it waits for
}

// Progress is how far a running task says it is.
type Progress struct {
	Percent int    // 0 to 100
	Note    string // words for people
}

// Result is the answer of a task.
type Result struct {
	Status      int    // of HTTP
	ContentType string // of Body
	Body        []byte // never written
}

// Turn is one utterance of a conversation.
type Turn struct {
	Role string // "user" or "assistant"
	Text string
}

// Ready reports whether the task has ended.
func (t *Task) Ready() bool { return t.State.Final() }

// Size is about how many bytes keeping the task takes.
func (t *Task) Size() int64 {
	n := 512 + len(t.Kind) + len(t.Flow.User) + len(t.Payload) + len(t.Error) + len(t.Progress.Note)
	for k, values := range t.Header {
		for _, v := range values {
			n += len(k) + len(v)
		}
	}
	if t.Result != nil {
		n += len(t.Result.Body)
	}
	return int64(n)
}

// Clone returns a copy that shares only the bytes of Payload and Result.Body.
func (t *Task) Clone() Task {
	c := *t
	c.Header = t.Header.Clone()
	if t.Result != nil {
		result := *t.Result
		c.Result = &result
	}
	return c
}

// Start says that the task was dispatched at now. Of one that runs already, such as by
// a fallback to another upstream, it only ends the wait.
func (t *Task) Start(now time.Time) error {
	if err := t.open("start"); err != nil {
		return err
	}
	t.leaveQueue()
	if t.State == Pending {
		t.State, t.Started = Started, latest(now, t.Created, t.Started)
		t.Attempts++
	}
	return nil
}

// Note keeps what the work tells about its progress. A task that waits stays Pending.
func (t *Task) Note(p Progress) error {
	if err := t.open("note progress"); err != nil {
		return err
	}
	t.Progress = Progress{Percent: min(max(p.Percent, 0), 100), Note: p.Note}
	if t.State == Started {
		t.State = InProgress
	}
	return nil
}

// Stand keeps where the task stands in the queue; its state stays.
func (t *Task) Stand(position int, eta time.Duration, reason flow.Reason) error {
	if err := t.open("stand in the queue"); err != nil {
		return err
	}
	t.Position, t.ETA, t.Reason = max(position, 0), max(eta, 0), reason
	return nil
}

// Again says that this try is over and another follows: back to Pending.
func (t *Task) Again(time.Time) error {
	if err := t.open("try again"); err != nil {
		return err
	}
	if t.State == Pending {
		t.Attempts++
	}
	t.leaveQueue()
	t.State, t.Progress = Pending, Progress{}
	return nil
}

// Succeed ends the task with its answer.
func (t *Task) Succeed(now time.Time, r Result) error {
	if err := t.end(now, Success); err != nil {
		return err
	}
	t.Result = &r
	return nil
}

// Fail ends the task without one; message is for people and holds no secret.
func (t *Task) Fail(now time.Time, message string) error {
	if err := t.end(now, Failed); err != nil {
		return err
	}
	t.Error = message
	return nil
}

// Revoke ends the task because somebody canceled it.
func (t *Task) Revoke(now time.Time) error { return t.end(now, Revoked) }

// end moves the task into a final state.
func (t *Task) end(now time.Time, s State) error {
	if err := t.open("end"); err != nil {
		return err
	}
	t.leaveQueue()
	t.State, t.Finished = s, latest(now, t.Created, t.Started)
	return nil
}

// open refuses what a final state does not allow.
func (t *Task) open(what string) error {
	if t.Ready() {
		return fmt.Errorf("%s: task %s is %s: %w", what, t.ID, t.State, ErrFinal)
	}
	return nil
}

func (t *Task) leaveQueue() { t.Position, t.ETA, t.Reason = 0, 0, flow.ReasonNone }

// latest guards against a clock that goes back.
func latest(times ...time.Time) time.Time {
	out := times[0]
	for _, t := range times[1:] {
		if t.After(out) {
			out = t
		}
	}
	return out
}
