package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
)

// Defaults of Options.
const (
	DefaultMaxBody = 32 << 20
	DefaultHold    = 240 * time.Second
	localTenant    = "local"
)

// Options say what the gateway offers, and to whom.
type Options struct {
	Routes  []Route       // in the order of admission's routes; the first that matches wins
	Classes []Class       // those a request can have; a class that is not listed has weight 1
	Keys    []Key         // who may ask; none: everybody is the tenant "local"
	MaxBody int64         // bytes of a request's body; 0 = 32 MiB
	Hold    time.Duration // longest hold of an answer that is not a stream; 0 = 240 s
	// StreamHold is the longest hold of a stream; 0 leaves it to its class's longest wait.
	StreamHold time.Duration
}

// Route is a client-visible model name, or a pattern of them.
type Route struct {
	Model string        // "gpt-4o", "gpt-*" or "*"
	Class flow.Class    // of its requests, unless their key has one; empty: chat
	Hold  time.Duration // longest hold of an answer that is not a stream; 0 = Options.Hold
}

// Class is what the gateway needs to know of a kind of work.
type Class struct {
	Name   flow.Class
	Weight float64 // 0 = 1
}

// Key is the right to ask, in the name of a tenant.
type Key struct {
	SHA256 [sha256.Size]byte // of the bearer token
	Tenant string
	Class  flow.Class // of its requests; empty leaves it to the route
}

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

// Deps are the collaborators of a Gateway.
type Deps struct {
	Dispatcher Dispatcher
	Limits     Limits
	Catalog    Catalog
	Sink       event.Sink   // told of requests that are turned away before dispatch; nil drops them
	Metrics    http.Handler // answers /metrics; nil: 404
	Log        *slog.Logger // panics and errors of connections; nil discards
}

// Gateway is the data plane. It implements http.Handler.
type Gateway struct {
	options Options
	deps    Deps
	exact   map[string]int // routes by full model name
	globs   []int          // routes with patterns, in order
	weights map[flow.Class]float64
	keys    map[[sha256.Size]byte]*Key
	seed    maphash.Seed
	mux     *http.ServeMux
	board   board
	buffers buffers
	started int64 // Unix seconds, as the date of the models
	server  *http.Server

	draining atomic.Bool
	base     context.Context // of all requests; its cause tells them of the end of a drain
	stop     context.CancelCauseFunc
}

