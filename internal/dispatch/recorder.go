package dispatch

import (
	"net/http"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/llm"
)

// Recorder is a Reply that keeps the answer instead of sending it. What was
// written before an error stands. Its results may be read once Do has returned.
type Recorder struct {
	max    int64
	told   func(admission.Status)
	status int
	header http.Header
	stream bool
	body   []byte
	err    error
	meta   Meta
}

// NewRecorder returns a Recorder for an answer of at most max bytes; a longer one
// ends with an *llm.Error of KindTooLarge. told is called with where the
// request stands when it begins to wait and every two seconds, and with the zero
// Status when its attempt begins; nil for nobody. It must not block.
func NewRecorder(max int64, told func(admission.Status)) *Recorder {
	return &Recorder{max: max, told: told}
}

// errRecorder ends an answer that is longer than its Recorder may keep.
var errRecorder = &llm.Error{Kind: llm.KindTooLarge, Message: "the answer is longer than may be kept"}

// listens makes dispatch tell where the request stands, be it a stream or not.
func (r *Recorder) listens() bool { return r.told != nil }

// Queued implements Reply.
func (r *Recorder) Queued(s admission.Status) error {
	if r.told != nil {
		r.told(s)
	}
	return nil
}

// Begin implements Reply.
func (r *Recorder) Begin(a *llm.Answer, m *Meta) {
	r.status, r.header, r.stream, r.meta = a.Status, a.Header.Clone(), a.Stream, *m
}

// Write implements Reply.
func (r *Recorder) Write(p []byte) error {
	if int64(len(r.body)+len(p)) > r.max {
		r.err = errRecorder
		return errRecorder
	}
	r.body = append(r.body, p...)
	return nil
}

// End implements Reply.
func (r *Recorder) End(err error, m *Meta) int {
	r.meta = *m
	if r.err == nil {
		r.err = err
	}
	return r.status
}

// Status is the upstream's HTTP status; 0 if no answer began.
func (r *Recorder) Status() int { return r.status }

// Header is the upstream's header, unfiltered; nil if no answer began.
func (r *Recorder) Header() http.Header { return r.header }

// Stream reports whether the body is a sequence of server-sent events.
func (r *Recorder) Stream() bool { return r.stream }

// Body is what was written, until the end or the error.
func (r *Recorder) Body() []byte { return r.body }

// Err is how the request ended: nil for a whole answer.
func (r *Recorder) Err() error { return r.err }

// Meta is how the request went.
func (r *Recorder) Meta() Meta { return r.meta }
