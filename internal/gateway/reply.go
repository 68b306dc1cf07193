package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// Every write to a client has between these two to get through. The deadline is
// set anew only when it has come nearer than the first, since that costs more
// than the write.
const (
	minWrite = 10 * time.Second
	maxWrite = 30 * time.Second
	maxPart  = 64 << 10 // bytes of one write
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
	g       *Gateway
	w       http.ResponseWriter
	control *http.ResponseController
	id      string
	route   int
	class   flow.Class
	stream  bool // the client asked for one

	values    values
	deadline  time.Time // of writes; zero before the first
	status    int       // sent; 0 before
	events    bool      // the answer is sent as events
	begun     bool      // an upstream's answer has begun
	useless   bool      // the upstream's answer does not fit the stream that has begun
	truncated bool      // the answer broke off where no error can be told any more
}

// allow gives the coming write its time.
func (r *reply) allow() {
	now := time.Now()
	if r.deadline.Sub(now) >= minWrite {
		return
	}
	r.deadline = now.Add(maxWrite)
	_ = r.control.SetWriteDeadline(r.deadline) // a writer without deadlines is a test's
}

// head sends status and header.
func (r *reply) head(status int, m *dispatch.Meta) {
	r.allow()
	r.describe(m)
	r.status = status
	r.w.WriteHeader(status)
}

// describe sets the headers that every answer has.
func (r *reply) describe(m *dispatch.Meta) {
	h := r.w.Header()
	r.values.set(h, hRequestID, r.id)
	h["Access-Control-Expose-Headers"] = exposed
	r.values.tell(h, m, r.class)
	r.g.board.tell(h, r.route)
	if h["X-Request-Id"] == nil { // SDKs quote it; the provider's own says more
		h["X-Request-Id"] = h[hRequestID]
	}
}

// beginStream makes the answer a stream of events.
func (r *reply) beginStream() {
	h := r.w.Header()
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
	b = strconv.AppendInt(append(b, " eta="...), ceilSeconds(s.ETA), 10)
	b = append(b, 's')
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
	h := r.w.Header()
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
	return r.put(p)
}

// put writes what may be long, giving each part its time: a slow client is not a
// stalled one.
func (r *reply) put(p []byte) error {
	for {
		part := p[:min(len(p), maxPart)]
		r.allow()
		if _, err := r.w.Write(part); err != nil {
			return err
		}
		if p = p[len(part):]; len(p) == 0 {
			return nil
		}
	}
}

// send writes events and sees that they leave.
func (r *reply) send(p []byte) error {
	if err := r.put(p); err != nil {
		return err
	}
	return r.control.Flush()
}

// End implements dispatch.Reply.
func (r *reply) End(err error, m *dispatch.Meta) int {
	if err == nil && r.useless {
		err = errNoStream
	}
	r.allow() // for what net/http still holds back, too
	switch {
	case err == nil, errors.Is(err, flow.ErrCanceled):
	case r.status == 0:
		f := faultOf(err, r.id)
		r.status = f.status
		r.describe(m)
		r.turnedAway(err)
		f.write(r.w, r.id)
	case r.events:
		if !r.begun || !framed(err) {
			_ = r.send(faultOf(err, r.id).frame()) // a client that has left cannot be told
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
	h := r.w.Header()
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
