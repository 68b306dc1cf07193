package sim

import (
	"net/http"
	"strconv"
	"time"
)

// embed answers an embeddings request.
func (x *exchange) embed() {
	if !x.until(x.answer.first) {
		return
	}
	x.out = x.buffer()
	*x.out = x.p.appendEmbeddings(*x.out, x.r, x.prompt)
	x.end.prompt = x.prompt
	x.send(*x.out)
}

// reply answers in one piece.
func (x *exchange) reply() {
	a := x.answer
	total := a.first + a.gap(x.rng, a.tokens-1)
	if !x.until(total) {
		x.p.books.produced(x.producedBy(time.Since(x.start), total))
		return
	}
	output := a.tokens * x.r.choices
	x.p.books.produced(output)
	x.out = x.buffer()
	*x.out = x.appendReply(*x.out)
	x.end.prompt, x.end.output = x.prompt, output
	x.send(*x.out)
}

// producedBy is how much of an answer in one piece was ready when the client
// left.
func (x *exchange) producedBy(elapsed, total time.Duration) int64 {
	a := x.answer
	if elapsed < a.first || total <= a.first {
		return 0
	}
	share := float64(elapsed-a.first) / float64(total-a.first)
	return min(a.tokens, 1+int64(share*float64(a.tokens-1))) * x.r.choices
}

// send writes a whole body, or breaks it where the script says so.
func (x *exchange) send(body []byte) {
	x.limits(x.ticket.levels)
	h := x.w.Header()
	h["Content-Type"] = typeJSON
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	switch x.fault.Kind {
	case FaultErrorFrame:
		x.spoil()
		h.Del("Content-Length")
		x.p.writeError(x.w, refuseFault(Fault{Status: http.StatusInternalServerError}, x.r.model))
		return
	case FaultHangHeader, FaultCut:
		x.spoil()
		x.p.books.status(http.StatusOK)
		x.w.WriteHeader(http.StatusOK)
		if x.fault.Kind == FaultHangHeader {
			x.hang()
			return
		}
		_, _ = x.w.Write(body[:len(body)/2])
		x.cut()
	}
	x.p.books.status(http.StatusOK)
	if _, err := x.w.Write(body); err != nil || x.req.Context().Err() != nil {
		x.end.prompt, x.end.output = 0, 0
		return
	}
	x.end.outcome = answered
}

// spoil books the request as broken by the script: its usage was never seen.
func (x *exchange) spoil() {
	x.end.outcome, x.end.prompt, x.end.output = faulted, 0, 0
}

// hang flushes the header and waits for the client to give up.
func (x *exchange) hang() {
	_ = http.NewResponseController(x.w).Flush()
	<-x.req.Context().Done()
}

// cut closes the connection: this panic is how net/http is told to.
func (x *exchange) cut() {
	_ = http.NewResponseController(x.w).Flush()
	panic(http.ErrAbortHandler) //nolint:forbidigo // net/http asks for it
}

func (x *exchange) appendReply(b []byte) []byte {
	b = x.appendHead(b, x.objectName(false))
	for i := range x.r.choices {
		if i > 0 {
			b = append(b, ',')
		}
		b = x.appendChoice(b, i)
	}
	b = append(b, "],"...)
	b = x.appendUsage(b)
	return append(b, "}\n"...)
}

// objectName names the kind of answer, whole or in pieces.
func (x *exchange) objectName(piece bool) string {
	switch {
	case x.r.op == opCompletion:
		return "text_completion"
	case piece:
		return "chat.completion.chunk"
	}
	return "chat.completion"
}

// appendHead opens an answer up to and with the bracket of its choices.
func (x *exchange) appendHead(b []byte, object string) []byte {
	prefix := "chatcmpl-"
	if x.r.op == opCompletion {
		prefix = "cmpl-"
	}
	b = append(b, `{"id":"`...)
	b = append(b, prefix...)
	b = strconv.AppendUint(b, x.answer.id, 36)
	b = append(b, `","object":"`...)
	b = append(b, object...)
	b = append(b, `","created":`...)
	b = strconv.AppendInt(b, x.start.Unix(), 10)
	b = append(b, `,"model":`...)
	b = appendQuoted(b, x.r.model)
	return append(b, `,"service_tier":"default","system_fingerprint":"fp_sim","choices":[`...)
}

func (x *exchange) appendChoice(b []byte, index int64) []byte {
	a := x.answer
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, index, 10)
	switch {
	case x.r.op == opCompletion:
		b = append(b, `,"text":"`...)
		b = append(x.p.append(b, a, 0, a.tokens), '"')
	case a.tool != "":
		b = append(b, `,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[`...)
		b = append(b, `{"id":"`...)
		b = x.appendCallID(b)
		b = append(b, `","type":"function","function":{"name":`...)
		b = appendQuoted(b, a.tool)
		b = append(b, `,"arguments":"`...)
		b = append(x.p.append(b, a, 0, a.tokens), `"}}]}`...)
	default:
		b = append(b, `,"message":{"role":"assistant","content":"`...)
		b = append(x.p.append(b, a, 0, a.tokens), `","refusal":null,"annotations":[]}`...)
	}
	b = append(b, `,"logprobs":null,"finish_reason":"`...)
	b = append(b, a.finish...)
	return append(b, `"}`...)
}

func (x *exchange) appendCallID(b []byte) []byte {
	return strconv.AppendUint(append(b, "call_"...), mix(x.answer.id, 1), 36)
}

func (x *exchange) appendUsage(b []byte) []byte {
	output := x.answer.tokens * x.r.choices
	b = append(b, `"usage":{"prompt_tokens":`...)
	b = strconv.AppendInt(b, x.prompt, 10)
	b = append(b, `,"completion_tokens":`...)
	b = strconv.AppendInt(b, output, 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendInt(b, x.prompt+output, 10)
	return append(b, `,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":`+
		`{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`...)
}
