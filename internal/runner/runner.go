package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

const (
	freshness  = 60 * time.Second // an end younger than this makes no room
	storeLimit = 10 * time.Second // for one write that no caller waits for
	closeGrace = 10 * time.Second // for works to return once they were told to
	sweepGap   = time.Second      // between two sweeps
	debtGap    = 5 * time.Second  // between two offers of an end to a store that refused it
)

// Runner runs tasks. Use New.
type Runner struct {
	store Store
	work  Work
	log   *slog.Logger
	ctx   context.Context // above those of all works
	stop  context.CancelCauseFunc
	busy  sync.WaitGroup // Submits, works and sweeps under way

	mu         sync.Mutex
	o          Options
	draining   bool
	closed     bool
	live       map[string]*entry // the unfinished, and owed
	unfinished int
	tenants    map[string]holding // what the unfinished of each take
	idle       chan struct{}      // closed when unfinished falls to 0; nil = nobody asked
	kept       []end              // the earliest first
	bytes      int64              // of live and kept
	owed       []*entry           // have ended, and the store does not know
	timer      *time.Timer        // of the next sweep
	armed      bool
	phases     [phaseCount]int
	kinds      map[string]*Count
}

// end is what is remembered of a task that has ended; the rest is in the store.
type end struct {
	at   time.Time
	size int64
}

// holding is what tasks take.
type holding struct {
	n     int
	bytes int64
}

// New returns a runner without tasks.
func New(o Options, d Deps) (*Runner, error) {
	o, err := o.whole()
	if d.Store == nil || d.Work == nil {
		err = errors.Join(err, errors.New("runner: a store and a work are required"))
	}
	if err != nil {
		return nil, err
	}
	r := &Runner{
		store: d.Store, work: d.Work, log: d.Log, o: o,
		live: make(map[string]*entry), kinds: make(map[string]*Count), tenants: make(map[string]holding),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.ctx, r.stop = context.WithCancelCause(context.Background())
	return r, nil
}

// Submit accepts a task: its Kind, Flow, Header and Payload count, the rest is set
// here. It returns the task as it was recorded, once it is. Errors wrap ErrFull, ErrDraining or the
// store's.
func (r *Runner) Submit(ctx context.Context, t task.Task) (task.Task, error) {
	e := r.newEntry(task.Task{
		ID: newID(), Kind: t.Kind, Flow: t.Flow, Header: t.Header.Clone(), Payload: t.Payload, Created: time.Now(),
	})
	recorded := e.task.Clone()
	before, err := r.enter(e)
	if err != nil {
		e.cancel(err)
		return task.Task{}, fmt.Errorf("submit task: %w", err)
	}
	if !before.IsZero() {
		r.expire(before)
	}
	if err := r.store.Create(ctx, recorded); err != nil {
		r.withdraw(e, err)
		return task.Task{}, fmt.Errorf("submit task: %w", err)
	}
	go r.run(e)
	return recorded, nil
}

// Resume takes up what an earlier run left unfinished in the store, and says how many
// tasks that are. Call it once, before the first Submit; their bound is not asked.
func (r *Runner) Resume(ctx context.Context) (int, error) {
	left, err := r.store.Unfinished(ctx)
	if err != nil {
		return 0, fmt.Errorf("resume tasks: %w", err)
	}
	for i := range left {
		e := r.newEntry(left[i].Clone())
		if e.task.State != task.Pending {
			_ = e.task.Again(time.Now()) // cannot fail: it has not ended
		}
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			e.cancel(ErrDraining)
			return i, fmt.Errorf("resume tasks: %w", ErrDraining)
		}
		r.insertLocked(e)
		r.mu.Unlock()
		r.save(e)
		go r.run(e)
	}
	return len(left), nil
}

// Get returns a task of the tenant. Errors wrap ErrNotFound, for other tenants' too, or
// the store's.
func (r *Runner) Get(ctx context.Context, tenant, id string) (task.Task, error) {
	if e := r.find(tenant, id); e != nil {
		return r.view(e), nil
	}
	return r.stored(ctx, tenant, id)
}

// Wait returns a task of the tenant once it is ready or ctx ends, then as it stands and
// without an error. Other errors are Get's.
func (r *Runner) Wait(ctx context.Context, tenant, id string) (task.Task, error) {
	e := r.find(tenant, id)
	if e == nil {
		return r.stored(ctx, tenant, id)
	}
	select {
	case <-e.done:
	case <-ctx.Done():
	}
	return r.view(e), nil
}

// Cancel ends a task of the tenant as Revoked and reports whether it was this call that
// ended it. The context of its work has ended by then. It returns once that is recorded, whether or
// not ctx has ended. Errors are Get's.
func (r *Runner) Cancel(ctx context.Context, tenant, id string) (task.Task, bool, error) {
	e := r.find(tenant, id)
	if e == nil {
		t, err := r.stored(ctx, tenant, id)
		return t, false, err
	}
	if r.end(e, ErrRevoked, (*task.Task).Revoke) {
		return r.view(e), true, nil
	}
	t, err := r.Wait(ctx, tenant, id) // another end is being recorded
	return t, false, err
}

// Reconfigure replaces the options: retries from the next failure on, the others at
// once. On an error nothing changes.
func (r *Runner) Reconfigure(o Options) error {
	o, err := o.whole()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.o, r.armed = o, false
	r.armLocked(time.Now())
	return nil
}

// Drain refuses new tasks from now on. The tries under way go on; no further one is
// waited for: what would need one fails.
func (r *Runner) Drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	for _, e := range r.live {
		if e.phase == scheduled {
			e.cancel(flow.ErrDrained)
		}
	}
}

// Idle returns a channel that is closed once no task is unfinished.
func (r *Runner) Idle() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unfinished == 0 {
		idle := make(chan struct{})
		close(idle)
		return idle
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	return r.idle
}

// Close refuses new tasks, ends the contexts of all works with a cause that wraps
// flow.ErrDrained and waits for them. What is unfinished then fails. Tasks can still be read. It
// returns an error if works did not return, or ends could not be recorded.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.draining, r.closed = true, true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.stop(flow.ErrDrained)

	gone := make(chan struct{})
	go func() { r.busy.Wait(); close(gone) }()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	var err error
	select {
	case <-gone:
	case <-grace.C:
		err = fmt.Errorf("close tasks: %d works did not return within %v of being told to", r.endAll(), closeGrace)
	}
	if n := r.payDebts(time.Now()); n > 0 {
		err = errors.Join(err, fmt.Errorf("close tasks: the store did not take the ends of %d", n))
	}
	return err
}

// newID is 128 random bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails: the process ends if the system has no random bits
	return hex.EncodeToString(b[:])
}
