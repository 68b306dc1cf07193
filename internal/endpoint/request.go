package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace/internal/field"
)

// Bounds of a request. What a body weighs in all is the gateway's to bound.
const (
	maxName    = 256 // bytes of a name: a user, a conversation, a model
	maxDepth   = 64
	maxMembers = 10_000 // on all levels together
	maxValues  = 50_000 // in lists, on all levels together: each costs more to look at than it weighs
)

// fault is a request that is not taken, in words for its sender.
type fault struct {
	status  int
	message string
}

// Error implements error.
func (f *fault) Error() string { return f.message }

func invalid(format string, args ...any) *fault {
	return &fault{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

// plan is an endpoint, ready to be used.
type plan struct {
	Endpoint
	system, prompt template
	scalars        []string // members that must be text, a number or a boolean
	optional       []string // placeholders of the prompt that are not required
}

func newPlan(e Endpoint) *plan {
	p := &plan{Endpoint: e, system: parseTemplate(e.System), prompt: parseTemplate(e.Prompt)}
	p.scalars = slices.Concat(p.system.members(), p.prompt.members(), e.Required)
	for _, name := range p.prompt.members() {
		if name != e.Flow && !slices.Contains(e.Required, name) {
			p.optional = append(p.optional, name)
		}
	}
	return p
}

// request is what an endpoint reads of a body.
type request struct {
	values  map[string]string          // the texts of the members that the endpoint names
	raw     map[string]json.RawMessage // all members as they came
	session string                     // the value of the flow member; empty without one
	model   string
}

// read reads and checks a body. The error is a *fault.
func (p *plan) read(body []byte) (*request, error) {
	if err := strict(body); err != nil {
		return nil, err
	}
	r := &request{values: make(map[string]string), model: p.Model}
	if err := json.Unmarshal(body, &r.raw); err != nil {
		return nil, invalid("The body is not valid JSON.")
	}
	for _, name := range p.scalars {
		if err := r.scalar(name); err != nil {
			return nil, err
		}
	}
	for _, name := range p.Required {
		if strings.TrimSpace(r.values[name]) == "" {
			return nil, invalid("Member '%s' is required.", name)
		}
	}
	if err := r.readSession(p.Flow); err != nil {
		return nil, err
	}
	return r, r.readModel(p.ModelField)
}

// scalar takes the text of a member; null is as good as absent.
func (r *request) scalar(name string) error {
	raw := r.raw[name]
	if len(raw) == 0 {
		return nil
	}
	switch raw[0] {
	case 'n':
		return nil
	case '{', '[':
		return invalid("Member '%s' must be a string, a number or a boolean.", name)
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return invalid("Member '%s' is not valid JSON.", name)
		}
		r.values[name] = s
	default:
		r.values[name] = string(raw)
	}
	return nil
}

func (r *request) readSession(name string) error {
	raw := r.raw[name]
	if name == "" || len(raw) == 0 || raw[0] == 'n' {
		return nil
	}
	if c := raw[0]; c == 't' || c == 'f' || r.scalar(name) != nil {
		return invalid("Member '%s' must be a string or a number.", name)
	}
	if r.session = r.values[name]; len(r.session) > maxName {
		return invalid("Member '%s' is longer than %d bytes.", name, maxName)
	}
	return nil
}

func (r *request) readModel(name string) error {
	raw := r.raw[name]
	if name == "" || len(raw) == 0 || raw[0] == 'n' {
		return nil
	}
	if raw[0] != '"' || r.scalar(name) != nil {
		return invalid("Member '%s' must be a string.", name)
	}
	switch model := r.values[name]; {
	case len(model) > maxName:
		return invalid("Member '%s' is longer than %d bytes.", name, maxName)
	case model != "":
		r.model = model
	}
	return nil
}

// idle reports whether a request gives a feedback endpoint nothing to work on:
// all that its prompt takes from the request, beside what is required, is blank.
func (p *plan) idle(r *request) bool {
	if p.Answer != Feedback || len(p.optional) == 0 {
		return false
	}
	return !slices.ContainsFunc(p.optional, func(name string) bool {
		return strings.TrimSpace(r.values[name]) != ""
	})
}

// strict walks over a body: one object, nothing behind it, no member twice.
func strict(body []byte) error {
	if !utf8.Valid(body) {
		return invalid("The body is not valid UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	switch first, err := d.Token(); {
	case err != nil:
		return invalid("The body is not valid JSON.")
	case first != json.Delim('{'):
		return invalid("The body must be a JSON object.")
	}
	w := walker{d: d}
	if err := w.object(1); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("The body must be one JSON object, with nothing behind it.")
	}
	return nil
}

// walker looks for what two parsers could read differently.
type walker struct {
	d       *json.Decoder
	members int
	values  int // of lists
}

// object walks to the end of the object that has been opened.
func (w *walker) object(depth int) error {
	seen := make(map[string]bool)
	for {
		token, err := w.d.Token()
		if err != nil {
			return invalid("The body is not valid JSON.")
		}
		name, ok := token.(string)
		if !ok {
			return nil // the closing brace: keys are strings
		}
		if seen[name] {
			return invalid("Member '%s' is there twice.", field.Clean(name))
		}
		if w.members++; w.members > maxMembers {
			return invalid("The body has more than %d members.", maxMembers)
		}
		seen[name] = true
		if err := w.value(depth); err != nil {
			return err
		}
	}
}

// value walks over one value.
func (w *walker) value(depth int) error {
	token, err := w.d.Token()
	if err != nil {
		return invalid("The body is not valid JSON.")
	}
	return w.inside(token, depth)
}

// inside walks to the end of what token has opened, if it has opened something.
func (w *walker) inside(token json.Token, depth int) error {
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth++; depth > maxDepth {
		return invalid("The body is nested deeper than %d levels.", maxDepth)
	}
	if open == '{' {
		return w.object(depth)
	}
	for {
		token, err := w.d.Token()
		if err != nil {
			return invalid("The body is not valid JSON.")
		}
		if token == json.Delim(']') {
			return nil
		}
		if w.values++; w.values > maxValues {
			return invalid("The body has lists of more than %d values.", maxValues)
		}
		if err := w.inside(token, depth); err != nil {
			return err
		}
	}
}
