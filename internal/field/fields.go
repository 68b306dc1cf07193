package field

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/internal/llm"
)

// MaxName bounds the name of a model or a user, in bytes.
const MaxName = 256

const (
	maxChoice = 1 << 10 // choices a request may ask for
	tokenText = 4       // bytes of text that a token given as a number stands for
)

// Fields are what the gateway reads of a request's body.
type Fields struct {
	Model     string   // never empty; at most MaxName bytes as written
	Stream    bool     // the answer is wanted as a stream
	WantUsage bool     // a stream shall end with its usage
	User      string   // safety_identifier, else user; as Name tells it
	Size      llm.Size // as far as the body tells; all zero or more
	Sample    []byte   // at most 1 KiB of the longest text, from its middle; within the body
}

// Fault is what is wrong with a body, in words for its sender.
type Fault struct {
	Param   string // the member it is about; empty for the body as a whole
	Message string
}

// Error implements error.
func (f *Fault) Error() string { return f.Message }

// reader gathers fields while a scanner walks over the body.
type reader struct {
	f Fields

	seen    uint32 // known members, by their place in members
	safety  bool   // user holds safety_identifier
	output  int64  // largest of the bounds on output tokens
	choices int64  // largest of n and best_of
	longest []byte // the longest text, by which the kind is told
}

// member is a top-level member that the gateway reads.
type member struct {
	name string
	read func(*reader, *scanner) error
}

// members of all operations. A member that means nothing for an operation is
// still checked, for the provider may read it.
var members = [...]member{
	{"model", (*reader).model},
	{"messages", (*reader).messages},
	{"stream", func(r *reader, s *scanner) error { return s.flag("stream", &r.f.Stream) }},
	{"stream_options", (*reader).streamOptions},
	{"max_tokens", func(r *reader, s *scanner) error { return s.count("max_tokens", math.MaxInt32, &r.output) }},
	{"max_completion_tokens", func(r *reader, s *scanner) error {
		return s.count("max_completion_tokens", math.MaxInt32, &r.output)
	}},
	{"n", func(r *reader, s *scanner) error { return s.count("n", maxChoice, &r.choices) }},
	{"best_of", func(r *reader, s *scanner) error { return s.count("best_of", maxChoice, &r.choices) }},
	{"user", (*reader).user},
	{"safety_identifier", (*reader).safetyIdentifier},
	{"prompt", func(r *reader, s *scanner) error { return r.input("prompt", s) }},
	{"input", func(r *reader, s *scanner) error { return r.input("input", s) }},
	{"tools", (*reader).allText},
	{"functions", (*reader).allText},
}

// Bits of members that an operation cannot do without.
const (
	seenModel    = 1 << 0
	seenMessages = 1 << 1
	seenInput    = 1 << 11
)

// Read walks over a body once and returns what it says. The error is a *Fault.
func Read(body []byte, op llm.Operation) (Fields, error) {
	both := &struct { // one allocation for the two
		reader
		scanner
	}{scanner: scanner{b: body}}
	r, s := &both.reader, &both.scanner
	if s.space() != '{' {
		return Fields{}, bodyFault(s.notAnObject())
	}
	if err := s.object(r.top); err != nil {
		return Fields{}, bodyFault(err)
	}
	if err := s.end(); err != nil {
		return Fields{}, bodyFault(err)
	}
	if err := r.missing(op); err != nil {
		return Fields{}, err
	}
	r.f.Sample = sample(r.longest)
	r.f.Size.MaxOutput, r.f.Size.Choices = r.output*max(r.choices, 1), r.choices
	return r.f, nil
}

// sample is the middle of a text: what begins with instructions and ends with a
// question is mostly what stands between.
func sample(longest []byte) []byte {
	const enough = 1 << 10
	if len(longest) <= enough {
		return longest
	}
	from := (len(longest) - enough) / 2
	return longest[from : from+enough]
}

// notAnObject tells a value of another kind from what is no JSON at all.
func (s *scanner) notAnObject() error {
	if s.value() != nil || s.end() != nil {
		return errSyntax
	}
	return errors.New("the body is not a JSON object")
}

