package console

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// maxOrder bounds the bytes of an order's body: a flow's three names, escaped.
const maxOrder = 32 << 10

// Control is what an operator may do to the queue. An error that wraps
// gate.ErrUnknown says that there is no such class, or that nothing of the flow
// waits. *admission.Controller implements it.
type Control interface {
	Pause(class flow.Class) error    // starts nothing of it any more
	Resume(class flow.Class) error   // ends a Pause
	MoveUp(key flow.Key) error       // the flow's first goes next of its class, once
	Evict(key flow.Key) (int, error) // ends what the flow has waiting; how many that were
}

// reset closes the breaker of an upstream.
func (c *Console) reset(v *visit) { c.breaker(v, "reset breaker", c.deps.Reset) }

// trip opens it.
func (c *Console) trip(v *visit) { c.breaker(v, "trip breaker", c.deps.Trip) }

func (c *Console) breaker(v *visit, what string, do func(string) error) {
	name := v.r.PathValue("name")
	if do == nil {
		c.missing(v, what, "upstream", name)
		return
	}
	c.done(v, what, do(name), "upstream", name)
}

func (c *Console) pause(v *visit) { c.class(v, "pause class", Control.Pause) }

func (c *Console) resume(v *visit) { c.class(v, "resume class", Control.Resume) }

func (c *Console) class(v *visit, what string, do func(Control, flow.Class) error) {
	name := v.r.PathValue("name")
	if c.deps.Control == nil {
		c.missing(v, what, "class", name)
		return
	}
	c.done(v, what, do(c.deps.Control, flow.Class(name)), "class", name)
}

func (c *Console) moveUp(v *visit) {
	c.flow(v, "move up", func(key flow.Key) error { return c.deps.Control.MoveUp(key) })
}

func (c *Console) evict(v *visit) {
	c.flow(v, "evict", func(key flow.Key) error {
		n, err := c.deps.Control.Evict(key)
		if v.answer = map[string]int{"requests": n}; err == nil {
			v.more = []any{"requests", n}
		}
		return err
	})
}

// order names a flow. Names may be of any letters, so that they stand in the body
// and not in the path.
type order struct {
	Class  string `json:"class"`
	Tenant string `json:"tenant"`
	User   string `json:"user"`
}

func (c *Console) flow(v *visit, what string, do func(flow.Key) error) {
	var o order
	if !v.body(&o, maxOrder) || o.Class == "" {
		c.audit(v, what, "done", false, "why", "no flow named")
		v.problem(http.StatusBadRequest, `Send {"class": "...", "tenant": "...", "user": "..."}.`)
		return
	}
	on := []any{"class", o.Class, "tenant", o.Tenant, "user", o.User}
	if c.deps.Control == nil {
		c.missing(v, what, on...)
		return
	}
	c.done(v, what, do(flow.Key{Class: flow.Class(o.Class), Tenant: o.Tenant, User: o.User}), on...)
}

// body reads a small JSON object into value; false: it is none.
func (v *visit) body(value any, most int64) bool {
	d := json.NewDecoder(http.MaxBytesReader(v.w, v.r.Body, most))
	d.DisallowUnknownFields()
	return d.Decode(value) == nil
}

// missing answers where nothing is there to do it with.
func (c *Console) missing(v *visit, what string, on ...any) {
	c.audit(v, what, append(on, "done", false, "why", "not offered")...)
	v.offered(false)
}

// offered passes on whether that is; if not it says so.
func (v *visit) offered(is bool) bool {
	if !is {
		v.problem(http.StatusNotFound, "This gateway does not offer that.")
	}
	return is
}

// done says in the log what has been done, or has not, and answers. The next frame
// shows it.
func (c *Console) done(v *visit, what string, err error, on ...any) {
	switch {
	case err == nil:
		c.audit(v, what, append(append(on, v.more...), "done", true)...)
		c.refresh()
		if v.answer != nil {
			v.json(v.answer)
			return
		}
		v.w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, gate.ErrUnknown):
		c.audit(v, what, append(on, "done", false, "why", err.Error())...)
		v.problem(http.StatusNotFound, "There is none: "+err.Error()+".")
	default:
		c.audit(v, what, append(on, "done", false, "why", err.Error())...)
		v.problem(http.StatusConflict, "That was not done: "+err.Error()+".")
	}
}
