package gateway

import (
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/estimate"
	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// inference is a request that needs a model, and the reply to it.
type inference struct {
	req   dispatch.Request
	reply reply
	wish  field.Wish
}

// infer answers the operations that need a model.
func (x *exchange) infer() {
	i := &inference{}
	if err := i.prepare(x); err != nil {
		x.turnAway(err)
		return
	}
	if i.wish.Async && !i.req.Call.Stream && x.g.deps.Tasks != nil && len(i.req.Call.Body) <= maxPayload {
		i.postpone(x)
		return
	}
	outcome := x.g.deps.Dispatcher.Do(x.r.Context(), &i.req, &i.reply)
	if outcome == flow.OutcomeServed && i.req.Share.IsZero() {
		x.g.buffers.put(i.req.Call.Body)
	}
	if i.reply.truncated {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http cuts the connection: a body cut short must not look whole
	}
}

// prepare turns an HTTP request into one for dispatch.
func (i *inference) prepare(x *exchange) error {
	if x.g.draining.Load() {
		return flow.ErrDraining
	}
	body, err := x.g.body(&x.out, x.r, x.t.options.MaxBody)
	if err != nil {
		return err
	}
	f, err := field.Read(body, x.op)
	if err != nil {
		return err
	}
	route, ok := x.t.find(x.who.key, f.Model)
	if !ok {
		return unknownModel(f.Model)
	}
	key, err := x.flow(route, f.User)
	if err != nil {
		return err
	}
	i.wish = field.Wishes(x.r.Header["Prefer"])
	i.req.ID, i.req.Arrived = x.id, x.arrived
	i.req.Ask = admission.Ask{Route: route, Flow: key, Retry: field.Retried(x.r.Header["X-Stainless-Retry-Count"]), Place: x.g.place(x.op, body)}
	i.req.Call = llm.Call{Operation: x.op, Header: forwarded(x.r.Header), Body: body}
	x.g.compose(x.t, &i.req, &f)
	if field.RefusesCache(x.r.Header[hCacheControl]) {
		i.req.Cache, i.req.CacheFor = flow.ShareKey{}, 0
	}
	i.req.Ask.Hold = x.t.hold(x.r.Header, route, i.req.Call.Stream, &i.wish)
	i.reply = reply{x: x, route: route, class: key.Class}
	return nil
}

// compose completes a request, whose Ask has a route and a flow and whose Call
// has an operation, headers and a body, by what the body says.
func (g *Gateway) compose(t *table, req *dispatch.Request, f *field.Fields) {
	req.Ask.Model, req.Ask.Kind, req.Ask.Size = field.Clean(f.Model), estimate.Kind(f.Sample), f.Size
	req.Call.Stream, req.Call.WantUsage = f.Stream && req.Call.Operation != llm.OpEmbedding, f.WantUsage
	route := &t.options.Routes[req.Ask.Route]
	if !route.Coalesce && route.Cache <= 0 {
		return
	}
	scope := flow.Scope{
		Tenant: req.Ask.Flow.Tenant, User: req.Ask.Flow.User,
		Route: strconv.Itoa(req.Ask.Route), Operation: req.Call.Operation.String(),
	}
	if route.ShareUsers {
		scope.User = ""
	}
	parts := [][]byte{req.Call.Body}
	for _, v := range req.Call.Header[hBeta] { // the only header that is passed on
		parts = append(parts, []byte(v))
	}
	if route.Coalesce {
		scope.Use = "flight"
		req.Share = g.sharer.Key(scope, parts...)
	}
	if route.Cache > 0 {
		scope.Use = "cache"
		req.Cache, req.CacheFor = g.sharer.Key(scope, parts...), route.Cache
	}
}

// streamPatience is how soon a stream that waits sends its header, with a margin. A
// client's timeout that is longer does not end the wait.
const streamPatience = 6 * time.Second

// hold is the latest moment at which the request may still be dispatched; zero
// leaves it to its class. A client's own timeout leaves a part of itself for the
// answer; of a stream it ends with the header, which comes while it waits.
func (t *table) hold(h http.Header, route int, stream bool, wish *field.Wish) time.Time {
	hold := t.options.StreamHold
	if !stream {
		hold = t.options.Hold
		if own := t.options.Routes[route].Hold; own > 0 {
			hold = own
		}
	}
	bound := func(d time.Duration) {
		if hold == 0 || d < hold {
			hold = max(d, 1) // zero would leave it to the class
		}
	}
	if timeout := field.Timeout(h["X-Stainless-Timeout"]); timeout > 0 && (!stream || timeout < streamPatience) {
		bound(timeout - min(timeout/4, 10*time.Second))
	}
	if wish.Waits && !wish.Async {
		bound(wish.Wait)
	}
	if hold == 0 {
		return time.Time{}
	}
	return time.Now().Add(hold)
}

// place names the place that a request may come back to: the same body. The flow
// is part of the place's name anyway; who guesses a hash finds his own.
func (g *Gateway) place(op llm.Operation, body []byte) string {
	var room [20]byte
	b := append(room[:0], byte('0'+op))
	return string(strconv.AppendUint(b, maphash.Bytes(g.seed, body), 36))
}

// forwarded are the client's headers that mean something to a provider and name
// nobody. No other header is passed on, so there is none that a hop would have to
// take out.
func forwarded(h http.Header) http.Header {
	v := h[hBeta]
	if len(v) == 0 {
		return nil
	}
	return http.Header{hBeta: v}
}

func unknownModel(model string) *fault {
	f := invalid("model", "The model '"+field.Clean(model)+"' does not exist or you do not have access to it.")
	f.status, f.code = http.StatusNotFound, codeUnknownModel
	return f
}

// requestID is unique enough to find a request again; it is no secret.
func requestID() string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	b := [24]byte{'r', 'e', 'q', '_'}
	for i, x := 4, rand.Uint64(); i < 16; i, x = i+1, x>>5 {
		b[i] = digits[x&31]
	}
	for i, x := 16, rand.Uint64(); i < len(b); i, x = i+1, x>>5 {
		b[i] = digits[x&31]
	}
	return string(b[:])
}
