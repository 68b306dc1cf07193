package endpoint

import (
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/task"
)

// tellEvery is the least time between two notes on progress.
const tellEvery = 200 * time.Millisecond

// maxRaw bounds an answer that did not come as a stream, per byte of text that
// it may hold: JSON escapes a byte in up to six.
const maxRaw = 6

// reply is the client's side of a dispatched request. It is a dispatch.Recorder
// in that it is told at once where the request stands and when it is sent, but it
// keeps the text alone, not the events around it.
type reply struct {
	*dispatch.Recorder
	said
	form Answer
	tell func(Update)

	stream bool
	events events
	raw    []byte // of an answer that is no stream
	err    error  // how it ended; nil for a whole answer
	meta   dispatch.Meta
	told   time.Time
	items  counter
}

func newReply(form Answer, most int64, tell func(Update)) *reply {
	return &reply{Recorder: dispatch.NewRecorder(0, func(s admission.Status) {
		if s.Position > 0 {
			tell(Update{Position: s.Position, ETA: s.ETA, Reason: s.Reason})
		} else {
			tell(Update{Started: true})
		}
	}), said: said{max: most}, form: form, tell: tell}
}

// Begin implements dispatch.Reply.
func (r *reply) Begin(a *llm.Answer, _ *dispatch.Meta) {
	r.stream = a.Stream
	r.tell(Update{Started: true})
}

// Write implements dispatch.Reply. A failure to read is kept: to dispatch it
// looks like a client that has left, and the upstream is cut off.
func (r *reply) Write(p []byte) error {
	if r.err = r.read(p); r.err != nil {
		return r.err
	}
	r.progress()
	return nil
}

func (r *reply) read(p []byte) error {
	if r.stream {
		return r.events.feed(p, r.take)
	}
	if int64(len(r.raw)+len(p)) > maxRaw*r.max+maxEvent {
		return errTooBig
	}
	r.raw = append(r.raw, p...)
	return nil
}

// End implements dispatch.Reply.
func (r *reply) End(err error, m *dispatch.Meta) int {
	r.meta = *m
	switch {
	case r.err != nil: // why Write has failed says more than that it has
	case err != nil:
		r.err = err
	case r.stream:
		r.err = r.events.end(r.take)
	default:
		r.err = r.take(r.raw)
	}
	return http.StatusOK
}

// progress tells how far the answer is. Nobody knows how long it will be, so the
// figure nears 95 and stays there.
func (r *reply) progress() {
	now := time.Now()
	if now.Sub(r.told) < tellEvery {
		return
	}
	r.told = now
	const half = 2 << 10 // bytes of text that count as half of an answer
	size := r.text.Len()
	note := strconv.Itoa(size) + " bytes received"
	if r.form == Feedback {
		note = strconv.Itoa(r.items.count(r.text.String())) + " items received"
	}
	r.tell(Update{Progress: task.Progress{Percent: 5 + 90*size/(size+half), Note: note}})
}

// counter counts the objects of the outermost list of a text that grows.
type counter struct {
	n      int
	at     int // how much of the text has been looked at
	depth  int
	list   int // depth of the list; 0 before it
	quoted bool
}

// count looks at what is new. It is a figure for people: of text that is no JSON
// it makes no sense.
func (c *counter) count(text string) int {
	for ; c.at < len(text); c.at++ {
		switch b := text[c.at]; {
		case c.quoted:
			if b == '\\' {
				c.at++
			}
			c.quoted = b != '"'
		case b == '"':
			c.quoted = c.depth > 0
		case b == '{' || b == '[':
			c.depth++
			if b == '[' && c.list == 0 {
				c.list = c.depth
			}
		case (b == '}' || b == ']') && c.depth > 0:
			if c.depth--; b == '}' && c.depth == c.list && c.list > 0 {
				c.n++
			}
		}
	}
	return c.n
}
