package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/peer"
)

// maxHeaders bounds the names in a request's header; real clients send some 20.
const maxHeaders = 100

// exchange is one HTTP request and the answer to it.
type exchange struct {
	g       *Gateway
	t       *table
	r       *http.Request
	out     pacer
	id      string
	arrived time.Time
	dialect Dialect
	op      llm.Operation
	who     caller
}

// guard lets those through to a pattern who may use it, and contains its panics.
func (d *desk) guard(p *pattern) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{
			g: d.g, t: d.t, r: r, id: requestID(), arrived: time.Now(), dialect: p.dialect, op: p.op,
			out: newPacer(w, r),
		}
		defer func() { d.g.release(&x.out) }()
		defer x.contain()
		if err := x.admit(p.access); err != nil {
			x.turnAway(err)
			return
		}
		if tenant := x.tenant(); tenant != "" {
			part, _ := d.g.parts.LoadOrStore(tenant, new(atomic.Int64)) // as many as there ever were keys
			x.out.part = part.(*atomic.Int64)
		}
		p.serve(x)
	})
}

// admit identifies who asks and decides whether he may.
func (x *exchange) admit(a Access) (err error) {
	if len(x.r.Header) > maxHeaders {
		f := invalid("", "The request has too many headers.")
		f.status, f.code = http.StatusRequestHeaderFieldsTooLarge, "too_many_headers"
		return f
	}
	keyless := len(x.t.keys) == 0
	if keyless && !peer.Private(x.r.Host) {
		return forbidden("foreign_host", "Without keys this gateway does not answer by the name "+field.Clean(x.r.Host)+", which anybody may have pointed here: "+
			"ask localhost or an address, have your proxy send one of those as Host, or make a key with 'millrace keys create'.")
	}
	x.who, err = x.t.identify(x.r.Header)
	if a == Open || a == Desk {
		return nil
	}
	if keyless && x.r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return forbidden("cross_site", "A page of another site may not ask a gateway without keys.")
	}
	if k := x.who.key; err == nil && k != nil && k.Role < least[a] {
		return forbidden("operators_only", "This is for operators: ask with a key whose role allows it.")
	}
	return err
}

// contain answers a panic with 500. Those below dispatch have been dealt with there.
func (x *exchange) contain() {
	p := recover()
	switch p {
	case nil:
		return
	case http.ErrAbortHandler:
		panic(p) //nolint:forbidigo // net/http asks for it, to cut the connection
	}
	x.g.deps.Log.Error("panic in a handler", "request", x.id, "path", field.Clean(x.r.URL.Path), "panic", fmt.Sprint(p))
	x.refuse(internalFault(x.id))
	x.tell(flow.OutcomeFailed, http.StatusInternalServerError, "panic", event.StrayNone)
}

// refuse answers with a fault.
func (x *exchange) refuse(f *fault) {
	h := x.out.Header()
	h[hRequestID] = []string{x.id}
	if fromElsewhere(x.r) {
		h["Access-Control-Expose-Headers"] = exposed
	}
	f.write(&x.out, x.id, x.dialect)
}

// turnAway answers a request that never reaches dispatch, and tells its outcome.
func (x *exchange) turnAway(err error) {
	f := faultOf(err, x.id)
	x.refuse(f)
	outcome, stray := flow.OutcomeRefused, strayOf(f)
	if errors.Is(err, errBrokenOff) {
		outcome, stray = flow.OutcomeCanceled, event.StrayNone
	}
	x.tell(outcome, f.status, causeOf(err, f), stray)
}

// strayOf is what of a request was unknown that is told so before it is anybody's turn.
// What was turned away for want of room is demand.
func strayOf(f *fault) event.Stray {
	switch {
	case f.status == http.StatusTooManyRequests || f.status >= http.StatusInternalServerError:
		return event.StrayNone
	case f.code == codeUnknownModel:
		return event.StrayModel
	case f.status == http.StatusUnauthorized || f.status == http.StatusForbidden:
		return event.StrayKey
	case f.status == http.StatusNotFound || f.status == http.StatusMethodNotAllowed:
		return event.StrayPath
	}
	return event.StrayRequest
}

// tell records a request that ended outside of dispatch. Its names stay out of
// the record: none has been checked.
func (x *exchange) tell(outcome flow.Outcome, status int, cause string, stray event.Stray) {
	e := &event.Record{
		ID: x.id, Operation: x.op, Outcome: outcome, Stray: stray, Cause: cause, Status: status,
		Arrived: x.arrived, Total: time.Since(x.arrived),
	}
	if outcome == flow.OutcomeFailed {
		e.Kind = llm.KindInternal
	}
	x.g.deps.Sink.Record(e)
}

// causeOf is a fixed word of ours for why a request was turned away.
func causeOf(err error, f *fault) string {
	switch {
	case errors.Is(err, flow.ErrDraining):
		return "draining"
	case f.code != "":
		return f.code
	}
	return "invalid"
}

// fromElsewhere reports whether a script of another origin may be asking.
func fromElsewhere(r *http.Request) bool { return len(r.Header["Origin"]) > 0 }
