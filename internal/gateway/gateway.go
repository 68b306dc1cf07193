package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/task"
)

// Defaults of Options.
const (
	DefaultMaxBody = 32 << 20
	DefaultBodies  = 512 << 20
	DefaultHold    = 240 * time.Second
	localTenant    = "local"
)

// Options say what the gateway offers, and to whom. Reconfigure changes all of them.
type Options struct {
	Routes []Route // by the index that admission and dispatch know them by
	// Order names the routes in the order in which they are tried, by their index
	// in Routes. Routes that it leaves out match nothing: they are the slots of
	// those that a reload has taken away. Nil: all, as they stand.
	Order   []int
	Classes []Class // those a request can have; a class that is not listed has weight 1
	Keys    []Key   // who may ask; none: everybody is the tenant "local"
	Mounts  []Mount // what others answer
	MaxBody int64   // bytes of a request's body; 0 = 32 MiB
	Bodies  int64   // bytes of all bodies at a time, from their first byte to the end of their answers; 0 = 512 MiB

	Hold time.Duration // longest hold of an answer that is not a stream; 0 = 240 s
	// StreamHold is the longest hold of a stream; 0 leaves it to its class's longest wait.
	StreamHold time.Duration

	TrustedProxies   []netip.Prefix // whose X-Forwarded-For is believed
	Loopback         bool           // nobody but this machine connects: the operator's patterns are served with the others
	Connections      int            // at a time, in all; 0 = no bound
	ConnectionsPerIP int            // at a time, from one address that is no trusted proxy; 0 = no bound
}

// Route is a client-visible model name, or a pattern of them.
type Route struct {
	Model string        // "gpt-4o", "gpt-*" or "*"
	Class flow.Class    // of its requests, unless their key has one; empty: chat
	Hold  time.Duration // longest hold of an answer that is not a stream; 0 = Options.Hold

	Coalesce   bool          // identical requests share one call
	Cache      time.Duration // how long an answer may be used again; 0 = not at all
	ShareUsers bool          // calls and answers may be shared between the users of a tenant
}

// Class is what the gateway needs to know of a kind of work.
type Class struct {
	Name   flow.Class
	Weight float64 // 0 = 1
}

// Key is the right to ask, in the name of a tenant.
type Key struct {
	Name    string            // for people; never a secret
	SHA256  [sha256.Size]byte // of the token
	Tenant  string
	Role    Role
	Class   flow.Class   // of its requests; empty leaves it to the route
	Classes []flow.Class // its requests may have; empty = all
	Models  []string     // names, or patterns such as "gpt-*", that it may ask for; empty = all
}

// Role is what a key is good for beyond asking models. The zero value is no more
// than that.
type Role uint8

// The roles, each with the rights of those before it.
const (
	RoleClient   Role = iota // asks models
	RoleViewer               // may see what all tenants do
	RoleOperator             // may use patterns of Access Operator
)

// Dispatcher runs requests; *dispatch.Dispatcher does.
type Dispatcher interface {
	Do(ctx context.Context, req *dispatch.Request, reply dispatch.Reply) flow.Outcome
}

// Limits tell what is left of the upstreams; *admission.Controller does.
type Limits interface {
	AppendLimits(dst []gate.Limit, route int) []gate.Limit
	Ready() bool
	Drain()
}

// Catalog knows the names of the models that a client can ask for.
type Catalog interface {
	Models(ctx context.Context) []string
}

// Tasks keep work whose client does not wait for it; *runner.Runner does.
type Tasks interface {
	Submit(ctx context.Context, t task.Task) (task.Task, error)
	Get(ctx context.Context, tenant, id string) (task.Task, error)
	Wait(ctx context.Context, tenant, id string) (task.Task, error)
	Cancel(ctx context.Context, tenant, id string) (task.Task, bool, error)
}

// Deps are the collaborators of a Gateway.
type Deps struct {
	Dispatcher Dispatcher
	Limits     Limits
	Catalog    Catalog
	Tasks      Tasks        // nil: no tasks; a wish for one is not granted
	Sink       event.Sink   // told of requests that are turned away before dispatch; nil drops them
	Metrics    http.Handler // answers /metrics; nil: 404
	Log        *slog.Logger // panics and errors of connections; nil discards
}

// Gateway is the data plane. It implements http.Handler.
type Gateway struct {
	deps    Deps
	table   atomic.Pointer[table] // what requests that arrive now go by
	seed    maphash.Seed          // of the names of kept places
	sharer  *flow.Sharer
	buffers buffers
	bodies  atomic.Int64 // bytes set aside for bodies
	parts   sync.Map     // of tenant to *atomic.Int64: what each has of them
	started int64        // Unix seconds, as the date of the models
	server  *http.Server

	draining atomic.Bool
	base     context.Context // of all requests; its cause tells them of the end of a drain
	stop     context.CancelCauseFunc
}

// New returns a Gateway, or everything that is wrong with o and d, joined.
func New(o Options, d Deps) (*Gateway, error) {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Sink == nil {
		d.Sink = event.NewFanout()
	}
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	g := &Gateway{deps: d, seed: maphash.MakeSeed(), sharer: flow.NewSharer(secret), started: time.Now().Unix()}
	t, err := newTable(g, o, d.Catalog)
	if d.Dispatcher == nil || d.Limits == nil || d.Catalog == nil {
		err = errors.Join(errors.New("gateway: dispatcher, limits or catalog missing: pass all three in Deps"), err)
	}
	if err != nil {
		return nil, err
	}
	g.table.Store(t)
	g.base, g.stop = context.WithCancelCause(context.Background())
	g.server = g.newServer()
	return g, nil
}

// Reconfigure changes what later requests meet. Those under way go on with what
// they began with, and nothing that was learned or kept is lost. A nil catalog
// keeps the one there is. It fails, and changes nothing, if o is wrong.
func (g *Gateway) Reconfigure(o Options, c Catalog) error {
	if c == nil {
		c = g.table.Load().catalog
	}
	t, err := newTable(g, o, c)
	if err != nil {
		return fmt.Errorf("gateway: nothing is changed: %w", err)
	}
	g.table.Store(t)
	return nil
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.table.Load().main.ServeHTTP(w, r)
}

// Admin answers what is the operator's: metrics, health, profiles and the mounts
// of Access Operator. Give it a listener of its own.
func (g *Gateway) Admin() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.table.Load().admin.ServeHTTP(w, r) })
}
