package gateway

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// table is everything that Options decide. It is built whole and never changes:
// a request goes by the one it met when it arrived.
type table struct {
	options Options
	catalog Catalog
	exact   map[string]int // routes by full model name
	globs   []int          // routes with patterns, in the order they are tried
	weights map[flow.Class]float64
	keys    map[[sha256.Size]byte]*Key
	part    int64 // of Bodies, that one tenant may take
	board   board
	main    *desk
	admin   *desk
}

// newTable returns the table of the options, or everything that is wrong with them.
func newTable(g *Gateway, o Options, c Catalog) (*table, error) {
	if err := validate(&o); err != nil {
		return nil, err
	}
	o.MaxBody, o.Hold = cmp.Or(o.MaxBody, DefaultMaxBody), cmp.Or(o.Hold, DefaultHold)
	o.Bodies = max(cmp.Or(o.Bodies, DefaultBodies), o.MaxBody+1) // one as large as may be fits, with the byte in which its end is seen
	t := &table{
		options: o, catalog: c, part: o.Bodies,
		exact: make(map[string]int), weights: make(map[flow.Class]float64), keys: make(map[[sha256.Size]byte]*Key),
	}
	t.board.limits, t.board.routes = g.deps.Limits, make([]atomic.Pointer[limits], len(o.Routes))
	for _, i := range o.order() {
		model := o.Routes[i].Model
		if strings.HasSuffix(model, "*") {
			t.globs = append(t.globs, i)
		} else if _, taken := t.exact[model]; !taken {
			t.exact[model] = i
		}
	}
	for _, c := range o.Classes {
		t.weights[c.Name] = c.Weight
	}
	for i := range o.Keys {
		t.keys[o.Keys[i].SHA256] = &o.Keys[i]
	}
	if o.Crowded() {
		t.part = max(o.Bodies/2, o.MaxBody+1) // a half is always left to the others
	}
	return t, t.register(g)
}

// Crowded reports whether the keys of clients belong to several tenants.
func (o Options) Crowded() bool {
	var first *Key
	for i := range o.Keys {
		k := &o.Keys[i]
		if k.Role != RoleClient {
			continue
		}
		if first == nil {
			first = k
		}
		if k.Tenant != first.Tenant {
			return true
		}
	}
	return false
}

// order is the order in which routes are tried.
func (o *Options) order() []int {
	if o.Order != nil {
		return o.Order
	}
	all := make([]int, len(o.Routes))
	for i := range all {
		all[i] = i
	}
	return all
}

func validate(o *Options) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("gateway: "+format, args...)) }
	if len(o.order()) == 0 {
		fault("no routes: describe at least one, such as model \"*\"")
	}
	for _, i := range o.order() {
		if i < 0 || i >= len(o.Routes) {
			fault("order names route %d of %d: name those that exist", i, len(o.Routes))
			continue
		}
		r := o.Routes[i]
		if !isPattern(r.Model) {
			fault("routes[%d].model %q: name a model, or a pattern with one * at its end", i, r.Model)
		}
		if r.Hold < 0 || r.Cache < 0 {
			fault("routes[%d].hold or cache is negative: use 0 for the default", i)
		}
	}
	seen := make(map[[sha256.Size]byte]int)
	for i := range o.Keys {
		faults = append(faults, o.Keys[i].validate(i, seen))
	}
	if o.MaxBody < 0 || o.Bodies < 0 || o.Hold < 0 || o.StreamHold < 0 || o.Connections < 0 || o.ConnectionsPerIP < 0 {
		fault("max_body, holds and bounds of connections must not be negative: use 0 for the defaults")
	}
	return errors.Join(faults...)
}

