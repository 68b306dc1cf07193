package field

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
)

// maxDepth bounds the nesting of a body. Real requests stay below 30; the stack
// of a scan is proportional to it.
const maxDepth = 200

var (
	errSyntax = errors.New("the body is not valid JSON")
	errDepth  = errors.New("the body is nested too deeply")
)

// scanner walks over one JSON text, once, and checks all of it: what it accepts
// is what every strict parser behind it accepts too. It allocates nothing and
// decodes nothing it is not asked for.
type scanner struct {
	b     []byte
	i     int
	depth int
}

// text is a JSON string within the scanned bytes.
type text struct {
	raw     []byte // between the quotes
	size    int64  // bytes once unescaped
	escaped bool
}

// String is the unescaped text.
func (t text) String() string {
	if !t.escaped {
		return string(t.raw)
	}
	var s string
	if json.Unmarshal([]byte(`"`+string(t.raw)+`"`), &s) != nil {
		return string(t.raw) // cannot be: the scanner has checked it
	}
	return s
}

// is reports whether the unescaped text is s.
func (t text) is(s string) bool {
	if t.escaped {
		return t.String() == s
	}
	return string(t.raw) == s
}

// space skips white space and returns the byte it stands on; 0 at the end.
func (s *scanner) space() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// end checks that nothing follows.
func (s *scanner) end() error {
	if s.space(); s.i != len(s.b) {
		return errSyntax
	}
	return nil
}

// value walks over one value of any kind.
func (s *scanner) value() error {
	switch c := s.space(); c {
	case '{':
		return s.object((*scanner).skipMember)
	case '[':
		return s.array((*scanner).value)
	case '"':
		_, err := s.text()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		_, err := s.number()
		return err
	}
}

func (s *scanner) skipMember(text) error { return s.value() }

// object calls member for each key; member must walk over the value.
func (s *scanner) object(member func(*scanner, text) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.space() == '}' {
		return s.leave()
	}
	for {
		if s.space() != '"' {
			return errSyntax
		}
		key, err := s.text()
		if err != nil {
			return err
		}
		if s.space() != ':' {
			return errSyntax
		}
		s.i++
		if err := member(s, key); err != nil {
			return err
		}
		if more, err := s.next('}'); !more {
			return err
		}
	}
}

// array calls element for each element; it must walk over it.
func (s *scanner) array(element func(*scanner) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.space() == ']' {
		return s.leave()
	}
	for {
		if err := element(s); err != nil {
			return err
		}
		if more, err := s.next(']'); !more {
			return err
		}
	}
}

func (s *scanner) enter() error {
	s.i++
	if s.depth++; s.depth > maxDepth {
		return errDepth
	}
	return nil
}

func (s *scanner) leave() error {
	s.i++
	s.depth--
	return nil
}

// next walks over a comma, or over the closing byte.
func (s *scanner) next(closing byte) (more bool, err error) {
	switch s.space() {
	case ',':
		s.i++
		return true, nil
	case closing:
		return false, s.leave()
	}
	return false, errSyntax
}

func (s *scanner) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return errSyntax
	}
	s.i += len(word)
	return nil
}

// number walks over a number and returns its bytes.
func (s *scanner) number() ([]byte, error) {
	from := s.i
	s.accept('-')
	switch {
	case s.accept('0'):
	case !s.digits():
		return nil, errSyntax
	}
	if s.accept('.') && !s.digits() {
		return nil, errSyntax
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		if !s.digits() {
			return nil, errSyntax
		}
	}
	return s.b[from:s.i], nil
}

func (s *scanner) accept(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > from
}

// text walks over the string it stands on. Long runs of plain characters, which
// prompts are made of, go by many at a time.
func (s *scanner) text() (text, error) {
	from := s.i + 1
	b, i, saved := s.b, from, 0
	for {
		i = plain(b, i)
		if i >= len(b) || b[i] < ' ' {
			return text{}, errSyntax
		}
		if b[i] == '"' {
			s.i = i + 1
			return text{raw: b[from:i], size: int64(i - from - saved), escaped: saved > 0}, nil
		}
		n, less, ok := escape(b[i:])
		if !ok {
			return text{}, errSyntax
		}
		i, saved = i+n, saved+less
	}
}

// plain returns the index of the first byte at or after i that ends a run of
// plain characters: a quote, a backslash or a control character.
func plain(b []byte, i int) int {
	for len(b)-i >= 32 {
		w := b[i : i+32 : i+32]
		if special(binary.LittleEndian.Uint64(w))|special(binary.LittleEndian.Uint64(w[8:]))|
			special(binary.LittleEndian.Uint64(w[16:]))|special(binary.LittleEndian.Uint64(w[24:])) != 0 {
			break
		}
		i += 32
	}
	for len(b)-i >= 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		i += 8
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// special marks, in the top bit of each byte of w, the first byte that is a
// quote, a backslash or below 0x20. Marks above the first may be wrong.
func special(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^(ones*'"'), w^(ones*'\\')
	return ((w-ones*' ')&^w | (quote-ones)&^quote | (slash-ones)&^slash) & tops
}

// escape measures the escape sequence at the front of b: its length, and by how
// many bytes it is longer than what it stands for in UTF-8.
func escape(b []byte) (length, saved int, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, 1, true
	case 'u':
	default:
		return 0, 0, false
	}
	if len(b) < 6 {
		return 0, 0, false
	}
	code := 0
	for _, c := range b[2:6] {
		d := unhex(c)
		if d < 0 {
			return 0, 0, false
		}
		code = code<<4 | d
	}
	switch {
	case code < 0x80:
		return 6, 5, true
	case code < 0x800, code >= 0xd800 && code < 0xe000: // each half of a pair stands for two of its four bytes
		return 6, 4, true
	}
	return 6, 3, true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
