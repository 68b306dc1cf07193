package console

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/gate"
)

// Defaults of Options.
const (
	DefaultStreams  = 64
	DefaultSessions = 256
	DefaultSession  = 12 * time.Hour
)

// Options bound the console.
type Options struct {
	Version  string        // of the program, shown on every page
	Streams  int           // open at a time, of one key at most 16; 0 = 64
	Sessions int           // logged in at a time, of one key at most 16, the oldest makes room; 0 = 256
	Session  time.Duration // how long a login lasts; 0 = 12 h
}

// Setting is one value of the configuration as people see it.
type Setting struct {
	Name   string // such as upstreams.main.quota.requests
	Value  string // masked if it is a credential
	Origin string // file and line, variable, flag, or "default"
}

// Tasks is how the accepted tasks stand.
type Tasks struct {
	Waiting   int `json:"waiting"`
	Running   int `json:"running"`
	Scheduled int `json:"scheduled"` // for another try
}

// Requests are the latest ones; *ring.Ring keeps them.
type Requests interface {
	Recent(n int) []event.Record
	Get(id string) (event.Record, bool)
	Attempts(id string) []event.Attempt
}

// Role is what a principal may do. The zero value may look.
type Role uint8

// The roles.
const (
	Viewer   Role = iota // sees everything that the console shows
	Operator             // may act, too
)

// String returns the role as the pages and the log name it.
func (r Role) String() string {
	if r == Operator {
		return "operator"
	}
	return "viewer"
}

// Principal is whom a key stands for.
type Principal struct {
	Name string // of the key, for people and the log; never a secret
	Role Role
}

// Keys know who may come.
type Keys interface {
	Any() bool                                           // false: none are configured, and whoever reaches this machine is the operator
	Find(sum [sha256.Size]byte) (who Principal, ok bool) // by the SHA-256 of the token
}

// Deps are what the console shows and acts on. All functions may be called from
// any goroutine. What is nil after Meter is not offered, and the pages say so.
type Deps struct {
	Snapshot func() gate.Snapshot
	Settings func() []Setting
	Requests Requests
	Meter    *Meter

	Flows   Flows                       // nil: nobody is shown who waits
	Shadow  *Shadow                     // nil: nobody counts the 429s that were avoided
	Keys    Keys                        // nil: none are ever configured
	Tasks   func() Tasks                // nil: there are no tasks
	Reset   func(upstream string) error // closes a breaker; errors as those of Control
	Trip    func(upstream string) error // opens it until Reset
	Control Control
	Plan    Planner
	Load    Loader
	Log     *slog.Logger // the audit, too; nil discards
}

func (d *Deps) validate() error {
	if d.Snapshot == nil || d.Settings == nil || d.Requests == nil || d.Meter == nil {
		return errors.New("console: Snapshot, Settings, Requests or Meter missing: pass all four in Deps")
	}
	return nil
}

func (o *Options) validate() error {
	if o.Streams < 0 || o.Sessions < 0 || o.Session < 0 {
		return fmt.Errorf("console: streams %d, sessions %d, session %v: must not be negative, 0 is the default", o.Streams, o.Sessions, o.Session)
	}
	return nil
}

// Mount is a route for the gateway to serve where it serves operators. It asks for
// the key itself, since a browser cannot send one with a page.
type Mount struct {
	Pattern string                                                  // of net/http's ServeMux, with a method
	Handler func(w http.ResponseWriter, r *http.Request, id string) // of the request
}

// Console answers people. Use New.
type Console struct {
	options  Options
	deps     Deps
	started  time.Time
	files    map[string]*file
	cross    *http.CrossOriginProtection
	sessions sessions
	plans    plans

	mu        sync.Mutex
	frame     frame
	flows     []gate.FlowState // room for those of a frame
	search    search
	streams   int            // open
	streamsOf map[string]int // of them, by the name of the key
	closed    chan struct{}
	once      sync.Once
}

// New returns a Console, or everything that is wrong with o and d, joined.
func New(o Options, d Deps) (*Console, error) {
	if err := errors.Join(o.validate(), d.validate()); err != nil {
		return nil, err
	}
	if o.Streams == 0 {
		o.Streams = DefaultStreams
	}
	if o.Sessions == 0 {
		o.Sessions = DefaultSessions
	}
	if o.Session == 0 {
		o.Session = DefaultSession
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	files, err := loadFiles()
	if err != nil {
		return nil, fmt.Errorf("console: read the pages: %w", err)
	}
	c := &Console{
		options: o, deps: d, started: time.Now(), files: files,
		cross: http.NewCrossOriginProtection(), streamsOf: make(map[string]int), closed: make(chan struct{}),
	}
	c.sessions.open = make(map[[sha256.Size]byte]session)
	c.plans.newest, c.plans.turn = make(map[string]*context.CancelCauseFunc), make(chan time.Time, 1)
	c.plans.turn <- c.started
	return c, nil
}

// Close ends all streams, so that a shutdown need not wait for the pages that
// are open.
func (c *Console) Close() { c.once.Do(func() { close(c.closed) }) }

// Paths.
const (
	pages    = "/ui/"
	api      = "/api/v1/console/"
	planPath = "/api/v1/plan"
)

// Mounts are the console's routes.
func (c *Console) Mounts() []Mount {
	page := func(pattern string, serve http.HandlerFunc) Mount {
		return Mount{Pattern: pattern, Handler: func(w http.ResponseWriter, r *http.Request, _ string) {
			harden(w.Header())
			serve(w, r)
		}}
	}
	return []Mount{
		page("GET /ui", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, pages, http.StatusFound) }),
		page("GET "+pages+"{file...}", c.serveFile),
		c.mount("GET", "session", c.serveSession, open),
		c.mount("POST", "session", c.login, open),
		c.mount("DELETE", "session", c.logout, open),
		c.mount("GET", "state", c.serveState, look),
		c.mount("GET", "stream", c.serveStream, look),
		c.mount("GET", "settings", c.serveSettings, look),
		c.mount("GET", "requests", c.serveRequests, look),
		c.mount("GET", "requests/{id}", c.serveRequest, look),
		c.mount("GET", "flows", c.serveFlows, look),
		c.mount("GET", planPath, c.servePlan, look),
		c.mount("GET", "load", c.serveLoad, look),
		c.mount("GET", "load/report", c.serveReport, look),
		c.mount("POST", "load/start", c.startLoad, act),
		c.mount("POST", "load/stop", c.stopLoad, act),
		c.mount("POST", "upstreams/{name}/reset", c.reset, act),
		c.mount("POST", "upstreams/{name}/trip", c.trip, act),
		c.mount("POST", "classes/{name}/pause", c.pause, act),
		c.mount("POST", "classes/{name}/resume", c.resume, act),
		c.mount("POST", "flows/move-up", c.moveUp, act),
		c.mount("POST", "flows/evict", c.evict, act),
	}
}