// New returns a Gateway, or everything that is wrong with o and d, joined.
func New(o Options, d Deps) (*Gateway, error) {
	if err := validate(&o, &d); err != nil {
		return nil, err
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Sink == nil {
		d.Sink = event.NewFanout()
	}
	g := &Gateway{
		options: o, deps: d, seed: maphash.MakeSeed(), mux: http.NewServeMux(),
		exact: make(map[string]int), weights: make(map[flow.Class]float64), keys: make(map[[sha256.Size]byte]*Key),
	}
	g.board.limits, g.board.routes = d.Limits, make([]atomic.Pointer[limits], len(o.Routes))
	for i, r := range o.Routes {
		if strings.HasSuffix(r.Model, "*") {
			g.globs = append(g.globs, i)
		} else if _, taken := g.exact[r.Model]; !taken {
			g.exact[r.Model] = i
		}
	}
	for _, c := range o.Classes {
		g.weights[c.Name] = c.Weight
	}
	for i := range o.Keys {
		g.keys[o.Keys[i].SHA256] = &o.Keys[i]
	}
	g.started = time.Now().Unix()
	g.base, g.stop = context.WithCancelCause(context.Background())
	g.handle()
	g.server = g.newServer()
	return g, nil
}

func validate(o *Options, d *Deps) error {
	var faults []error
	if d.Dispatcher == nil || d.Limits == nil || d.Catalog == nil {
		faults = append(faults, errors.New("gateway: dispatcher, limits or catalog missing: pass all three in Deps"))
	}
	if len(o.Routes) == 0 {
		faults = append(faults, errors.New("gateway: no routes: describe at least one, such as model \"*\""))
	}
	for i, r := range o.Routes {
		if r.Model == "" || strings.Contains(strings.TrimSuffix(r.Model, "*"), "*") {
			faults = append(faults, fmt.Errorf("gateway: routes[%d].model %q: name a model, or a pattern with one * at its end", i, r.Model))
		}
		if r.Hold < 0 {
			faults = append(faults, fmt.Errorf("gateway: routes[%d].hold is negative: use 0 for the default", i))
		}
	}
	for i, k := range o.Keys {
		if k.Tenant == "" || k.SHA256 == ([sha256.Size]byte{}) || k.SHA256 == sha256.Sum256(nil) {
			faults = append(faults, fmt.Errorf("gateway: keys[%d]: tenant or hash missing: a key needs both, and must not be empty", i))
		}
	}
	if o.MaxBody < 0 || o.Hold < 0 || o.StreamHold < 0 {
		faults = append(faults, errors.New("gateway: max_body and holds must not be negative: use 0 for the defaults"))
	}
	return errors.Join(faults...)
}

// handle registers every route. What is not named gets OpenAI's 404 or 405.
func (g *Gateway) handle() {
	for path, op := range map[string]llm.Operation{
		"/v1/chat/completions": llm.OpChat,
		"/v1/completions":      llm.OpCompletion,
		"/v1/embeddings":       llm.OpEmbedding,
	} {
		g.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { g.infer(w, r, op) })
		g.mux.HandleFunc(path, g.otherMethod("POST"))
	}
	g.mux.HandleFunc("GET /v1/models", g.listModels)
	g.mux.HandleFunc("/v1/models", g.otherMethod("GET, HEAD"))
	g.mux.HandleFunc("GET /v1/models/{model...}", g.showModel)
	g.mux.HandleFunc("/v1/models/{model...}", g.otherMethod("GET, HEAD"))
	g.mux.HandleFunc("GET /healthz", g.healthy)
	g.mux.HandleFunc("GET /readyz", g.ready)
	if g.deps.Metrics != nil {
		g.mux.Handle("GET /metrics", g.deps.Metrics)
	}
	g.mux.HandleFunc("/", g.unknown)
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer g.contain(w, r)
	g.mux.ServeHTTP(w, r)
}

// contain answers a panic with 500. Those below dispatch have been dealt with there.
func (g *Gateway) contain(w http.ResponseWriter, r *http.Request) {
	p := recover()
	switch p {
	case nil:
		return
	case http.ErrAbortHandler:
		panic(p) //nolint:forbidigo // net/http asks for it, to cut the connection
	}
	id := requestID()
	g.deps.Log.Error("panic in a handler", "request", id, "path", clean(r.URL.Path), "panic", fmt.Sprint(p))
	g.refuse(w, internalFault(id), id)
	g.tell(untold{id: id, arrived: time.Now()}, flow.OutcomeFailed, http.StatusInternalServerError, "panic")
}

// refuse answers with a fault outside of dispatch.
func (g *Gateway) refuse(w http.ResponseWriter, f *fault, id string) {
	// The deadline of an earlier answer on this connection may have passed.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxWrite))
	h := w.Header()
	h[hRequestID] = []string{id}
	h["Access-Control-Expose-Headers"] = exposed
	f.write(w, id)
}

func (g *Gateway) otherMethod(allow string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f := invalid("", fmt.Sprintf("Not allowed to %s on %s.", clean(r.Method), clean(r.URL.Path)))
		f.status, f.allow = http.StatusMethodNotAllowed, allow
		g.refuse(w, f, requestID())
	}
}

func (g *Gateway) unknown(w http.ResponseWriter, r *http.Request) {
	f := invalid("", fmt.Sprintf("Invalid URL (%s %s)", clean(r.Method), clean(r.URL.Path)))
	f.status, f.code = http.StatusNotFound, "unknown_url"
	g.refuse(w, f, requestID())
}

func (g *Gateway) healthy(w http.ResponseWriter, _ *http.Request) {
	plainText(w, http.StatusOK, "ok\n")
}

func (g *Gateway) ready(w http.ResponseWriter, _ *http.Request) {
	switch {
	case g.draining.Load():
		plainText(w, http.StatusServiceUnavailable, "draining\n")
	case !g.deps.Limits.Ready():
		plainText(w, http.StatusServiceUnavailable, "no upstream answers\n")
	default:
		plainText(w, http.StatusOK, "ready\n")
	}
}

func plainText(w http.ResponseWriter, status int, text string) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxWrite))
	w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