func (k *Key) validate(i int, seen map[[sha256.Size]byte]int) error {
	var faults []error
	if k.Tenant == "" || k.SHA256 == ([sha256.Size]byte{}) || k.SHA256 == sha256.Sum256(nil) {
		faults = append(faults, fmt.Errorf("gateway: keys[%d]: tenant or hash missing: a key needs both, and must not be empty", i))
	}
	if first, twice := seen[k.SHA256]; twice {
		faults = append(faults, fmt.Errorf("gateway: keys[%d] has the hash of keys[%d]: make one of them anew", i, first))
	}
	seen[k.SHA256] = i
	for _, m := range k.Models {
		if !isPattern(m) {
			faults = append(faults, fmt.Errorf("gateway: keys[%d].models %q: name a model, or a pattern with one * at its end", i, m))
		}
	}
	if k.Class != "" && !k.mayHave(k.Class) {
		faults = append(faults, fmt.Errorf("gateway: keys[%d].class %q is not among its classes: add it there", i, k.Class))
	}
	return errors.Join(faults...)
}

// mayHave reports whether requests of the key may be of a class. The nil key may
// have all.
func (k *Key) mayHave(c flow.Class) bool {
	return k == nil || len(k.Classes) == 0 || slices.Contains(k.Classes, c)
}

// mayAsk reports whether the key may ask for a model. The nil key may ask for all.
func (k *Key) mayAsk(model string) bool {
	return k == nil || len(k.Models) == 0 || slices.ContainsFunc(k.Models, func(p string) bool { return matches(p, model) })
}

// isPattern reports whether p is a name, or one with a * at its end.
func isPattern(p string) bool { return p != "" && !strings.Contains(strings.TrimSuffix(p, "*"), "*") }

func matches(pattern, name string) bool {
	stem, open := strings.CutSuffix(pattern, "*")
	return pattern == name || open && strings.HasPrefix(name, stem)
}

// route finds the route of a model name: its own first, else the first pattern.
func (t *table) route(model string) (int, bool) {
	if i, ok := t.exact[model]; ok {
		return i, true
	}
	for _, i := range t.globs {
		if matches(t.options.Routes[i].Model, model) {
			return i, true
		}
	}
	return 0, false
}

// find is route for those whose key allows the model: what they may not ask for
// looks like what does not exist.
func (t *table) find(k *Key, model string) (int, bool) {
	if !k.mayAsk(model) {
		return 0, false
	}
	return t.route(model)
}

// pattern is what stands in a mux: who may come and who answers.
type pattern struct {
	path    string // as http.ServeMux has it
	access  Access
	dialect Dialect
	op      llm.Operation
	serve   func(*exchange)
	main    bool // served on the main listener
	admin   bool // served by Admin
}

// register builds both desks. Every pattern goes through here, and here through
// the guard: there is no other way into a mux.
func (t *table) register(g *Gateway) error {
	t.main, t.admin = newDesk(g, t), newDesk(g, t)
	var faults []error
	for _, p := range append(g.patterns(t.options.Loopback), mounted(&t.options)...) {
		if p.access == accessUnsaid || p.access > Desk || p.dialect > App || p.serve == nil {
			faults = append(faults, fmt.Errorf("gateway: pattern %q: say its access and dialect, and who answers", p.path))
			continue
		}
		if p.main {
			faults = append(faults, t.main.add(&p))
		}
		if p.admin {
			faults = append(faults, t.admin.add(&p))
		}
	}
	return errors.Join(faults...)
}

// patterns are the gateway's own.
func (g *Gateway) patterns(loopback bool) []pattern {
	model := func(path string, op llm.Operation) pattern {
		return pattern{path: "POST " + path, access: Keyed, op: op, serve: (*exchange).infer, main: true}
	}
	all := []pattern{
		model("/v1/chat/completions", llm.OpChat),
		model("/v1/completions", llm.OpCompletion),
		model("/v1/embeddings", llm.OpEmbedding),
		{path: "GET /v1/models", access: Keyed, serve: (*exchange).listModels, main: true},
		{path: "GET /v1/models/{model...}", access: Keyed, serve: (*exchange).showModel, main: true},
		{path: "GET /healthz", access: Open, serve: (*exchange).healthy, main: true, admin: true},
		{path: "GET /readyz", access: Open, serve: (*exchange).ready, main: true, admin: true},
		{path: "GET /debug/pprof/{profile...}", access: Operator, serve: (*exchange).profile, main: loopback, admin: true},
	}
	if g.deps.Tasks != nil {
		all = append(all,
			pattern{path: "GET " + taskPath + "{id}", access: Keyed, dialect: Problem, serve: (*exchange).showTask, main: true},
			pattern{path: "DELETE " + taskPath + "{id}", access: Keyed, dialect: Problem, serve: (*exchange).cancelTask, main: true},
		)
	}
	if g.deps.Metrics != nil {
		// Those who scrape have no key; where they can reach it is the operator's to say.
		all = append(all, pattern{path: "GET /metrics", access: Open, serve: (*exchange).metrics, main: loopback, admin: true})
	}
	return all
}

