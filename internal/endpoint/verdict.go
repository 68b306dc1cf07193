package endpoint

import (
	"errors"
	"net/http"
	"strings"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/task"
)

// verdict is a way in which a task fails. A failed task keeps the words alone;
// from them its status is found again.
type verdict struct {
	status  int
	retry   bool   // another try may help
	message string // what it begins with
}

// The verdicts.
var (
	vUnknown   = verdict{http.StatusInternalServerError, false, "The endpoint is not configured any more."}
	vRequest   = verdict{http.StatusBadRequest, false, "The endpoint does not take this request any more: "}
	vRoute     = verdict{http.StatusServiceUnavailable, false, "No route leads to the model any more."}
	vForm      = verdict{http.StatusBadGateway, true, "The model's answer is not of the form that was asked for."}
	vEmpty     = verdict{http.StatusBadGateway, true, "The model answered nothing."}
	vCut       = verdict{http.StatusBadGateway, true, "The model's answer was cut off at its token limit before a part of it was complete."}
	vRefused   = verdict{http.StatusBadGateway, false, "The model declined to answer."}
	vLong      = verdict{http.StatusBadGateway, true, "The model's answer is longer than may be kept."}
	vSoft      = verdict{http.StatusGatewayTimeout, true, "The soft time limit passed before a part of the answer was complete."}
	vHard      = verdict{http.StatusGatewayTimeout, false, "The answer took longer than tasks of this class are allowed to run."}
	vHold      = verdict{http.StatusServiceUnavailable, false, "The task waited for the model as long as its class may wait."}
	vTooLong   = verdict{http.StatusServiceUnavailable, true, "The wait for the model would be longer than the class may wait."}
	vTooLarge  = verdict{http.StatusRequestEntityTooLarge, false, "The request is larger than the model takes."}
	vFull      = verdict{http.StatusServiceUnavailable, true, "Too many requests are waiting for the model."}
	vDraining  = verdict{http.StatusServiceUnavailable, true, "The gateway is restarting."}
	vNoUp      = verdict{http.StatusServiceUnavailable, true, "No upstream can take the request at the moment."}
	vRemoved   = verdict{http.StatusServiceUnavailable, false, "An operator took the request out of the queue."}
	vThrottle  = verdict{http.StatusServiceUnavailable, true, "The upstream is limiting requests."}
	vExhausted = verdict{http.StatusBadGateway, false, "The account of the gateway at the upstream is used up."}
	vOverload  = verdict{http.StatusServiceUnavailable, true, "The upstream is overloaded."}
	vTimeout   = verdict{http.StatusGatewayTimeout, true, "The upstream did not answer in time."}
	vInvalid   = verdict{http.StatusBadGateway, false, "The upstream does not take the request"}
	vAuth      = verdict{http.StatusBadGateway, false, "The upstream refused the gateway's own credential."}
	vFailed    = verdict{http.StatusBadGateway, true, "The upstream failed to answer."}
	vClosed    = verdict{http.StatusServiceUnavailable, false, "the gateway shut down"} // the runner's own words
	vInternal  = verdict{http.StatusInternalServerError, false, "Internal error."}
)

// failures are the verdicts whose status is not that of a failure unknown here.
var failures = []verdict{
	vRequest, vRoute, vForm, vEmpty, vCut, vRefused, vLong, vSoft, vHard, vHold, vTooLong, vTooLarge, vFull, vDraining, vNoUp, vRemoved,
	vThrottle, vExhausted, vOverload, vTimeout, vInvalid, vAuth, vFailed, vClosed,
}

// statusOf is the HTTP status of a task that failed with these words.
func statusOf(message string) int {
	for _, v := range failures {
		if strings.HasPrefix(message, v.message) {
			return v.status
		}
	}
	return http.StatusInternalServerError
}

// because is the failure that the runner is told; err is for the log.
func (v verdict) because(err error) *task.Failure {
	return &task.Failure{Message: v.message, Retry: v.retry, Err: err}
}

// with adds a detail to the words.
func (v verdict) with(detail string) verdict {
	v.message += detail
	return v
}

// verdictOf is what the end of a dispatched request means for its task.
func verdictOf(err error) verdict {
	if refusal, ok := errors.AsType[*admission.Refusal](err); ok {
		return verdictOfRefusal(refusal)
	}
	if failed, ok := errors.AsType[*llm.Error](err); ok {
		return verdictOfUpstream(failed)
	}
	switch {
	case errors.Is(err, dispatch.ErrSoftLimit):
		return vSoft
	case errors.Is(err, dispatch.ErrHardLimit):
		return vHard
	case errors.Is(err, flow.ErrRefused), errors.Is(err, flow.ErrEvicted):
		return verdictOfRefusal(&admission.Refusal{Err: err})
	}
	return vInternal
}

func verdictOfRefusal(r *admission.Refusal) verdict {
	switch {
	case errors.Is(r.Err, flow.ErrHold):
		return vHold
	case errors.Is(r.Err, flow.ErrTooLong):
		return vTooLong
	case errors.Is(r.Err, flow.ErrTooLarge):
		return vTooLarge
	case errors.Is(r.Err, flow.ErrQueueFull), errors.Is(r.Err, flow.ErrFlowFull):
		return vFull
	case errors.Is(r.Err, flow.ErrDraining), errors.Is(r.Err, flow.ErrDrained):
		return vDraining
	case errors.Is(r.Err, flow.ErrRemoved):
		return vRemoved
	}
	return vNoUp
}

func verdictOfUpstream(e *llm.Error) verdict {
	switch e.Kind {
	case llm.KindThrottle:
		return vThrottle
	case llm.KindExhausted:
		return vExhausted
	case llm.KindOverload:
		return vOverload
	case llm.KindTimeout:
		return vTimeout
	case llm.KindInvalid:
		return vInvalid.with(detail(e))
	case llm.KindTooLarge:
		if errors.Is(e, errTooBig) {
			return vLong
		}
		return vTooLarge
	case llm.KindAuth:
		return vAuth
	case llm.KindInternal:
		return vInternal
	case llm.KindNone, llm.KindTransient, llm.KindCanceled:
	}
	return vFailed
}

// detail is what a provider says is wrong with a request, bounded.
func detail(e *llm.Error) string {
	if e.Message == "" {
		return "."
	}
	return ": " + field.Clean(e.Message)
}
