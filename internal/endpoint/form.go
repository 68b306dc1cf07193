package endpoint

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/endpoint/repair"
)

// formed is an answer in its endpoint's form.
type formed struct {
	value   []byte // JSON
	count   int    // findings of feedback
	partial bool   // cut short: only what is complete is there
}

// form brings a model's text into the form a, or says that it cannot be. cut
// says that the text has no end of its own.
func form(a Answer, s string, cut bool) (formed, bool) {
	switch a {
	case Feedback:
		f, ok := readFeedback(s)
		if cut && len(f.items) == 0 {
			return formed{}, false
		}
		return formed{value: f.encode(), count: len(f.items), partial: f.partial}, ok
	case JSON:
		return readJSON(s, cut)
	case Text:
	}
	s = strings.TrimSpace(repair.WithoutThoughts(s))
	return formed{value: quote(s), partial: cut}, s != ""
}

// readJSON takes a JSON value out of a model's text. A value beside prose counts
// if it is most of the text: brackets stand in prose, too.
func readJSON(s string, cut bool) (formed, bool) {
	whole := strings.TrimSpace(s)
	if json.Valid([]byte(whole)) && !(cut && !strings.HasSuffix(whole, "}") && !strings.HasSuffix(whole, "]")) {
		return formed{value: []byte(whole)}, true
	}
	var best *repair.Found
	all := repair.Find(whole, false)
	for i := range all {
		f := &all[i]
		bulk := f.Alone || 2*f.Size >= len(whole)
		if bulk && (best == nil || best.Value.Cut && !f.Value.Cut || best.Value.Cut == f.Value.Cut && f.Size > best.Size) {
			best = f
		}
	}
	switch {
	case best == nil, best.Value.Kind != repair.List && best.Value.Kind != repair.Object && (cut || !best.Alone):
		return formed{}, false
	case !best.Value.Cut:
		return formed{value: best.Value.Append(nil)}, true
	case best.Value.Kind == repair.List && len(best.Value.Whole()) > 0:
		complete := repair.Value{Kind: repair.List, Items: best.Value.Whole()}
		return formed{value: complete.Append(nil), partial: true}, true
	}
	return formed{}, false
}

// figures are what a result tells of how it came about.
type figures struct {
	model string
	took  time.Duration
	usage usage
}

// resultBody is the answer of a done task.
func resultBody(p *plan, r *request, f formed, n figures) []byte {
	o := new(object).add("success", true)
	switch p.Answer {
	case Feedback:
		o.raw("feedback_items", f.value).add("feedback_count", f.count)
	case JSON:
		o.raw("result", f.value)
	case Text:
		o.raw("response", f.value)
	}
	o.add("model_used", n.model).add("duration", float64(n.took.Milliseconds())/1000).
		raw("tokens", new(object).add("input", n.usage.Input).add("output", n.usage.Output).
			add("total", n.usage.Input+n.usage.Output).bytes())
	if f.partial {
		o.add("partial", true)
	}
	return o.echo(p, r).bytes()
}

// emptyFeedback is the answer to a request with nothing to work on. No model was
// asked.
func emptyFeedback(p *plan, r *request) []byte {
	return resultBody(p, r, formed{value: []byte("[]")}, figures{model: ""})
}
