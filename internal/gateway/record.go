package gateway

import (
	"errors"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// untold is a request that ends before dispatch, which tells of all others.
type untold struct {
	id      string
	op      llm.Operation
	arrived time.Time
}

// turnAway answers a request that never reaches dispatch, and tells its outcome.
func (g *Gateway) turnAway(w http.ResponseWriter, u untold, err error) {
	f := faultOf(err, u.id)
	g.refuse(w, f, u.id)
	outcome := flow.OutcomeRefused
	if errors.Is(err, errBrokenOff) {
		outcome = flow.OutcomeCanceled
	}
	g.tell(u, outcome, f.status, causeOf(err, f))
}

// tell records a request that ended outside of dispatch. Its names stay out of
// the record: none has been checked.
func (g *Gateway) tell(u untold, outcome flow.Outcome, status int, cause string) {
	e := &event.Record{
		ID: u.id, Operation: u.op, Outcome: outcome, Cause: cause, Status: status,
		Arrived: u.arrived, Total: time.Since(u.arrived),
	}
	if outcome == flow.OutcomeFailed {
		e.Kind = llm.KindInternal
	}
	g.deps.Sink.Record(e)
}

// causeOf is a fixed word of ours for why a request was turned away.
func causeOf(err error, f *fault) string {
	switch {
	case errors.Is(err, flow.ErrDraining):
		return "draining"
	case errors.Is(err, errBrokenOff):
		return "client_left"
	case f.code != "":
		return f.code
	}
	switch f.status {
	case http.StatusUnsupportedMediaType:
		return "unsupported_encoding"
	case http.StatusRequestTimeout:
		return "slow_body"
	}
	return "invalid"
}
