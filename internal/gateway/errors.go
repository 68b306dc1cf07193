package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/task"
)

// Bounds of Retry-After. Below a second several SDKs retry at once, and from a
// minute on several ignore it or give up.
const (
	minRetryAfter = time.Second
	maxRetryAfter = 59 * time.Second
)

// advice is what x-should-retry says.
type advice string

const (
	unsaid    advice = ""
	retryYes  advice = "true"
	retryNone advice = "false"
)

// fault is what a client is told instead of an answer. Its words are our own.
type fault struct {
	status  int
	typ     string // OpenAI's error.type
	code    string // OpenAI's error.code; empty for null
	param   string // OpenAI's error.param; empty for null
	message string

	retry  advice
	after  time.Duration // when asking again makes sense; 0 leaves Retry-After out
	close  bool          // the connection should not be used again
	origin *llm.Error    // passed through as it is, where its body is known
	allow  string        // methods, for 405
}

// Error implements error.
func (f *fault) Error() string { return f.message }

// Types and codes of errors, as OpenAI names them.
const (
	typeInvalid  = "invalid_request_error"
	typeServer   = "server_error"
	typeRequests = "requests"

	codeRateLimit    = "rate_limit_exceeded"
	codeOverloaded   = "server_is_overloaded"
	codeUnknownModel = "model_not_found"
)

// faultOf turns whatever ended a request into what its client is told. Nothing
// of an error that is not listed here reaches the client.
func faultOf(err error, id string) *fault {
	var f *fault
	var wrong *field.Fault
	var refusal *admission.Refusal
	var failed *llm.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &wrong):
		return invalid(wrong.Param, wrong.Message)
	case errors.Is(err, flow.ErrDraining), errors.Is(err, flow.ErrDrained):
		return &fault{
			status: http.StatusServiceUnavailable, typ: typeServer, code: codeOverloaded, after: 2 * time.Second, close: true,
			message: "The gateway is restarting. Please try again in a moment.",
		}
	case errors.As(err, &refusal):
		return faultOfRefusal(refusal)
	case errors.Is(err, flow.ErrRefused), errors.Is(err, flow.ErrEvicted):
		return faultOfRefusal(&admission.Refusal{Err: err})
	case errors.Is(err, task.ErrNotFound):
		return &fault{
			status: http.StatusNotFound, typ: typeInvalid, code: "task_not_found", retry: retryNone,
			message: "There is no such task, or it ended too long ago.",
		}
	case errors.Is(err, dispatch.ErrHardLimit), errors.Is(err, dispatch.ErrSoftLimit):
		return &fault{
			status: http.StatusGatewayTimeout, typ: typeServer, code: "deadline_exceeded", retry: retryNone,
			message: "The answer took longer than requests of this class are allowed to run.",
		}
	case errors.As(err, &failed):
		return faultOfProvider(failed, id)
	}
	return internalFault(id)
}

// invalid is a fault of the request.
func invalid(param, message string) *fault {
	return &fault{status: http.StatusBadRequest, typ: typeInvalid, param: param, message: message}
}

// forbidden is for what nobody may do who comes as this one does.
func forbidden(code, message string) *fault {
	return &fault{status: http.StatusForbidden, typ: typeInvalid, code: code, message: message, retry: retryNone}
}

func internalFault(id string) *fault {
	return &fault{
		status: http.StatusInternalServerError, typ: typeServer, code: "internal_error",
		message: "Internal error. Please quote request " + id + " when you report it.",
	}
}

