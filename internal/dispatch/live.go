package dispatch

import (
	"sync"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/flow"
)

// Live is a request that has not ended, as seen from outside.
type Live struct {
	ID      string
	Flow    flow.Key
	Model   string // the model name the client asked for
	Arrived time.Time
	Running bool             // an attempt is under way for it
	Status  admission.Status // where it stands in the queue; zero while it does not wait
}

// live are the requests that have not ended, by id.
type live struct {
	mu   sync.Mutex
	runs map[string]*run
}

func (l *live) enter(r *run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs == nil {
		l.runs = make(map[string]*run)
	}
	l.runs[r.req.ID] = r
}

func (l *live) leave(r *run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[r.req.ID] == r { // another one may have come with the same id
		delete(l.runs, r.req.ID)
	}
}

// Live looks up a request that waits or runs. It tells nothing of one that has
// ended: that one has a record.
func (d *Dispatcher) Live(id string) (Live, bool) {
	d.live.mu.Lock()
	r := d.live.runs[id]
	if r == nil {
		d.live.mu.Unlock()
		return Live{}, false
	}
	// Its memory is the caller's again once it has left, so it is read before.
	l := Live{ID: r.req.ID, Flow: r.req.Ask.Flow, Model: r.req.Ask.Model, Arrived: r.req.Arrived}
	d.live.mu.Unlock()
	l.Status = r.status()
	l.Running = r.isRunning()
	return l, true
}

// status is where the request stands in the queue, for any goroutine; zero while it
// does not wait.
func (r *run) status() admission.Status {
	ticket := r.place.Load()
	switch c := r.joined.Load(); {
	case r.isRunning():
		return admission.Status{}
	case c != nil:
		return c.status()
	case ticket == nil:
		return admission.Status{}
	}
	return ticket.Status()
}
