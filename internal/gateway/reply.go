package gateway

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// Values of headers that many answers share; nobody changes them.
var (
	eventStream = []string{"text/event-stream; charset=utf-8"}
	noCache     = []string{"no-cache"}
	unbuffered  = []string{"no"}
)

// errNoStream is the fault of an upstream that answered a stream that had begun
// with something else.
var errNoStream = &llm.Error{Kind: llm.KindTransient, Message: "the upstream answered without a stream"}

// reply is the client's side of one request; it implements dispatch.Reply.
type reply struct {
	x     *exchange
	route int
	class flow.Class

	values    values
	status    int  // sent; 0 before
	events    bool // the answer is sent as events
	begun     bool // an upstream's answer has begun
	useless   bool // the upstream's answer does not fit the stream that has begun
	truncated bool // the answer broke off where no error can be told any more
}

// head sends status and header.
func (r *reply) head(status int, m *dispatch.Meta) {
	r.describe(m)
	r.status = status
	r.x.out.WriteHeader(status)
}

// describe sets the headers that every answer has.
func (r *reply) describe(m *dispatch.Meta) {
	h := r.x.out.Header()
	r.values.set(h, hRequestID, r.x.id)
	if fromElsewhere(r.x.r) {
		h["Access-Control-Expose-Headers"] = exposed
	}
	r.values.tell(h, m, r.class)
	r.x.t.board.tell(h, r.route)
	if h["X-Request-Id"] == nil { // SDKs quote it; the provider's own says more
		h["X-Request-Id"] = h[hRequestID]
	}
}

// beginStream makes the answer a stream of events.
func (r *reply) beginStream() {
	h := r.x.out.Header()
	h["Content-Type"] = eventStream
	h["Cache-Control"] = noCache
	h["X-Accel-Buffering"] = unbuffered
	r.events = true
}

// Queued implements dispatch.Reply: an SSE comment, which every client skips.
func (r *reply) Queued(s admission.Status) error {
	if r.status == 0 {
		r.beginStream()
		r.head(http.StatusOK, &dispatch.Meta{Entry: s})
	}
	var room [96]byte
	return r.send(appendComment(room[:0], s))
}

func appendComment(b []byte, s admission.Status) []byte {
	if s.Position == 0 {
		return append(b, ": running\n\n"...)
	}
	b = strconv.AppendInt(append(b, ": queued position="...), int64(s.Position), 10)
	if !s.Unknown {
		b = append(strconv.AppendInt(append(b, " eta="...), ceilSeconds(s.ETA), 10), 's')
	}
	if s.Reason != flow.ReasonNone {
		b = append(append(b, " reason="...), s.Reason...)
	}
	return append(b, "\n\n"...)
}

// Begin implements dispatch.Reply.
func (r *reply) Begin(a *llm.Answer, m *dispatch.Meta) {
	r.begun = true
	if r.status != 0 {
		r.useless = !a.Stream
		return
	}
	h := r.x.out.Header()
	passHeader(h, a.Header)
	switch {
	case a.Stream:
		r.beginStream()
	case len(a.Header["Content-Length"]) == 1:
		h["Content-Length"] = a.Header["Content-Length"]
	}
	r.head(a.Status, m)
}

// Write implements dispatch.Reply.
func (r *reply) Write(p []byte) error {
	if r.useless {
		return nil
	}
	if r.events {
		return r.send(p)
	}
	_, err := r.x.out.Write(p)
	return err
}

// send writes events and sees that they leave.
func (r *reply) send(p []byte) error {
	if _, err := r.x.out.Write(p); err != nil {
		return err
	}
	return r.x.out.FlushError()
}

// End implements dispatch.Reply.
func (r *reply) End(err error, m *dispatch.Meta) int {
	if err == nil && r.useless {
		err = errNoStream
	}
	r.x.out.allow() // for what net/http still holds back, too
	switch {
	case err == nil, errors.Is(err, flow.ErrCanceled):
	case r.status == 0:
		f := faultOf(err, r.x.id)
		r.status = f.status
		r.describe(m)
		r.turnedAway(err)
		f.write(&r.x.out, r.x.id, r.x.dialect)
	case r.events:
		if !r.begun || !framed(err) {
			_ = r.send(faultOf(err, r.x.id).frame()) // a client that has left cannot be told
		}
	default:
		r.truncated = true
	}
	return r.status
}

// turnedAway tells a refused request what it would have waited for, and how long.
func (r *reply) turnedAway(err error) {
	var refusal *admission.Refusal
	if !errors.As(err, &refusal) {
		return
	}
	h := r.x.out.Header()
	if refusal.ETA > 0 {
		r.values.set(h, hETA, decimal(refusal.ETA.Milliseconds()))
	}
	if refusal.Reason != flow.ReasonNone {
		r.values.set(h, hReason, string(refusal.Reason))
	}
}

// framed reports whether the provider has told the error itself, in a frame of
// the stream that was passed on.
func framed(err error) bool {
	var failed *llm.Error
	return errors.As(err, &failed) && failed.Status < http.StatusBadRequest && len(failed.Body) > 0
}
