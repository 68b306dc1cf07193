package sim

import (
	"bytes"
	"errors"
	"math/bits"
)

type operation uint8

const (
	opChat operation = iota
	opCompletion
	opEmbedding
)

// request is what the simulator needs of a body. Its raw fields point into
// the body.
type request struct {
	op           operation
	model        string
	stream       bool
	includeUsage bool
	maxTokens    int64 // 0 when not set
	choices      int64
	messages     int64
	chars, size  int64 // of the decoded prompt text: runes and bytes
	images       int64
	hash         uint64 // of the prompt text
	lastRole     string
	echo         string
	feedback     bool
	json         bool
	format       []byte // response_format
	tools        []byte
	toolChoice   []byte
	base64       bool
	dimensions   int64
	inputs       []input // embeddings only
}

// input is one text to embed, or one list of token numbers.
type input struct {
	hash   uint64
	tokens int64
}

var (
	errJSON     = errors.New("We could not parse the JSON body of your request.") //nolint:staticcheck // the provider ends its sentence so
	errModel    = errors.New("you must provide a model parameter")
	errMessages = errors.New("Missing required parameter: 'messages'.") //nolint:staticcheck // the provider ends its sentence so
	errPrompt   = errors.New("Missing required parameter: 'prompt'.")   //nolint:staticcheck // the provider ends its sentence so
	errInput    = errors.New("Missing required parameter: 'input'.")    //nolint:staticcheck // the provider ends its sentence so
)

const (
	maxChoices    = 8
	maxDimensions = 4096
	maxInputs     = 2048
)

// parse reads a body. Unknown fields are skipped, as providers do. model is
// the one the path names, if any.
func parse(op operation, body []byte, model string) (*request, error) {
	r := &request{op: op, choices: 1, model: model}
	s := scanner{b: body}
	s.object(func(key []byte) { r.field(&s, string(key)) })
	if s.bad || s.peek() != 0 {
		return nil, errJSON
	}
	if model != "" {
		r.model = model
	}
	switch {
	case r.model == "":
		return nil, errModel
	case op == opChat && r.messages == 0:
		return nil, errMessages
	case op == opCompletion && r.messages == 0:
		return nil, errPrompt
	case op == opEmbedding && (len(r.inputs) == 0 || len(r.inputs) > maxInputs):
		return nil, errInput
	}
	r.choices = min(max(r.choices, 1), maxChoices)
	return r, nil
}

func (r *request) field(s *scanner, key string) {
	switch key {
	case "model":
		r.model = s.str()
	case "stream":
		r.stream = s.truth()
	case "n":
		r.choices = s.integer()
	case "max_completion_tokens":
		r.maxTokens = s.integer()
	case "max_tokens":
		if n := s.integer(); r.maxTokens == 0 {
			r.maxTokens = n
		}
	case "stream_options":
		r.includeUsage = string(member(s.value(), "include_usage")) == "true"
	case "response_format":
		r.format = s.value()
	case "tools":
		r.tools = s.value()
	case "tool_choice":
		r.toolChoice = s.value()
	case "encoding_format":
		r.base64 = s.str() == "base64"
	case "dimensions":
		r.dimensions = min(max(s.integer(), 0), maxDimensions)
	default:
		r.promptField(s, key)
	}
}

func (r *request) promptField(s *scanner, key string) {
	switch {
	case key == "messages" && r.op == opChat && s.peek() == '[':
		s.array(func() { r.message(s) })
	case key == "prompt" && r.op == opCompletion:
		r.texts(s, func(input) { r.messages = 1 })
	case key == "input" && r.op == opEmbedding:
		r.texts(s, func(in input) { r.inputs = append(r.inputs, in) })
	default:
		s.value()
	}
}

func (r *request) message(s *scanner) {
	r.messages++
	s.object(func(key []byte) {
		switch string(key) {
		case "role":
			r.lastRole = s.str()
		case "content":
			r.content(s)
		default:
			s.value()
		}
	})
}

// content is a string, null, or a list of parts.
func (r *request) content(s *scanner) {
	switch s.peek() {
	case '"':
		r.addText(s.text())
	case '[':
		s.array(func() { r.part(s) })
	default:
		s.value()
	}
}

