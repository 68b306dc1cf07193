package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/task"
)

// Tasks keeps and runs tasks; package runner does. Another tenant's task is
// task.ErrNotFound.
type Tasks interface {
	Submit(ctx context.Context, t task.Task) (task.Task, error)
	Get(ctx context.Context, tenant, id string) (task.Task, error)
	// Wait returns the task when it is ready, or as it stands when ctx ends.
	Wait(ctx context.Context, tenant, id string) (task.Task, error)
	// Cancel reports whether the task was still unfinished.
	Cancel(ctx context.Context, tenant, id string) (task.Task, bool, error)
	Stats() runner.Stats
}

// Dispatcher runs one request to its end; package dispatch does.
type Dispatcher interface {
	Do(ctx context.Context, req *dispatch.Request, reply dispatch.Reply) flow.Outcome
}

// History keeps conversations. Its methods may be called from any goroutine.
type History interface {
	Load(tenant, session string) []task.Turn
	Append(tenant, session string, turns ...task.Turn)
}

// Deps are the collaborators of a Set.
type Deps struct {
	Tasks      Tasks
	Dispatcher Dispatcher
	Route      func(model string) (index int, ok bool)                            // the route of a model's name
	History    History                                                            // nil = no endpoint has a history
	Body       func(w http.ResponseWriter, r *http.Request) ([]byte, error)       // reads a body within its bounds
	Refuse     func(w http.ResponseWriter, r *http.Request, id string, err error) // answers what Body and Tasks refuse
	Overview   func() Overview                                                    // nil = empty
	Reset      func() int                                                         // closes all breakers and says how many were not; nil = none
	Version    string                                                             // of the program
	Log        *slog.Logger                                                       // nil discards
}

// Overview is what the statistics show beside the tasks.
type Overview struct {
	Workers   int // tasks that may run at a time; 0 = no bound
	Waiting   int // requests in all queues, tasks and others
	Upstreams []Upstream
}

// Upstream is one line of GET /model_stats.
type Upstream struct {
	Name      string
	Model     string // the upstream's name for it; empty if clients name it
	Requests  int64  // attempts since the start
	Throttles int64  // of them, answered with a throttle
	Failures  int64  // of them, failed otherwise
	Breaker   string // closed, open or half-open
	Cooldown  time.Duration
	InUse     int // seats taken
	Seats     int // 0 = no bound
}

// Caller is who asks, as the gateway has found.
type Caller struct {
	Tenant  string
	Key     string       // name of the key; empty where none are configured
	Class   flow.Class   // of the key; an endpoint has its own
	User    string       // whom the gateway takes the caller for
	Classes []flow.Class // that the key may use; empty = all
	Models  []string     // names or patterns that the key may use; empty = all
	ID      string       // of the request
}

// Mount is a route for the gateway to serve.
type Mount struct {
	Pattern  string // of net/http's ServeMux, with a method
	Operator bool   // for operators only
	Open     bool   // needs no key
	Handler  func(w http.ResponseWriter, r *http.Request, c Caller)
}

// Update is what Work tells on its way; zero fields say nothing.
type Update struct {
	Started  bool          // it was dispatched
	Progress task.Progress // how far it is
	Position int           // it waits in the queue, 1 = next
	ETA      time.Duration // with Position: until it is dispatched; 0 = unknown
	Reason   flow.Reason   // with Position: what it waits for
}

// Set is all endpoints of one configuration.
type Set struct {
	options Options
	deps    Deps
	plans   map[string]*plan // by path
	paths   []string         // in order of configuration
}

// New returns the endpoints of o, or everything that is wrong with o and d, joined.
func New(o Options, d Deps) (*Set, error) {
	if err := errors.Join(o.Validate(), d.validate(o)); err != nil {
		return nil, err
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = DefaultMaxAnswer
	}
	if o.MaxPrompt == 0 {
		o.MaxPrompt = DefaultMaxPrompt
	}
	if d.Overview == nil {
		d.Overview = func() Overview { return Overview{} }
	}
	if d.Reset == nil {
		d.Reset = func() int { return 0 }
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	s := &Set{options: o, deps: d, plans: make(map[string]*plan)}
	for _, e := range o.Endpoints {
		if e.Answer == "" {
			e.Answer = Text
		}
		if e.Class == "" {
			e.Class = flow.Chat
		}
		s.plans[e.Path] = newPlan(e)
		s.paths = append(s.paths, e.Path)
	}
	return s, nil
}

func (d *Deps) validate(o Options) error {
	var faults []error
	if d.Tasks == nil || d.Dispatcher == nil || d.Route == nil || d.Body == nil || d.Refuse == nil {
		return errors.New("endpoint: pass Tasks, Dispatcher, Route, Body and Refuse in Deps")
	}
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		if _, ok := d.Route(e.Model); !ok && e.Model != "" {
			faults = append(faults, fmt.Errorf("endpoints[%d].model: no route leads to %q: add one, or name another model", i, e.Model))
		}
		if e.History > 0 && d.History == nil {
			faults = append(faults, errors.New("endpoint: an endpoint has a history: pass History in Deps"))
		}
	}
	return errors.Join(faults...)
}

// Has reports whether tasks of this kind are the Set's to run.
func (s *Set) Has(kind string) bool { return s.plans[kind] != nil }

// Mounts are the routes of the Set.
func (s *Set) Mounts() []Mount {
	mounts := []Mount{
		{Pattern: "GET /task_status/{id}", Handler: s.taskStatus},
		{Pattern: "POST /cancel_task/{id}", Handler: s.cancelTask},
		{Pattern: "GET /queue_stats", Handler: s.queueStats},
		{Pattern: "GET /model_stats", Handler: s.modelStats},
		{Pattern: "POST /reset_model_cooldowns", Operator: true, Handler: s.resetCooldowns},
		{Pattern: "GET /health", Open: true, Handler: health},
	}
	own := make([]Mount, 0, len(s.paths)+len(mounts))
	for _, path := range s.paths {
		p := s.plans[path]
		own = append(own, Mount{Pattern: "POST " + path, Handler: func(w http.ResponseWriter, r *http.Request, c Caller) {
			s.post(w, r, c, p)
		}})
	}
	return slices.Concat(own, mounts)
}
