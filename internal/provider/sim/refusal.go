package sim

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// The codes the simulator knows by name.
const (
	codeRateLimit = "rate_limit_exceeded"
	codeSlowDown  = "slow_down"
	codeNoMoney   = "insufficient_quota"
	codeContext   = "context_length_exceeded"
	codeKey       = "invalid_api_key"
	codeModel     = "model_not_found"
)

// refusal is an answer that is an error.
type refusal struct {
	status  int
	message string
	kind    string // the "type" of the body
	code    string // "": null
	param   string // "": null
	wait    time.Duration
}

func refuseBody(err error) refusal {
	return refusal{status: http.StatusBadRequest, message: err.Error(), kind: "invalid_request_error"}
}

// refuseLimit words a denial as the provider would.
func (p *Provider) refuseLimit(d *denial, model string) refusal {
	r := refusal{status: http.StatusTooManyRequests, code: codeRateLimit, kind: "tokens", wait: d.wait}
	switch d.dim {
	case dimRequests, dimDayRequests:
		r.kind = "requests"
	case dimSeats:
		return p.refuseSeat(d)
	case dimRamp:
		r.kind, r.code = "requests", codeSlowDown
		r.message = slowDownMessage
		return r
	case dimTokens, dimInput, dimOutput, dimDayTokens:
	}
	where := fmt.Sprintf("%s in organization org-sim on %s: Limit %d, ", model, dimensionLabels[d.dim], d.limit)
	if d.tooLarge {
		r.wait = 0
		r.message = "Request too large for " + where + fmt.Sprintf("Requested %d. "+
			"The input or output tokens must be reduced in order to run successfully.", d.requested)
		return r
	}
	r.message = "Rate limit reached for " + where + fmt.Sprintf("Used %d, Requested %d. Please try again in %s. "+
		"Visit https://platform.openai.com/account/rate-limits to learn more.", d.used, d.requested, goDuration(p.books.clock.real(d.wait)))
	return r
}

const slowDownMessage = "Your request rate increased too quickly. Please slow down and increase it gradually."

var dimensionLabels = [dimensions]string{
	dimRequests:    "requests per min (RPM)",
	dimTokens:      "tokens per min (TPM)",
	dimInput:       "input tokens per min (ITPM)",
	dimOutput:      "output tokens per min (OTPM)",
	dimDayRequests: "requests per day (RPD)",
	dimDayTokens:   "tokens per day (TPD)",
}

func (p *Provider) refuseSeat(d *denial) refusal {
	if p.profile.queue > 0 {
		return refusal{
			status: http.StatusServiceUnavailable, kind: "ServiceUnavailableError",
			message: "The request queue is full.", wait: d.wait,
		}
	}
	return refusal{
		status: http.StatusTooManyRequests, kind: "requests", code: codeRateLimit, wait: d.wait,
		message: fmt.Sprintf("Too many concurrent requests in organization org-sim: Limit %d, Used %d, Requested 1.",
			d.limit, d.used),
	}
}

// refuseFault is the body of a status fault.
func refuseFault(f Fault, model string) refusal {
	r := refusal{status: f.Status, code: f.Code, kind: "invalid_request_error"}
	switch {
	case f.Code == codeNoMoney:
		r.kind = codeNoMoney
		r.message = "You exceeded your current quota, please check your plan and billing details."
	case f.Code == codeSlowDown:
		r.kind, r.message, r.wait = "requests", slowDownMessage, time.Second
	case f.Status == http.StatusUnauthorized:
		r.code, r.message = codeKey, "Incorrect API key provided."
	case f.Status == http.StatusNotFound:
		r.code, r.message = codeModel, "The model '"+model+"' does not exist or you do not have access to it."
	case f.Status == http.StatusTooManyRequests:
		r.code, r.kind, r.wait = codeRateLimit, "requests", time.Second
		r.message = "Rate limit reached for " + model + " in organization org-sim on requests per min (RPM): " +
			"Limit 1, Used 1, Requested 1. Please try again in 1s."
	case f.Status >= http.StatusInternalServerError:
		r.kind, r.message = "server_error", "The server had an error while processing your request."
		if f.Status == http.StatusServiceUnavailable || f.Status == statusOverloaded {
			r.code, r.message = "server_is_overloaded", "The engine is currently overloaded, please try again later."
		}
	default:
		r.message = "The request was refused by the fault script."
	}
	return r
}

