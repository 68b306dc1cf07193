package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/explain"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

const (
	path   = "/api/v1/requests"
	listed = 20
	most   = 200
	maxID  = 64 // bytes
)

// Requests are the latest that have ended; *ring.Ring keeps them.
type Requests interface {
	Get(id string) (event.Record, bool)
	Attempts(id string) []event.Attempt
	Recent(n int) []event.Record
	RecentOf(tenant string, n int) []event.Record
}

// Deps are what stories are made of.
type Deps struct {
	Requests Requests
	Live     func(id string) (dispatch.Live, bool) // what has not ended; nil: nobody knows
	Operator func(c Caller) bool                   // who reads all beside the operators' own patterns; nil: nobody
	// Refuse answers with an error, in the dialect of problem+json. id is that of
	// the request for a story.
	Refuse func(w http.ResponseWriter, r *http.Request, id string, err error)
}

// Caller is who asks, as far as the gateway tells.
type Caller struct {
	Tenant  string
	Key     string // name of the key; empty where none are configured
	Class   flow.Class
	User    string
	Classes []flow.Class
	Models  []string
	ID      string // of the request
}

// Mount is a route for the gateway to serve. The same patterns come twice: those
// for operators belong on a listener of their own, and are left out where there is
// none.
type Mount struct {
	Pattern  string // of net/http's ServeMux, with a method
	Operator bool
	Handler  func(w http.ResponseWriter, r *http.Request, c Caller)
}

// Inspector answers for stories. Use New.
type Inspector struct{ deps Deps }

// New returns an Inspector. It fails if Deps lack something.
func New(d Deps) (*Inspector, error) {
	if d.Requests == nil || d.Refuse == nil {
		return nil, errors.New("inspect: Requests or Refuse missing: pass both in Deps")
	}
	return &Inspector{deps: d}, nil
}

// Mounts are the routes.
func (i *Inspector) Mounts() []Mount {
	var all []Mount
	for _, operator := range []bool{false, true} {
		serve := func(answer func(*visit)) func(http.ResponseWriter, *http.Request, Caller) {
			return func(w http.ResponseWriter, r *http.Request, c Caller) {
				all := operator || i.deps.Operator != nil && i.deps.Operator(c)
				answer(&visit{i: i, w: w, r: r, caller: c, all: all})
			}
		}
		all = append(all,
			Mount{"GET " + path, operator, serve((*visit).list)},
			Mount{"GET " + path + "/{id}", operator, serve((*visit).show)},
		)
	}
	return all
}

// visit is one question and its answer.
type visit struct {
	i      *Inspector
	w      http.ResponseWriter
	r      *http.Request
	caller Caller
	all    bool // the caller may read every story
}

// mayRead reports whether a request of a tenant may be shown.
func (v *visit) mayRead(tenant string) bool {
	return v.all || tenant != "" && tenant == v.caller.Tenant
}

// list answers with the latest requests that have ended, last first.
func (v *visit) list() {
	n := listed
	if text := v.r.URL.Query().Get("limit"); text != "" {
		asked, err := strconv.Atoi(text)
		if err != nil || asked < 1 || asked > most {
			v.refuse(http.StatusBadRequest, "invalid_limit", fmt.Sprintf("limit must be a number from 1 to %d.", most))
			return
		}
		n = asked
	}
	var records []event.Record
	switch {
	case v.all:
		records = v.i.deps.Requests.Recent(n)
	case v.caller.Tenant != "":
		records = v.i.deps.Requests.RecentOf(v.caller.Tenant, n)
	}
	lines := make([]explain.Line, len(records))
	for i := range records {
		lines[i] = explain.LineOf(&records[i])
	}
	v.answer(map[string]any{"requests": lines})
}

// show answers with the story of one request.
func (v *visit) show() {
	id := v.r.PathValue("id")
	story := v.story(id)
	if story == nil {
		v.refuse(http.StatusNotFound, "request_not_found", "There is no such request, or it ended too long ago.")
		return
	}
	v.answer(story)
}

// story is that of a request which the caller may read; nil if there is none.
func (v *visit) story(id string) *explain.Story {
	if len(id) > maxID {
		return nil
	}
	if s := v.ended(id); s != nil {
		return s
	}
	if s := v.underway(id); s != nil {
		return s
	}
	return v.ended(id) // it may have ended in between
}

func (v *visit) ended(id string) *explain.Story {
	r, found := v.i.deps.Requests.Get(id)
	if !found || !v.mayRead(r.Key.Tenant) {
		return nil
	}
	return explain.Ended(&r, v.i.deps.Requests.Attempts(id))
}

func (v *visit) underway(id string) *explain.Story {
	if v.i.deps.Live == nil {
		return nil
	}
	l, found := v.i.deps.Live(id)
	if !found || !v.mayRead(l.Flow.Tenant) {
		return nil
	}
	return explain.Underway(time.Now(), &explain.Live{
		ID: l.ID, Key: l.Flow, Model: l.Model, Arrived: l.Arrived, Running: l.Running,
		Position: l.Status.Position, EtaP50: l.Status.ETA, EtaP90: l.Status.ETAP90, Unknown: l.Status.Unknown, Reason: l.Status.Reason,
		Waits: l.Status.Waits,
	}, v.i.deps.Requests.Attempts(id))
}

func (v *visit) refuse(status int, code, message string) {
	v.i.deps.Refuse(v.w, v.r, v.caller.ID, &llm.Error{Kind: llm.KindInvalid, Status: status, Code: code, Message: message})
}

func (v *visit) answer(body any) {
	h := v.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_ = json.NewEncoder(v.w).Encode(body) // who has left misses nothing
}
