package inspect

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/explain"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/sink/ring"
)

// office is an Inspector over a real ring, and what it refuses.
type office struct {
	*ring.Ring
	mux  *http.ServeMux // of those who hold keys; the header Tenant says whose
	desk *http.ServeMux // of operators
	live map[string]dispatch.Live
	// before is called before a live request is looked up.
	before func()
}

func build(t *testing.T) *office {
	t.Helper()
	o := &office{Ring: ring.New(ring.Options{}), mux: http.NewServeMux(), desk: http.NewServeMux(), live: map[string]dispatch.Live{}}
	i, err := New(Deps{
		Requests: o.Ring,
		Live: func(id string) (dispatch.Live, bool) {
			if o.before != nil {
				o.before()
			}
			l, found := o.live[id]
			return l, found
		},
		Operator: func(c Caller) bool { return c.Key == "boss" },
		Refuse: func(w http.ResponseWriter, _ *http.Request, _ string, err error) {
			e := new(llm.Error)
			if !errors.As(err, &e) {
				t.Errorf("refused with %v", err)
			}
			http.Error(w, e.Code+" "+e.Message, e.Status)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range i.Mounts() {
		mux := o.mux
		if m.Operator {
			mux = o.desk
		}
		mux.HandleFunc(m.Pattern, func(w http.ResponseWriter, r *http.Request) {
			m.Handler(w, r, Caller{Tenant: r.Header.Get("Tenant"), Key: r.Header.Get("Key"), ID: "req_own"})
		})
	}
	return o
}

func (o *office) ask(mux *http.ServeMux, tenant, key, url string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, url, nil)
	r.Header.Set("Tenant", tenant)
	r.Header.Set("Key", key)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

// ended puts a request of a tenant into the ring.
func (o *office) ended(id, tenant string) {
	o.Attempt(&event.Attempt{Request: id, Number: 1, Upstream: "main"})
	o.Record(&event.Record{ID: id, Key: flow.Key{Class: "chat", Tenant: tenant, User: "u"}, Outcome: flow.OutcomeServed, Attempts: 1, Arrived: time.Now()})
}

func TestI1OthersLookLikeNothing(t *testing.T) {
	o := build(t)
	o.ended("req_a", "acme")
	o.ended("req_b", "beta")
	o.Record(&event.Record{ID: "req_stranger", Outcome: flow.OutcomeRefused})
	o.live["req_l"] = dispatch.Live{ID: "req_l", Flow: flow.Key{Tenant: "beta"}}
	nothing := o.ask(o.mux, "acme", "", path+"/req_none")
	if nothing.Code != http.StatusNotFound {
		t.Fatalf("what never was: %d %s", nothing.Code, nothing.Body)
	}
	for _, id := range []string{"req_b", "req_l", "req_stranger", strings.Repeat("x", 200)} {
		if w := o.ask(o.mux, "acme", "", path+"/"+id); w.Code != nothing.Code || w.Body.String() != nothing.Body.String() {
			t.Errorf("%s: %d %s", id, w.Code, w.Body)
		}
	}
	if w := o.ask(o.mux, "", "", path+"/req_stranger"); w.Code != http.StatusNotFound {
		t.Errorf("who has no tenant reads %s", w.Body)
	}
	if w := o.ask(o.mux, "", "", path); strings.Contains(w.Body.String(), "req_") {
		t.Errorf("who has no tenant is shown %s", w.Body)
	}
	if w := o.ask(o.mux, "acme", "other-key-of-acme", path+"/req_a"); w.Code != http.StatusOK {
		t.Errorf("its own: %d %s", w.Code, w.Body)
	}
	if got := ids(t, o.ask(o.mux, "acme", "", path)); got != "req_a" {
		t.Errorf("acme is shown %s", got)
	}
}

func TestOperatorsReadAll(t *testing.T) {
	o := build(t)
	o.ended("req_a", "acme")
	o.ended("req_b", "beta")
	o.live["req_l"] = dispatch.Live{ID: "req_l", Flow: flow.Key{Tenant: "beta"}, Status: admission.Status{Position: 2, Reason: flow.ReasonSeats}}
	for name, who := range map[string]struct {
		mux *http.ServeMux
		key string
	}{"by key": {o.mux, "boss"}, "at their listener": {o.desk, ""}} {
		if got := ids(t, o.ask(who.mux, "acme", who.key, path)); got != "req_b req_a" {
			t.Errorf("%s: the list is %s", name, got)
		}
		for _, id := range []string{"req_a", "req_b", "req_l"} {
			if w := o.ask(who.mux, "acme", who.key, path+"/"+id); w.Code != http.StatusOK {
				t.Errorf("%s: %s: %d", name, id, w.Code)
			}
		}
	}
}

// A request that ends while it is looked up is found all the same.
func TestI2NoGapBetweenUnderwayAndEnded(t *testing.T) {
	o := build(t)
	o.live["req_a"] = dispatch.Live{ID: "req_a", Flow: flow.Key{Tenant: "acme"}, Running: true}
	if s := story(t, o.ask(o.mux, "acme", "", path+"/req_a")); s.State != explain.Running {
		t.Errorf("under way: %+v", s)
	}
	o.before = func() { delete(o.live, "req_a"); o.ended("req_a", "acme") }
	if s := story(t, o.ask(o.mux, "acme", "", path+"/req_a")); s.State != explain.Over || len(s.Attempts) != 1 {
		t.Errorf("just ended: %+v", s)
	}
}

func TestI3ListIsBounded(t *testing.T) {
	o := build(t)
	for range most + 10 {
		o.ended("req_x", "acme")
	}
	for limit, want := range map[string]int{"": listed, "?limit=3": 3, "?limit=200": most} {
		if got := strings.Fields(ids(t, o.ask(o.mux, "acme", "", path+limit))); len(got) != want {
			t.Errorf("%q: %d requests, want %d", limit, len(got), want)
		}
	}
	for _, limit := range []string{"0", "-1", "201", "x", "99999999999999999999"} {
		if w := o.ask(o.mux, "acme", "", path+"?limit="+limit); w.Code != http.StatusBadRequest || !strings.HasPrefix(w.Body.String(), "invalid_limit ") {
			t.Errorf("limit %s: %d %s", limit, w.Code, w.Body)
		}
	}
}

func TestDepsAreComplete(t *testing.T) {
	if _, err := New(Deps{}); err == nil {
		t.Error("New takes Deps without Requests")
	}
}

func ids(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var list struct{ Requests []explain.Line }
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.Requests == nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	var all []string
	for _, l := range list.Requests {
		all = append(all, l.ID)
	}
	return strings.Join(all, " ")
}

func story(t *testing.T, w *httptest.ResponseRecorder) explain.Story {
	t.Helper()
	var s explain.Story
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return s
}
