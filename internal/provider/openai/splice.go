package openai

import (
	"bytes"
	"encoding/json"

	"github.com/millrace/millrace/internal/llm"
)

var askUsage = []byte(`"include_usage":true`)

// splice replaces body[from:to] by with.
type splice struct {
	from, to int
	with     []byte
}

// outgoing returns the parts of the request body to send: the client's bytes,
// with the edits between them. A body that is not one JSON object is sent as
// it is; the provider will say what is wrong with it.
func outgoing(call *llm.Call) [][]byte {
	askForUsage := call.Stream && !call.WantUsage && call.Operation != llm.OpEmbedding
	if call.Model == "" && !askForUsage {
		return [][]byte{call.Body}
	}
	e := editor{body: call.Body, askForUsage: askForUsage}
	if call.Model != "" {
		// A string always marshals.
		e.model, _ = json.Marshal(call.Model)
	}
	return e.parts()
}

// editor collects the edits of one body, in the order of their places.
type editor struct {
	body        []byte
	model       []byte // the quoted name to put in; nil keeps the client's
	askForUsage bool

	splices              []splice
	sawModel, sawOptions bool
}

func (e *editor) parts() [][]byte {
	o, ok := walk(e.body, e.visit)
	if !ok {
		return [][]byte{e.body}
	}
	if missing := e.missing(o.empty); missing != nil {
		e.splices = append([]splice{{o.open, o.open, missing}}, e.splices...)
	}
	parts := make([][]byte, 0, 2*len(e.splices)+1)
	at := 0
	for _, s := range e.splices {
		parts = append(parts, e.body[at:s.from], s.with)
		at = s.to
	}
	return append(parts, e.body[at:])
}

// visit edits one member. A key that stands twice is edited twice, since
// parsers differ in which one they believe.
func (e *editor) visit(f field) {
	value := e.body[f.from:f.to]
	switch {
	case e.model != nil && f.named("model"):
		e.sawModel = true
		if !bytes.Equal(value, e.model) {
			e.splices = append(e.splices, splice{f.from, f.to, e.model})
		}
	case e.askForUsage && f.named("stream_options"):
		e.sawOptions = true
		e.options(f, value)
	}
}

// options makes the stream_options that the client sent ask for usage, and
// keeps their other members.
func (e *editor) options(f field, value []byte) {
	if string(value) == "null" {
		e.splices = append(e.splices, splice{f.from, f.to, wrap("{", askUsage, "}")})
		return
	}
	found := false
	var inner []splice
	o, ok := walk(value, func(g field) {
		if g.named("include_usage") {
			found = true
			inner = append(inner, splice{f.from + g.from, f.from + g.to, []byte("true")})
		}
	})
	if ok && !found {
		at := f.from + o.open
		inner = append(inner, splice{at, at, comma(askUsage, o.empty)})
	}
	if ok {
		e.splices = append(e.splices, inner...)
	}
}

// missing returns the members to insert at the head of the object, or nil.
func (e *editor) missing(empty bool) []byte {
	var b []byte
	if e.model != nil && !e.sawModel {
		b = append(append(b, `"model":`...), e.model...)
	}
	if e.askForUsage && !e.sawOptions {
		if b != nil {
			b = append(b, ',')
		}
		b = append(b, wrap(`"stream_options":{`, askUsage, "}")...)
	}
	if b == nil {
		return nil
	}
	return comma(b, empty)
}

// comma returns members with the comma that parts them from those after.
func comma(members []byte, last bool) []byte {
	if last {
		return members
	}
	return wrap("", members, ",")
}

func wrap(before string, b []byte, after string) []byte {
	return append(append([]byte(before), b...), after...)
}
