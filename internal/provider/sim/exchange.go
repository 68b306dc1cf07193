package sim

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// exchange is one request from its arrival to its end.
type exchange struct {
	p      *Provider
	w      http.ResponseWriter
	req    *http.Request
	start  time.Time
	r      *request
	rng    *rand.Rand
	ticket *ticket
	end    ending
	fault  Fault // kind "": none
	prompt int64
	answer *answer
	timer  *time.Timer
	body   *[]byte // pooled
	out    *[]byte // pooled
}

// close books the end. It runs on every exit, a broken connection included.
func (x *exchange) close() {
	if x.timer != nil {
		x.timer.Stop()
	}
	if x.ticket != nil {
		x.p.books.finish(x.ticket, x.end)
	}
	for _, b := range []*[]byte{x.body, x.out} {
		if b != nil {
			x.p.buffers.Put(b)
		}
	}
}

func (x *exchange) buffer() *[]byte {
	b, _ := x.p.buffers.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}

func (x *exchange) serve(op operation) {
	if !x.receive(op) || !x.admit() {
		return
	}
	p := x.p
	x.answer = p.decide(x.r, x.rng, x.prompt, p.books.load())
	switch {
	case x.fault.Kind == FaultStatus:
		x.end.outcome = faulted
		x.limits(x.ticket.levels)
		p.writeError(x.w, refuseFault(x.fault, x.r.model))
	case x.fault.Kind == FaultHang:
		x.end.outcome = faulted
		<-x.req.Context().Done()
	case x.r.op == opEmbedding:
		x.embed()
	case x.r.stream:
		x.stream()
	default:
		x.reply()
	}
}

// receive reads and checks the request, before it costs anything but, by the
// profile, one request.
func (x *exchange) receive(op operation) bool {
	p := x.p
	x.identify()
	if !p.authorized(x.req.Header) {
		p.writeError(x.w, refuseFault(Fault{Status: http.StatusUnauthorized}, ""))
		return false
	}
	x.body = x.buffer()
	body, err := read(x.w, x.req, *x.body)
	*x.body = body
	if err == nil {
		x.r, err = parse(op, body, x.req.PathValue("deployment"))
	}
	if err != nil {
		x.unreadable(err)
		return false
	}
	x.rng = p.random()
	x.prompt = x.r.promptTokens()
	if f, ok := p.script.pick(x.req.Header, x.r.model, x.rng); ok {
		x.fault = f
		p.books.fault(f.name())
	}
	limit := p.options.Context
	switch {
	case x.fault.Code == codeContext:
		x.refuse(refuseContext(limit, max(x.prompt, limit+1)))
	case x.fault.early():
		x.refuse(refuseFault(x.fault, x.r.model))
	case x.prompt > limit:
		x.refuse(refuseContext(limit, x.prompt))
	default:
		return true
	}
	return false
}

func (x *exchange) unreadable(err error) {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		r := refuseBody(err)
		r.status = http.StatusRequestEntityTooLarge
		x.refuse(r)
	case x.req.Context().Err() == nil:
		x.refuse(refuseBody(err))
	}
}

// refuse ends a request that no limit has seen.
func (x *exchange) refuse(r refusal) {
	x.limits(x.p.books.failed())
	x.p.writeError(x.w, r)
}

// admit takes what the request costs and a seat; over the limits it answers
// the throttle itself.
func (x *exchange) admit() bool {
	p := x.p
	p.books.scale(p.script.factor(FaultQuota))
	ticket, denied := p.books.admit(p.books.meter.cost(x.r, x.prompt))
	if denied != nil {
		x.limits(denied.levels)
		p.writeError(x.w, p.refuseLimit(denied, x.r.model))
		return false
	}
	x.ticket, x.end = ticket, ending{outcome: aborted, stream: x.r.stream}
	if ticket.ready == nil {
		return true
	}
	select {
	case <-ticket.ready:
		x.start = time.Now() // the answer's clock starts with the seat
		return true
	case <-x.req.Context().Done():
		return false
	}
}

// until waits until after has passed since the start; false when the client
// left first.
func (x *exchange) until(after time.Duration) bool {
	ctx := x.req.Context()
	left := after - time.Since(x.start)
	if left <= 0 {
		return ctx.Err() == nil
	}
	if x.timer == nil {
		x.timer = time.NewTimer(left)
	} else {
		x.timer.Reset(left)
	}
	select {
	case <-x.timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// identify sets the headers every answer of the profile has.
func (x *exchange) identify() {
	h := x.w.Header()
	id := strconv.FormatUint(mix(x.p.options.Seed, x.p.ids.Add(1)), 16)
	switch x.p.profile.style {
	case styleOpenAI:
		h["X-Request-Id"] = []string{"req_" + id}
		h["Openai-Version"] = openAIVersion
		h["Openai-Organization"] = openAIOrganization
		if echo := x.req.Header.Get("X-Client-Request-Id"); echo != "" && len(echo) <= 512 {
			h["X-Client-Request-Id"] = []string{echo}
		}
	case styleAzure:
		h["Apim-Request-Id"] = []string{id}
		h["X-Ms-Region"] = azureRegion
	case styleVLLM:
	}
}

var (
	openAIVersion      = []string{"2020-10-01"}
	openAIOrganization = []string{"org-sim"}
	azureRegion        = []string{"East US"}
	typeJSON           = []string{"application/json"}
	typeEvents         = []string{"text/event-stream; charset=utf-8"}
)

func (x *exchange) limits(l levels) {
	h := x.w.Header()
	x.p.setLimits(h, l)
	if x.p.profile.style == styleOpenAI {
		h["Openai-Processing-Ms"] = []string{strconv.FormatInt(time.Since(x.start).Milliseconds(), 10)}
	}
}