// bodyFault is the fault for a body that could not be read; faults of single
// members pass as they are.
func bodyFault(err error) error {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return invalid("", "We could not parse the JSON body of your request: "+err.Error()+".")
}

func (r *reader) missing(op llm.Operation) error {
	need, name := uint32(0), ""
	switch op {
	case llm.OpChat:
		need, name = seenMessages, "messages"
	case llm.OpEmbedding:
		need, name = seenInput, "input"
	case llm.OpCompletion:
	}
	switch {
	case r.seen&seenModel == 0 || r.f.Model == "":
		return invalid("model", "You must provide a model parameter.")
	case r.seen&need != need:
		return invalid(name, fmt.Sprintf("Missing required parameter: '%s'.", name))
	}
	return nil
}

// top reads one member of the body. A name that differs from a known one only
// in case is refused with it: some parsers would take it for the same member,
// and then see another value than the gateway.
func (r *reader) top(s *scanner, key text) error {
	name := key.raw
	if key.escaped {
		name = []byte(key.String())
	}
	for i := range members {
		m := &members[i]
		if len(m.name) != len(name) || !bytes.EqualFold(name, []byte(m.name)) {
			continue
		}
		if r.seen&(1<<i) != 0 || string(name) != m.name {
			return invalid(m.name, fmt.Sprintf("Duplicate or misspelled parameter: '%s' must be given once, in lower case.", m.name))
		}
		r.seen |= 1 << i
		s.space()
		return m.read(r, s)
	}
	return s.value()
}

func (r *reader) model(s *scanner) error {
	t, ok, err := s.optionalText("model")
	if err != nil || !ok {
		return err
	}
	if len(t.raw) > MaxName {
		return invalid("model", fmt.Sprintf("Invalid 'model': longer than %d bytes.", MaxName))
	}
	r.f.Model = t.String()
	return nil
}

func (r *reader) user(s *scanner) error {
	t, ok, err := s.optionalText("user")
	if ok && !r.safety {
		r.f.User = nameOf(t)
	}
	return err
}

func (r *reader) safetyIdentifier(s *scanner) error {
	t, ok, err := s.optionalText("safety_identifier")
	if ok && len(t.raw) > 0 {
		r.f.User, r.safety = nameOf(t), true
	}
	return err
}

// nameOf is Name of a text. One that is too long however it is escaped is not copied.
func nameOf(t text) string {
	const escape = len(`\u0000`)
	if len(t.raw) <= escape*MaxName && (t.escaped || len(t.raw) <= MaxName) {
		return Name(t.String())
	}
	return marked(Clean(string(t.raw[:MaxName])), sha256.Sum256(t.raw))
}

func (r *reader) streamOptions(s *scanner) error {
	if s.space() != '{' {
		return s.null("stream_options", "an object")
	}
	seen := false
	return s.object(func(s *scanner, key text) error {
		if !key.is("include_usage") {
			return s.value()
		}
		if seen {
			return invalid("stream_options.include_usage", "Duplicate parameter: 'stream_options.include_usage'.")
		}
		seen = true
		return s.flag("stream_options.include_usage", &r.f.WantUsage)
	})
}

// messages measures the conversation.
func (r *reader) messages(s *scanner) error {
	if s.space() != '[' {
		return s.wrong("messages", "an array of objects")
	}
	return s.array(func(s *scanner) error {
		r.f.Size.Messages++
		if s.space() != '{' {
			return s.wrong("messages", "an array of objects only")
		}
		return s.object(r.message)
	})
}

func (r *reader) message(s *scanner, key text) error {
	switch {
	case key.is("content"):
		return r.content(s)
	case key.is("tool_calls"), key.is("function_call"):
		return r.allText(s)
	}
	return s.value()
}

// content is a text or a list of parts.
func (r *reader) content(s *scanner) error {
	switch s.space() {
	case '"':
		return r.text(s)
	case '[':
		return s.array(func(s *scanner) error {
			if s.space() != '{' {
				return s.value()
			}
			return s.object(r.part)
		})
	}
	return s.value()
}