// statusOverloaded is what some providers answer for an overload.
const statusOverloaded = 529

func refuseContext(limit, prompt int64) refusal {
	return refusal{
		status: http.StatusBadRequest, kind: "invalid_request_error", code: codeContext, param: "messages",
		message: fmt.Sprintf("This model's maximum context length is %d tokens. However, your messages resulted in "+
			"%d tokens. Please reduce the length of the messages.", limit, prompt),
	}
}

// body writes the error in the style of the provider.
func (p *Provider) errorBody(r refusal) []byte {
	b := append(make([]byte, 0, 256), `{"error":{"message":`...)
	b = appendQuoted(b, r.message)
	if p.profile.style == styleVLLM {
		b = append(b, `,"type":`...)
		b = appendQuoted(b, vllmType(r))
		b = append(b, `,"param":null,"code":`...)
		b = strconv.AppendInt(b, int64(r.status), 10)
		return append(b, "}}"...)
	}
	b = append(b, `,"type":`...)
	b = appendQuoted(b, r.kind)
	b = append(b, `,"param":`...)
	b = appendNullable(b, r.param)
	b = append(b, `,"code":`...)
	b = appendNullable(b, r.code)
	return append(b, "}}\n"...)
}

func vllmType(r refusal) string {
	switch r.status {
	case http.StatusBadRequest:
		return "BadRequestError"
	case http.StatusUnauthorized:
		return "AuthenticationError"
	case http.StatusNotFound:
		return "NotFoundError"
	case http.StatusTooManyRequests:
		return "RateLimitError"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailableError"
	}
	return "InternalServerError"
}

func appendNullable(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendQuoted(b, s)
}

// writeError sends r with the headers of its provider.
func (p *Provider) writeError(w http.ResponseWriter, r refusal) {
	h := w.Header()
	if r.wait > 0 && !p.options.HideRetryAfter {
		setRetryAfter(h, p.books.clock.real(r.wait))
	}
	body := p.errorBody(r)
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	p.books.status(r.status)
	w.WriteHeader(r.status)
	_, _ = w.Write(body) // a client that left misses only its error
}

// setRetryAfter rounds up in both units: earlier would be refused again.
func setRetryAfter(h http.Header, wait time.Duration) {
	h["Retry-After"] = []string{strconv.FormatInt(max(1, ceilDiv(int64(wait), int64(time.Second))), 10)}
	h["Retry-After-Ms"] = []string{strconv.FormatInt(ceilDiv(int64(wait), int64(time.Millisecond)), 10)}
}

// setLimits writes the rate limit headers of the profile.
func (p *Provider) setLimits(h http.Header, l levels) {
	if p.options.HideLimits || p.profile.style == styleVLLM {
		return
	}
	all := p.profile.style == styleOpenAI
	p.setLevel(h, &requestHeaders, l.requests, all)
	p.setLevel(h, &tokenHeaders, l.tokens, all)
}

type levelHeaders struct{ limit, remaining, reset string }

var (
	requestHeaders = levelHeaders{
		"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests",
	}
	tokenHeaders = levelHeaders{
		"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens",
	}
)

func (p *Provider) setLevel(h http.Header, names *levelHeaders, l level, all bool) {
	if !l.known {
		return
	}
	h[names.remaining] = []string{strconv.FormatInt(l.remaining, 10)}
	if !all {
		return
	}
	h[names.limit] = []string{strconv.FormatInt(p.books.clock.perReal(l.limit), 10)}
	h[names.reset] = []string{goDuration(p.books.clock.real(l.reset))}
}

// goDuration is a duration as OpenAI writes it, rounded up to milliseconds.
func goDuration(d time.Duration) string {
	return time.Duration(ceilDiv(int64(d), int64(time.Millisecond)) * int64(time.Millisecond)).String()
}
