package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

// What callers are told. ErrFull and ErrDraining refuse a task; ErrRevoked is the
// cause with which the context of a canceled task's work ends.
var (
	ErrNotFound = task.ErrNotFound
	ErrFull     = fmt.Errorf("%w: as many tasks are kept as may be", flow.ErrQueueFull)
	ErrTenant   = fmt.Errorf("%w: as many tasks of this tenant wait as may", flow.ErrFlowFull)
	ErrDraining = fmt.Errorf("%w: no new tasks", flow.ErrDraining)
	ErrRevoked  = fmt.Errorf("%w: the task was canceled", flow.ErrCanceled)
)

// Work runs one try of a task. Its ctx ends with the cause ErrRevoked when the task is
// canceled, and with one that wraps flow.ErrDrained when the runner closes; it has to return soon
// after. It tells by tell, from any goroutine, until it returns. It returns the answer, or
// an error that is best a *task.Failure.
type Work func(ctx context.Context, t task.Task, tell func(Update)) (task.Result, error)

// Update is what a work tells on its way. Zero fields say nothing.
type Update struct {
	Started  bool          // it was dispatched; it no longer waits
	Progress task.Progress // how far it is
	Position int           // it waits in the queue, 1 = next
	ETA      time.Duration // with Position: until it is dispatched; 0 = unknown
	Reason   flow.Reason   // with Position: what it waits for
}

// Store keeps tasks. storetest.Run is its contract. An implementation never hands out or
// keeps what its caller may change: it clones.
type Store interface {
	// Create keeps a new task; an error that wraps task.ErrExists if its id is taken.
	Create(ctx context.Context, t task.Task) error
	// Update replaces an unfinished task. An error wraps task.ErrNotFound if there is none of
	// this id, task.ErrFinal if it has ended: then it stays as it is.
	Update(ctx context.Context, t task.Task) error
	// Get returns a task; an error that wraps task.ErrNotFound if there is none.
	Get(ctx context.Context, id string) (task.Task, error)
	// Expire forgets all tasks that finished before the time given, and says how many.
	Expire(ctx context.Context, before time.Time) (int, error)
	// Unfinished returns all that have not ended, the oldest first.
	Unfinished(ctx context.Context) ([]task.Task, error)
}

// Retry says how often and when a failed task of a class is tried again.
type Retry struct {
	Times int           // tries after the first; 0 = none
	Wait  time.Duration // between the end of a try and the next; 0 = at once
}

// Options are plain values.
type Options struct {
	Classes map[flow.Class]Retry // a class that is not named is not retried
	Keep    time.Duration        // how long results are kept; 0 = 1 h
	Max     int                  // tasks that wait, run or are kept; 0 = 100,000
	Bytes   int64                // their bodies together; 0 = 1 GiB
	Part    float64              // of Max and Bytes, that the unfinished tasks of one tenant may take; 0 = all
}

// Deps are what a runner works with.
type Deps struct {
	Store Store        // required
	Work  Work         // required
	Log   *slog.Logger // nil = silent
}

// Count is how the tasks of one kind stand.
type Count struct {
	Waiting, Running           int // now; who waits for a retry waits
	Succeeded, Failed, Revoked int // since the start
}

// Stats is how all tasks stand.
type Stats struct {
	Waiting   int // in the queue
	Running   int // dispatched
	Scheduled int // waiting for their next try
	Kept      int // ended, and not yet forgotten
	ByKind    map[string]Count
}

// whole checks the options and fills in what is zero.
func (o Options) whole() (Options, error) {
	var faults []error
	if o.Keep < 0 {
		faults = append(faults, fmt.Errorf("tasks: keep is %v; give how long results are kept, or 0 for 1h", o.Keep))
	}
	if o.Max < 0 {
		faults = append(faults, fmt.Errorf("tasks: max is %d; give how many tasks are kept, or 0 for 100000", o.Max))
	}
	if o.Bytes < 0 {
		faults = append(faults, fmt.Errorf("tasks: bytes is %d; give how much is kept, or 0 for 1 GiB", o.Bytes))
	}
	for class, retry := range o.Classes {
		if retry.Times < 0 || retry.Wait < 0 {
			faults = append(faults, fmt.Errorf(
				"class %s: retries is %d and retry_after %v; neither can be below 0", class, retry.Times, retry.Wait))
		}
	}
	o.Keep, o.Max, o.Bytes = cmp.Or(o.Keep, time.Hour), cmp.Or(o.Max, 100_000), cmp.Or(o.Bytes, 1<<30)
	o.Classes = maps.Clone(o.Classes)
	return o, errors.Join(faults...)
}