func (r *request) part(s *scanner) {
	if s.peek() != '{' {
		s.value()
		return
	}
	s.object(func(key []byte) {
		switch {
		case string(key) == "text" && s.peek() == '"':
			r.addText(s.text())
		case string(key) == "image_url":
			r.images++
			s.value()
		default:
			s.value()
		}
	})
}

// texts reads a string, a list of strings, a list of token numbers or a list
// of such lists, and calls each for every text.
func (r *request) texts(s *scanner, each func(input)) {
	if s.peek() != '[' {
		r.text(s, each)
		return
	}
	var numbers input
	s.array(func() {
		switch s.peek() {
		case '"', '[':
			r.text(s, each)
		default:
			numbers.tokens++
			numbers.hash = mix(numbers.hash, uint64(s.integer()))
		}
	})
	if numbers.tokens > 0 {
		r.addNumbers(numbers, each)
	}
}

func (r *request) text(s *scanner, each func(input)) {
	switch s.peek() {
	case '"':
		raw, escaped := s.text()
		r.addText(raw, escaped)
		_, size := textSize(raw, escaped)
		hash := hashText(raw)
		each(input{hash: hash, tokens: promptTokens(size, hash)})
	case '[':
		var numbers input
		s.array(func() {
			numbers.tokens++
			numbers.hash = mix(numbers.hash, uint64(s.integer()))
		})
		r.addNumbers(numbers, each)
	default:
		s.value()
	}
}

// addNumbers counts a prompt given as token numbers: four characters each.
func (r *request) addNumbers(in input, each func(input)) {
	r.chars += 4 * in.tokens
	r.size += 4 * in.tokens
	r.hash = mix(r.hash, in.hash)
	each(in)
}

func (r *request) addText(raw []byte, escaped bool) {
	runes, size := textSize(raw, escaped)
	r.chars += runes
	r.size += size
	r.hash = mix(r.hash, hashText(raw))
	if _, after, ok := bytes.Cut(raw, []byte("ECHO:")); ok {
		r.echo = echoWord(after)
	}
	r.feedback = r.feedback || bytes.Contains(raw, []byte("feedback"))
	r.json = r.json || bytes.Contains(raw, []byte("JSON"))
}

// echoWord ends at a blank, a quote or an escape.
func echoWord(raw []byte) string {
	if i := bytes.IndexAny(raw, " \t\\\""); i >= 0 {
		raw = raw[:i]
	}
	return string(raw)
}

// bytesPerToken is the mean of English prose in current vocabularies.
const bytesPerToken = 4.1

// promptTokens is what the simulated tokenizer makes of a text: 4.1 bytes a
// token, up to 10 % off either way by the text itself.
func promptTokens(size int64, hash uint64) int64 {
	if size == 0 {
		return 0
	}
	off := 0.9 + 0.2*float64(hash>>40)/float64(1<<24)
	return max(1, int64(float64(size)/(bytesPerToken*off)+0.5))
}

const (
	tokensPerMessage = 4
	tokensPerImage   = 85
)

// promptTokens is the whole prompt's true size, as usage reports it.
func (r *request) promptTokens() int64 {
	switch r.op {
	case opEmbedding:
		total := int64(0)
		for _, in := range r.inputs {
			total += in.tokens
		}
		return total
	case opCompletion:
		return promptTokens(r.size, r.hash)
	case opChat:
	}
	return promptTokens(r.size, r.hash) + tokensPerMessage*r.messages + tokensPerImage*r.images
}

// hashText mixes eight bytes a step: prompts are long and the hash must not be
// what the simulator spends its time on.
func hashText(b []byte) uint64 {
	h := uint64(len(b)) + 0x9E3779B97F4A7C15
	for len(b) >= 8 {
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		h = mix(h, w)
		b = b[8:]
	}
	for _, c := range b {
		h = mix(h, uint64(c))
	}
	return mix(h, h>>32)
}

func mix(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w^0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
	return hi ^ lo ^ bits.RotateLeft64(h, 23)
}