// mounted are the patterns that others answer.
func mounted(o *Options) []pattern {
	all := make([]pattern, 0, len(o.Mounts))
	for _, m := range o.Mounts {
		p := pattern{path: m.Pattern, access: m.Access, dialect: m.Dialect, main: true}
		if m.Handler != nil {
			p.serve = func(x *exchange) { m.Handler(&x.out, x.r, x.caller()) }
		}
		if m.Access == Operator || m.Access == Viewer || m.Access == Desk {
			p.main, p.admin = o.Loopback, true
		}
		all = append(all, p)
	}
	return all
}

// desk is a mux whose every pattern is guarded.
type desk struct {
	g        *Gateway
	t        *table
	mux      *http.ServeMux
	lost     http.Handler        // for paths that no pattern matches
	patterns map[string]*pattern // by their paths
}

func newDesk(g *Gateway, t *table) *desk {
	d := &desk{g: g, t: t, mux: http.NewServeMux(), patterns: make(map[string]*pattern)}
	d.lost = d.guard(&pattern{path: "/", access: Open, serve: d.astray})
	d.mux.Handle("/", d.lost)
	return d
}

// add registers a pattern behind the guard.
func (d *desk) add(p *pattern) (err error) {
	defer func() {
		if broken := recover(); broken != nil { // so http.ServeMux says that a pattern is wrong or taken
			err = fmt.Errorf("gateway: pattern %q: %v", p.path, broken)
		}
	}()
	if method, rest, found := strings.Cut(p.path, " "); !found || method == "" || !strings.HasPrefix(rest, "/") {
		return fmt.Errorf("gateway: pattern %q: name a method and a path, such as \"POST /chat\"", p.path)
	}
	d.mux.Handle(p.path, d.guard(p))
	d.patterns[p.path] = p
	return nil
}

// ServeHTTP answers paths as they are. http.ServeMux would redirect those that
// are not clean, which no program that speaks HTTP to an API means.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isClean(r.URL.Path) {
		d.lost.ServeHTTP(w, r)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// isClean reports whether a path has no empty and no dotted segments.
func isClean(p string) bool {
	c := path.Clean(p) // takes off a slash at the end, too
	return p == c && p[0] == '/' || c != "/" && len(p) == len(c)+1 && p[len(c)] == '/' && p[0] == '/'
}

// astray answers for what no pattern matches: 405 where another method would be
// answered, else 404.
func (d *desk) astray(x *exchange) {
	if strings.HasPrefix(x.r.URL.Path, ownPath) {
		x.dialect = Problem
	}
	if allow := d.allowed(x); allow != "" {
		f := invalid("", fmt.Sprintf("Not allowed to %s on %s.", field.Clean(x.r.Method), field.Clean(x.r.URL.Path)))
		f.status, f.code, f.allow = http.StatusMethodNotAllowed, "method_not_allowed", allow
		x.turnAway(f)
		return
	}
	x.turnAway(unknownURL(x.r))
}

func unknownURL(r *http.Request) *fault {
	f := invalid("", fmt.Sprintf("Invalid URL (%s %s)", field.Clean(r.Method), field.Clean(r.URL.Path)))
	f.status, f.code = http.StatusNotFound, "unknown_url"
	return f
}

// allowed lists the methods of a path, and takes over their dialect.
func (d *desk) allowed(x *exchange) string {
	if !isClean(x.r.URL.Path) {
		return ""
	}
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		_, name := d.mux.Handler(&http.Request{Method: m, URL: x.r.URL, Host: x.r.Host})
		p := d.patterns[name]
		if p == nil {
			continue
		}
		x.dialect = p.dialect
		if methods = append(methods, m); m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return strings.Join(methods, ", ")
}
