package sim

import (
	"net/http"
	"strconv"
	"time"
)

// stream answers in server-sent events of one to four tokens.
type stream struct {
	*exchange
	flusher *http.ResponseController
	head    []byte // of every event, up to and with the bracket of its choices
	tail    string // of every event, from the bracket that closes its choices
	chunks  int64  // content events written
	offset  time.Duration
}

func (x *exchange) stream() {
	if !x.until(x.answer.first) {
		return
	}
	s := &stream{exchange: x, flusher: http.NewResponseController(x.w), offset: x.answer.first, tail: "]}\n\n"}
	if x.r.includeUsage {
		s.tail = `],"usage":null}` + "\n\n"
	}
	s.head = x.appendHead([]byte("data: "), x.objectName(true))
	x.out = x.buffer()
	s.open()
	if x.fault.Kind == FaultHangHeader {
		x.spoil()
		x.hang()
		return
	}
	for i := range x.r.choices {
		if !s.choice(i) {
			return
		}
	}
	if s.finish() {
		x.end.outcome = answered
	}
}

func (s *stream) open() {
	s.limits(s.ticket.levels)
	h := s.w.Header()
	h["Content-Type"] = typeEvents
	h["Cache-Control"] = []string{"no-cache"}
	s.p.books.streamStarted()
	s.w.WriteHeader(http.StatusOK)
}

// choice writes one whole choice; false when the stream is over.
func (s *stream) choice(index int64) bool {
	a := s.answer
	if s.r.op == opChat && !s.write(s.appendOpening((*s.out)[:0], index)) {
		return false
	}
	for from := int64(0); from < a.tokens; {
		if s.broken(false) {
			return false
		}
		to := int64(1) // alone, so that the last token comes when it is due
		if from > 0 {
			to = min(a.tokens, from+1+s.rng.Int64N(4))
		}
		if from > 0 || index > 0 {
			s.offset += a.gap(s.rng, to-from)
		}
		if !s.until(s.offset) {
			return false
		}
		s.p.books.produced(to - from)
		if !s.write(s.appendDelta((*s.out)[:0], index, from, to)) {
			return false
		}
		s.chunks++
		from = to
	}
	last := index == s.r.choices-1
	return !s.broken(last) && s.write(s.appendFinish((*s.out)[:0], index))
}

// broken carries out a fault that is due at this chunk, or for want of more
// chunks at the last. It does not return from a cut.
func (s *stream) broken(last bool) bool {
	if s.chunks < s.fault.AfterChunks && !last {
		return false
	}
	switch s.fault.Kind {
	case FaultCut:
		s.spoil()
		s.cut()
	case FaultErrorFrame:
		s.spoil()
		s.write(append((*s.out)[:0], `data: {"error":{"message":"The server had an error while processing your request.",`+
			`"type":"server_error","param":null,"code":null}}`+"\n\n"...))
		return true
	}
	return false
}

// finish writes the usage, if it was asked for, and the end mark.
func (s *stream) finish() bool {
	b := (*s.out)[:0]
	if s.r.includeUsage {
		b = append(b, s.head...)
		b = append(b, "],"...)
		b = append(s.appendUsage(b), "}\n\n"...)
	}
	if !s.write(append(b, "data: [DONE]\n\n"...)) {
		return false
	}
	if s.r.includeUsage {
		s.end.prompt, s.end.output = s.prompt, s.answer.tokens*s.r.choices
	}
	return true
}

// write sends events at once; false when the client is gone.
func (s *stream) write(b []byte) bool {
	*s.out = b
	if s.req.Context().Err() != nil {
		return false
	}
	if _, err := s.w.Write(b); err != nil {
		return false
	}
	return s.flusher.Flush() == nil
}

func (s *stream) appendOpening(b []byte, index int64) []byte {
	b = s.appendIndex(b, index)
	if s.answer.tool == "" {
		b = append(b, `,"delta":{"role":"assistant","content":"","refusal":null}`...)
		return s.appendEnd(b, "")
	}
	b = append(b, `,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"`...)
	b = s.appendCallID(b)
	b = append(b, `","type":"function","function":{"name":`...)
	b = appendQuoted(b, s.answer.tool)
	return s.appendEnd(append(b, `,"arguments":""}}]}`...), "")
}

func (s *stream) appendDelta(b []byte, index, from, to int64) []byte {
	b = s.appendIndex(b, index)
	switch {
	case s.r.op == opCompletion:
		b = append(b, `,"text":"`...)
		b = append(s.p.append(b, s.answer, from, to), '"')
	case s.answer.tool != "":
		b = append(b, `,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"`...)
		b = append(s.p.append(b, s.answer, from, to), `"}}]}`...)
	default:
		b = append(b, `,"delta":{"content":"`...)
		b = append(s.p.append(b, s.answer, from, to), `"}`...)
	}
	return s.appendEnd(b, "")
}

func (s *stream) appendFinish(b []byte, index int64) []byte {
	b = s.appendIndex(b, index)
	if s.r.op == opCompletion {
		b = append(b, `,"text":""`...)
	} else {
		b = append(b, `,"delta":{}`...)
	}
	return s.appendEnd(b, s.answer.finish)
}

func (s *stream) appendIndex(b []byte, index int64) []byte {
	b = append(b, s.head...)
	b = append(b, `{"index":`...)
	return strconv.AppendInt(b, index, 10)
}

func (s *stream) appendEnd(b []byte, finish string) []byte {
	b = append(b, `,"logprobs":null,"finish_reason":`...)
	b = appendNullable(b, finish)
	b = append(b, '}')
	return append(b, s.tail...)
}
