package sim

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a request, so that a body of brackets cannot
// exhaust the stack.
const maxDepth = 100

// scanner walks JSON in place. Strings are skipped with vector search, which
// is what makes a long prompt cost microseconds. It checks the structure, not
// the inside of numbers and escapes. After the first fault everything it
// returns is empty and bad is set.
type scanner struct {
	b     []byte
	i     int
	depth int
	bad   bool
}

func (s *scanner) fail() {
	s.bad, s.i = true, len(s.b)
}

// peek is the first byte of the next value, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return s.b[s.i]
		}
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// object calls field for each member; field must consume exactly one value.
func (s *scanner) object(field func(key []byte)) {
	s.list('{', '}', func() {
		key, _ := s.text()
		if !s.take(':') {
			s.fail()
			return
		}
		field(key)
	})
}

// array calls item for each element; item must consume exactly one value.
func (s *scanner) array(item func()) { s.list('[', ']', item) }

func (s *scanner) list(open, end byte, item func()) {
	s.depth++
	if !s.take(open) || s.depth > maxDepth {
		s.fail()
		return
	}
	if s.take(end) {
		s.depth--
		return
	}
	for !s.bad {
		item()
		if s.take(',') {
			continue
		}
		if !s.take(end) {
			s.fail()
		}
		break
	}
	s.depth--
}

// text consumes a string and returns what stands between its quotes.
func (s *scanner) text() (raw []byte, escaped bool) {
	if !s.take('"') {
		s.fail()
		return nil, false
	}
	start := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			s.fail()
			return nil, false
		}
		s.i += n + 1
		raw = s.b[start : s.i-1]
		if !endsEscaped(raw) {
			return raw, bytes.IndexByte(raw, '\\') >= 0
		}
	}
}

func endsEscaped(raw []byte) bool {
	n := len(raw)
	for n > 0 && raw[n-1] == '\\' {
		n--
	}
	return (len(raw)-n)%2 == 1
}

// value consumes any value and returns its bytes.
func (s *scanner) value() []byte {
	c := s.peek()
	start := s.i
	switch c {
	case '{':
		s.object(func([]byte) { s.value() })
	case '[':
		s.array(func() { s.value() })
	case '"':
		s.text()
	default:
		s.scalar()
	}
	if s.bad {
		return nil
	}
	return s.b[start:s.i]
}

func (s *scanner) scalar() {
	start := s.i
	for s.i < len(s.b) && bytes.IndexByte([]byte(",]} \t\r\n"), s.b[s.i]) < 0 {
		s.i++
	}
	switch word := s.b[start:s.i]; {
	case len(word) == 0:
		s.fail()
	case word[0] == '-' || word[0] >= '0' && word[0] <= '9':
		if _, err := strconv.ParseFloat(string(word), 64); err != nil {
			s.fail()
		}
	default:
		if w := string(word); w != "true" && w != "false" && w != "null" {
			s.fail()
		}
	}
}

// str consumes a value and returns its decoded text, "" if it is no string.
func (s *scanner) str() string {
	if s.peek() != '"' {
		s.value()
		return ""
	}
	return decode(s.text())
}

// integer consumes a value and returns it, 0 if it is no whole number.
func (s *scanner) integer() int64 {
	n, err := strconv.ParseInt(string(s.value()), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (s *scanner) truth() bool { return string(s.value()) == "true" }

func decode(raw []byte, escaped bool) string {
	if !escaped {
		return string(raw)
	}
	var out string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if json.Unmarshal(quoted, &out) != nil {
		return string(raw)
	}
	return out
}

// textSize measures a raw JSON string as it will be once decoded.
func textSize(raw []byte, escaped bool) (runes, size int64) {
	if !escaped {
		return int64(utf8.RuneCount(raw)), int64(len(raw))
	}
	for {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 || n+1 >= len(raw) {
			return runes + int64(utf8.RuneCount(raw)), size + int64(len(raw))
		}
		runes += int64(utf8.RuneCount(raw[:n])) + 1
		step, width := escapeSize(raw[n:])
		size += int64(n + width)
		raw = raw[n+step:]
	}
}

// escapeSize is the length of the escape at the start of raw, and that of the
// character it stands for. A surrogate pair is one escape.
func escapeSize(raw []byte) (step, width int) {
	if raw[1] != 'u' || len(raw) < 6 {
		return 2, 1
	}
	code, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	switch {
	case err != nil:
		return 2, 1
	case code >= 0xD800 && code < 0xDC00 && len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u':
		return 12, 4
	}
	return 6, max(1, utf8.RuneLen(rune(code)))
}

// field is one member of an object, in the order it was written.
type field struct {
	key string
	raw []byte
}

func fieldsOf(raw []byte) []field {
	var out []field
	s := scanner{b: raw}
	s.object(func(key []byte) {
		out = append(out, field{key: string(key), raw: s.value()})
	})
	if s.bad {
		return nil
	}
	return out
}

func itemsOf(raw []byte) [][]byte {
	var out [][]byte
	s := scanner{b: raw}
	s.array(func() { out = append(out, s.value()) })
	if s.bad {
		return nil
	}
	return out
}

// member is the value of one key, nil if it is not there.
func member(raw []byte, key string) []byte {
	for _, f := range fieldsOf(raw) {
		if f.key == key {
			return f.raw
		}
	}
	return nil
}

// unquote is the text of a JSON string, "" for anything else.
func unquote(raw []byte) string {
	s := scanner{b: raw}
	return s.str()
}