// faultOfRefusal says why a request did not run. The words "quota", "billing"
// and "credit" are kept out of what is temporary: some clients give up for good
// when they read them.
func faultOfRefusal(r *admission.Refusal) *fault {
	f := &fault{status: http.StatusServiceUnavailable, typ: typeServer, code: codeOverloaded, after: max(r.RetryAfter, minRetryAfter)}
	switch {
	case errors.Is(r.Err, flow.ErrHold):
		f.status, f.typ, f.code, f.retry = http.StatusTooManyRequests, typeRequests, codeRateLimit, retryYes
		f.message = "The wait for this model is longer than the request could be held" + waitingFor(r.Reason) +
			". Its place in line is kept for a while: please try again."
	case errors.Is(r.Err, flow.ErrFlowFull):
		f.status, f.typ, f.code = http.StatusTooManyRequests, typeRequests, codeRateLimit
		f.message = "Too many requests of this user are waiting already" + detail(r) + "."
	case errors.Is(r.Err, flow.ErrReplaced):
		*f = fault{
			status: http.StatusConflict, typ: typeInvalid, code: "replaced", retry: retryNone,
			message: "The same request came again and took this one's place in line.",
		}
	case errors.Is(r.Err, flow.ErrRemoved): // a client that came back by itself would undo it
		*f = fault{
			status: http.StatusServiceUnavailable, typ: typeServer, code: "removed", retry: retryNone,
			message: "An operator took this request out of the queue.",
		}
	case errors.Is(r.Err, flow.ErrTooLarge):
		*f = fault{
			status: http.StatusRequestEntityTooLarge, typ: typeInvalid, code: "request_too_large", retry: retryNone,
			message: "The request is larger than the model's whole allowance per window and can never run" + detail(r) + ".",
		}
	case errors.Is(r.Err, flow.ErrTooLong):
		f.message = "The wait for this model would be longer than the request can be held" + waitingFor(r.Reason) + expected(r.ETA) + ". Please try again later."
	case errors.Is(r.Err, flow.ErrQueueFull):
		f.message = "Too many requests are waiting for this model. Please try again later."
	default:
		f.message = "No upstream can take this request at the moment. Please try again later."
	}
	return f
}

func waitingFor(r flow.Reason) string {
	if r == flow.ReasonNone {
		return ""
	}
	return " (waiting for " + string(r) + ")"
}

func expected(eta time.Duration) string {
	if eta <= 0 {
		return ""
	}
	return fmt.Sprintf(": about %d s", int64(eta.Round(time.Second)/time.Second))
}

func detail(r *admission.Refusal) string {
	if r.Detail == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(r.Detail, ".")
}

// faultOfProvider is what a client is told of an upstream's failure. What is
// wrong with the request itself passes in the provider's own words; what is
// between the gateway and the provider does not.
func faultOfProvider(e *llm.Error, id string) *fault {
	f := &fault{status: http.StatusBadGateway, typ: typeServer, code: "upstream_error", message: "The upstream failed to answer."}
	switch e.Kind {
	case llm.KindInvalid, llm.KindTooLarge:
		f.retry = retryNone
		f.passThrough(e)
	case llm.KindThrottle:
		f.status, f.typ, f.code, f.retry = http.StatusTooManyRequests, typeRequests, codeRateLimit, retryYes
		f.after = max(e.RetryAfter, minRetryAfter)
		f.message = "The upstream is limiting requests. Please try again in a moment."
	case llm.KindExhausted:
		f.status, f.typ, f.code, f.retry = http.StatusTooManyRequests, "insufficient_quota", "insufficient_quota", retryNone
		f.message = "The account of the gateway at the upstream is used up. Trying again does not help until its operator acts."
	case llm.KindOverload:
		f.status, f.code, f.after = http.StatusServiceUnavailable, codeOverloaded, max(e.RetryAfter, minRetryAfter)
		f.message = "The upstream is overloaded. Please try again in a moment."
	case llm.KindTimeout:
		f.status, f.code = http.StatusGatewayTimeout, "upstream_timeout"
		f.message = "The upstream did not answer in time."
	case llm.KindAuth:
		f.code, f.retry = "upstream_auth", retryNone
		f.message = "The upstream refused the gateway's own credential. Its operator has to mend that."
	case llm.KindInternal:
		return internalFault(id)
	case llm.KindNone, llm.KindTransient, llm.KindCanceled:
	}
	return f
}

// passThrough takes over the provider's own answer.
func (f *fault) passThrough(e *llm.Error) {
	f.status, f.typ, f.code = http.StatusBadRequest, typeInvalid, e.Code
	if e.Type != "" {
		f.typ = e.Type
	}
	if e.Status >= 400 && e.Status < 500 {
		f.status = e.Status
	}
	f.message = e.Message
	if len(e.Body) > 0 {
		f.origin = e
	}
}

// advise says whether and when to ask again. The fine hint is spread over a
// fifth of the wait, so that those who were sent away together do not come back
// together; the coarse one is never before it.
func (f *fault) advise(h http.Header) {
	if f.retry != unsaid {
		h["X-Should-Retry"] = []string{string(f.retry)}
	}
	if f.after <= 0 {
		return
	}
	wait := min(max(f.after, minRetryAfter), maxRetryAfter*5/6) // room for the spread
	wait += rand.N(wait/5 + 1)
	seconds := int64((wait + time.Second - 1) / time.Second)
	h["Retry-After"] = []string{strconv.FormatInt(seconds, 10)}
	h["Retry-After-Ms"] = []string{strconv.FormatInt(wait.Milliseconds(), 10)}
}
