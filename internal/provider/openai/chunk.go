package openai

import (
	"bytes"
	"strconv"

	"github.com/millrace/millrace/internal/llm"
)

// chunk is what one look over an answer, or over one event of it, tells.
type chunk struct {
	usage []byte // the top-level usage object as written; nil for none or null
	text  int64  // bytes of generated text as written, escapes included
	bare  bool   // choices is there and empty
	full  bool   // choices is there and not empty
	fault bool   // the top level says that the provider failed
}

// inspector walks over a chunk. Text counts from the third level down: there
// lie the members of a choice, and nothing that the model has not written.
type inspector struct {
	chunk
	depth int
	// Servers in transition send the same reasoning under two names.
	reasoning, thinking int64
}

// inspect looks over b once.
func inspect(b []byte) chunk {
	var s inspector
	for i := 0; i >= 0 && i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			s.depth++
		case '}', ']':
			s.depth--
		case '"':
			i = s.token(b, i)
			if i < 0 {
				return s.result()
			}
		}
	}
	return s.result()
}

func (s *inspector) result() chunk {
	s.text += max(s.reasoning, s.thinking)
	return s.chunk
}

// token takes the string that opens at i and, if it is a key that matters, the
// value after it. It returns the index of the last byte taken, or -1 at the end.
func (s *inspector) token(b []byte, i int) int {
	end := stringEnd(b, i+1)
	if end < 0 {
		return -1
	}
	v := skipSpace(b, end+1)
	if v >= len(b) || b[v] != ':' {
		return end
	}
	v = skipSpace(b, v+1)
	if v >= len(b) {
		return -1
	}
	if s.depth == 1 {
		return s.top(b, b[i+1:end], v)
	}
	if s.depth >= 3 && b[v] == '"' {
		return s.generated(b, b[i+1:end], v)
	}
	return v - 1
}

// top takes a member of the outermost object, whose value begins at v.
func (s *inspector) top(b, key []byte, v int) int {
	switch string(key) {
	case "usage":
		if end := valueEnd(b, v); b[v] == '{' && end > 0 {
			s.usage = b[v:end]
			return end - 1
		}
	case "choices":
		next := skipSpace(b, v+1)
		s.bare = b[v] == '[' && next < len(b) && b[next] == ']'
		s.full = b[v] == '[' && !s.bare
	case "error":
		s.fault = s.fault || b[v] == '{' || b[v] == '"' && !bytes.HasPrefix(b[v:], []byte(`""`))
	case "object":
		s.fault = s.fault || bytes.HasPrefix(b[v:], []byte(`"error"`))
	}
	return v - 1
}

// generated takes a string member of a choice; its opening quote is at v.
func (s *inspector) generated(b, key []byte, v int) int {
	end := stringEnd(b, v+1)
	if end < 0 {
		return -1
	}
	size := int64(end - v - 1)
	switch string(key) {
	case "content", "text", "arguments", "refusal", "input":
		s.text += size
	case "reasoning_content":
		s.reasoning += size
	case "reasoning":
		s.thinking += size
	}
	return end
}

// readUsage maps a usage object. Providers count cached tokens into the prompt
// and reasoning into the completion.
func readUsage(raw []byte) llm.Usage {
	var prompt, output, cached int64
	walk(raw, func(f field) {
		value := raw[f.from:f.to]
		switch string(f.key) {
		case "prompt_tokens":
			prompt = count(value)
		case "completion_tokens":
			output = count(value)
		case "prompt_tokens_details":
			walk(value, func(g field) {
				if string(g.key) == "cached_tokens" {
					cached = count(value[g.from:g.to])
				}
			})
		}
	})
	cached = min(cached, prompt)
	return llm.Usage{Input: prompt - cached, CacheRead: cached, Output: output}
}

// count is a number of tokens; what is none counts as 0. Some servers write
// fractions or exponents.
func count(value []byte) int64 {
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' || n > maxCount {
			return countFloat(value)
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

func countFloat(value []byte) int64 {
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || !(f > 0) {
		return 0
	}
	return int64(min(f, maxCount))
}

// maxCount bounds what is believed, so that sums cannot overflow.
const maxCount = 1 << 50

// tailWindow is how far from the end usage is expected in an answer whose bulk
// is numbers; 4 KiB holds it many times over.
const tailWindow = 4 << 10

// usageNearEnd finds the usage of an answer too bulky to look over whole, such
// as embeddings, where it usually stands last and sometimes first.
func usageNearEnd(b []byte) []byte {
	name := []byte(`"usage"`)
	tail := b[max(0, len(b)-tailWindow):]
	if i := bytes.LastIndex(tail, name); i >= 0 {
		if raw := objectAfter(tail, i+len(name)); raw != nil {
			return raw
		}
	}
	if i := bytes.Index(b, name); i >= 0 {
		return objectAfter(b, i+len(name))
	}
	return nil
}

// objectAfter returns the object that follows the key that ends at i, or nil.
func objectAfter(b []byte, i int) []byte {
	i = skipSpace(b, i)
	if i >= len(b) || b[i] != ':' {
		return nil
	}
	i = skipSpace(b, i+1)
	if i >= len(b) || b[i] != '{' {
		return nil
	}
	if end := nestEnd(b, i); end > 0 {
		return b[i:end]
	}
	return nil
}