func (r *reader) part(s *scanner, key text) error {
	if s.space() != '"' {
		return s.value()
	}
	switch {
	case key.is("text"):
		return r.text(s)
	case key.is("type"):
		t, err := s.text()
		if err == nil && bytes.Contains(t.raw, []byte("image")) {
			r.f.Size.Images++
		}
		return err
	}
	return s.value()
}

// text counts the string that s stands on.
func (r *reader) text(s *scanner) error {
	t, err := s.text()
	if err != nil {
		return err
	}
	r.f.Size.TextBytes += t.size
	if len(t.raw) > len(r.longest) {
		r.longest = t.raw
	}
	return nil
}

// allText counts every string of a value, names included: definitions of tools
// reach the model as text.
func (r *reader) allText(s *scanner) error {
	switch s.space() {
	case '"':
		t, err := s.text()
		r.f.Size.TextBytes += t.size
		return err
	case '[':
		return s.array(r.allText)
	case '{':
		return s.object(func(s *scanner, key text) error {
			r.f.Size.TextBytes += key.size
			return r.allText(s)
		})
	}
	return s.value()
}

// input is what is completed or embedded: a text, tokens, or a list of either.
func (r *reader) input(name string, s *scanner) error {
	switch s.space() {
	case '"':
		r.f.Size.Messages++
		return r.text(s)
	case '[':
	case 'n':
		return s.literal("null")
	default:
		return s.wrong(name, "a string or an array")
	}
	tokens := false
	err := s.array(func(s *scanner) error {
		switch c := s.space(); {
		case c == '"':
			r.f.Size.Messages++
			return r.text(s)
		case c == '[':
			r.f.Size.Messages++
			return s.array(r.token)
		case c == '{':
			r.f.Size.Messages++
			return r.allText(s)
		}
		tokens = true
		return r.token(s)
	})
	if tokens {
		r.f.Size.Messages++
	}
	return err
}

// token is a part of the input that is already a token's number.
func (r *reader) token(s *scanner) error {
	r.f.Size.TextBytes += tokenText
	return s.value()
}

// optionalText reads a string; null is as good as absent.
func (s *scanner) optionalText(name string) (t text, ok bool, err error) {
	if s.space() != '"' {
		return text{}, false, s.null(name, "a string")
	}
	t, err = s.text()
	return t, err == nil, err
}

// null reads null, the only other thing that may stand where want is expected.
func (s *scanner) null(name, want string) error {
	if s.space() != 'n' {
		return s.wrong(name, want)
	}
	return s.literal("null")
}

// wrong is the fault of a member whose value is not what it should be.
func (s *scanner) wrong(name, want string) error {
	if s.i == len(s.b) {
		return errSyntax
	}
	return invalid(name, fmt.Sprintf("Invalid type for '%s': expected %s.", name, want))
}

// flag reads a boolean.
func (s *scanner) flag(name string, into *bool) error {
	switch s.space() {
	case 't':
		*into = true
		return s.literal("true")
	case 'f':
		*into = false
		return s.literal("false")
	}
	return s.null(name, "a boolean")
}

// count reads a whole number from 0 to limit and raises into to it. Fractions and
// exponents are refused: parsers disagree on them.
func (s *scanner) count(name string, limit int64, into *int64) error {
	c := s.space()
	if c != '-' && (c < '0' || c > '9') {
		return s.null(name, "an integer")
	}
	raw, err := s.number()
	if err != nil {
		return err
	}
	v := int64(0)
	for _, d := range raw {
		if d < '0' || d > '9' {
			return invalid(name, fmt.Sprintf("Invalid value for '%s': expected an integer from 0 to %d.", name, limit))
		}
		if v = v*10 + int64(d-'0'); v > limit {
			return invalid(name, fmt.Sprintf("Invalid value for '%s': larger than %d.", name, limit))
		}
	}
	*into = max(*into, v)
	return nil
}

// invalid is a fault of one member, or of the whole where param is empty.
func invalid(param, message string) *Fault { return &Fault{Param: param, Message: message} }
