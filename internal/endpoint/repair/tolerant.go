package repair

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// tolerant reads one JSON value as models write it: what is valid it reads as it
// stands; beyond that it takes comments, trailing and missing commas, single and
// typographic quotes, quotes that should have been escaped, keys without quotes,
// Python's literals, brackets that are not closed, and an end that is missing.
type tolerant struct {
	s     string
	i     int
	exact bool   // s is valid JSON
	words bool   // a member's value may be words without quotes
	open  []byte // brackets around
}

// The bounds of a key, of words that should have been quoted, of nesting, and of
// what is looked ahead.
const (
	maxKey   = 200
	maxBare  = 400
	maxDepth = 64
	maxAhead = 1 << 10
)

// value reads a value. If it fails at the end of s, the value is what is
// missing; anywhere else, what stands there is none.
func (p *tolerant) value() (Value, bool) {
	p.space()
	if p.i >= len(p.s) || len(p.open) > maxDepth {
		return Value{}, false
	}
	switch c := p.s[p.i]; {
	case c == '{':
		return p.object()
	case c == '[':
		return p.list()
	case quoteAt(p.s[p.i:]) > 0:
		t, whole := p.text(false)
		return Value{Kind: Text, Text: t, Cut: !whole}, true
	case c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9':
		return p.number()
	}
	return p.word()
}

// ended reports whether s is used up.
func (p *tolerant) ended() bool {
	p.space()
	return p.i >= len(p.s)
}

// space skips blanks and comments.
func (p *tolerant) space() {
	for p.i < len(p.s) {
		rest := p.s[p.i:]
		switch c := rest[0]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			p.i++
		case strings.HasPrefix(rest, "\u00a0"):
			p.i += len("\u00a0")
		case strings.HasPrefix(rest, "//"):
			p.skipPast("\n")
		case strings.HasPrefix(rest, "/*"):
			p.skipPast("*/")
		default:
			return
		}
	}
}

func (p *tolerant) skipPast(mark string) {
	n := strings.Index(p.s[p.i+2:], mark)
	if n < 0 {
		p.i = len(p.s)
		return
	}
	p.i += 2 + n + len(mark)
}

// outer is the bracket around the innermost one.
func (p *tolerant) outer() byte {
	if len(p.open) < 2 {
		return 0
	}
	return p.open[len(p.open)-2]
}

func (p *tolerant) enter(c byte) { p.open, p.i = append(p.open, c), p.i+1 }
func (p *tolerant) leave()       { p.open = p.open[:len(p.open)-1] }

func (p *tolerant) list() (Value, bool) {
	n := Value{Kind: List}
	p.enter('[')
	defer p.leave()
	for {
		if p.ended() {
			n.Cut = true
			return n, true
		}
		switch c := p.s[p.i]; {
		case c == ']':
			p.i++
			return n, true
		case c == '}' && p.outer() == '{': // the list was not closed
			return n, true
		case c == ',' || c == '}':
			p.i++
			continue
		case strings.HasPrefix(p.s[p.i:], "..."):
			p.i += 3
			continue
		}
		item, ok := p.value()
		if !ok {
			n.Cut = p.ended()
			return n, n.Cut
		}
		n.Items = append(n.Items, item) // one that is cut has taken all there is
	}
}

func (p *tolerant) object() (Value, bool) {
	n := Value{Kind: Object}
	p.enter('{')
	defer p.leave()
	for {
		if p.ended() {
			n.Cut = true
			return n, true
		}
		switch c := p.s[p.i]; {
		case c == '}':
			p.i++
			return n, true
		case c == ']' && p.outer() == '[': // the object was not closed
			return n, true
		case c == ',' || c == ']' || c == ';':
			p.i++
			continue
		}
		if ok := p.member(&n); !ok {
			n.Cut = p.ended()
			return n, n.Cut
		}
	}
}

// member reads a key and its value.
func (p *tolerant) member(n *Value) bool {
	key, ok := p.key()
	if !ok || p.ended() {
		return false
	}
	switch rest := p.s[p.i:]; {
	case strings.HasPrefix(rest, "=>"):
		p.i += 2
	case rest[0] == ':' || rest[0] == '=':
		p.i++
	default:
		return false
	}
	p.space()
	if p.i < len(p.s) && (p.s[p.i] == ',' || p.s[p.i] == '}') { // no value
		n.Keys, n.Items = append(n.Keys, key), append(n.Items, Value{})
		return true
	}
	v, ok := p.value()
	if !ok {
		return false
	}
	n.Keys, n.Items = append(n.Keys, key), append(n.Items, v)
	return true
}

func (p *tolerant) key() (string, bool) {
	if quoteAt(p.s[p.i:]) > 0 {
		from := p.i
		key, whole := p.text(true)
		return key, whole && (p.exact || p.i-from <= maxKey)
	}
	n := wordLength(p.s[p.i:])
	p.i += n
	return p.s[p.i-n : p.i], n > 0 && n <= maxKey
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// wordLength is the length of the name at the front of s.
func wordLength(s string) int {
	n := 0
	for n < len(s) && (isWord(s[n]) || s[n] == '$' || n > 0 && s[n] == '-') {
		n++
	}
	return n
}

// literals are words that stand for a value.
var literals = map[string]Value{
	"true": {Kind: Boolean, Text: "true"}, "True": {Kind: Boolean, Text: "true"}, "TRUE": {Kind: Boolean, Text: "true"},
	"false": {Kind: Boolean, Text: "false"}, "False": {Kind: Boolean, Text: "false"}, "FALSE": {Kind: Boolean, Text: "false"},
	"null": {}, "None": {}, "NULL": {}, "nil": {}, "undefined": {}, "NaN": {}, "Infinity": {},
}

// word reads a literal, or words that should have been quoted.
func (p *tolerant) word() (Value, bool) {
	n := wordLength(p.s[p.i:])
	v, ok := literals[p.s[p.i:p.i+n]]
	if ok && (p.exact || p.endsValue(p.i+n)) {
		p.i += n
		return v, true
	}
	return p.bare()
}

// ahead looks at what follows i, as far as it is worth looking.
func (p *tolerant) ahead(i int) tolerant {
	return tolerant{s: p.s[:min(len(p.s), i+maxAhead)], i: i}
}

// endsValue reports whether a value may end at i.
func (p *tolerant) endsValue(i int) bool {
	at := p.ahead(i)
	return at.ended() || strings.IndexByte(",]};", at.s[at.i]) >= 0 || at.i > i
}

// bare reads words without quotes, up to the end of the member. Only where the
// name of the member stands before them, words can be told from prose.
func (p *tolerant) bare() (Value, bool) {
	if !p.words || len(p.open) == 0 || p.open[len(p.open)-1] != '{' {
		return Value{}, false
	}
	rest := p.s[p.i:]
	n := strings.IndexAny(rest[:min(len(rest), maxBare)], ",}]{[\n")
	if n <= 0 {
		return Value{}, false
	}
	p.i += n
	return Value{Kind: Text, Text: strings.TrimSpace(rest[:n])}, true
}

// number reads a number and writes it as JSON has it.
func (p *tolerant) number() (Value, bool) {
	from := p.i
	for p.i < len(p.s) && strings.IndexByte("0123456789+-.eE_", p.s[p.i]) >= 0 {
		p.i++
	}
	raw := p.s[from:p.i]
	if json.Valid([]byte(raw)) && (p.exact || p.endsValue(p.i)) {
		// A number at the very end may have more digits to come.
		return Value{Kind: Number, Text: raw, Cut: !p.exact && p.i == len(p.s)}, true
	}
	mended := strings.TrimPrefix(strings.ReplaceAll(raw, "_", ""), "+")
	if f, err := strconv.ParseFloat(mended, 64); err == nil && p.endsValue(p.i) {
		return Value{Kind: Number, Text: strconv.FormatFloat(f, 'g', -1, 64), Cut: p.i == len(p.s)}, true
	}
	p.i = from
	return p.bare()
}

// quotes are what strings begin with, and how they end.
var quotes = map[rune]rune{'"': '"', '\'': '\'', '`': '`', '\u201c': '\u201d', '\u2018': '\u2019'}

// quoteAt is the length of the quote at the front of s, 0 if there is none.
func quoteAt(s string) int {
	if s == "" {
		return 0
	}
	r, size := utf8.DecodeRuneInString(s)
	if _, ok := quotes[r]; !ok {
		return 0
	}
	return size
}

// text reads the string that it stands on, and whether its end is there.
func (p *tolerant) text(key bool) (string, bool) {
	begin, size := utf8.DecodeRuneInString(p.s[p.i:])
	end := string(quotes[begin])
	p.i += size
	var b strings.Builder
	for p.i < len(p.s) {
		switch rest := p.s[p.i:]; {
		case rest[0] == '\\':
			if !p.escape(&b) {
				p.i = len(p.s)
				return b.String(), false
			}
		case strings.HasPrefix(rest, end) && (p.exact || p.closes(p.i+len(end), key)):
			p.i += len(end)
			return b.String(), true
		default:
			b.WriteByte(rest[0])
			p.i++
		}
	}
	return b.String(), false
}

// escapes are what a letter behind a backslash stands for.
var escapes = map[byte]string{
	'"': `"`, '\\': `\`, '/': `/`, '\'': `'`, '`': "`", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", '\n': "\n",
}

// escape reads what follows a backslash; false if its end is missing. A
// backslash that escapes nothing stands for itself.
func (p *tolerant) escape(b *strings.Builder) bool {
	if p.i+1 >= len(p.s) {
		return false
	}
	c := p.s[p.i+1]
	if c != 'u' {
		if e, ok := escapes[c]; ok {
			b.WriteString(e)
			p.i += 2
			return true
		}
		b.WriteByte('\\')
		p.i++
		return true
	}
	if len(p.s)-p.i < 6 {
		return false
	}
	r, ok := unicodeAt(p.s[p.i:])
	if !ok {
		b.WriteByte('\\')
		p.i++
		return true
	}
	p.i += 6
	if utf16.IsSurrogate(r) {
		low, ok := unicodeAt(p.s[p.i:])
		if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
			p.i += 6
		}
	}
	b.WriteRune(r)
	return true
}

// unicodeAt reads a \uXXXX at the front of s.
func unicodeAt(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(v), err == nil
}

// closes reports whether a quote that ends at i is the end of its string, rather
// than one that should have been escaped: what follows has to make sense.
func (p *tolerant) closes(i int, key bool) bool {
	at := p.ahead(i)
	if at.ended() {
		return true
	}
	c := at.s[at.i]
	newline := strings.IndexByte(at.s[i:at.i], '\n') >= 0
	switch {
	case key:
		return c == ':' || c == '='
	case c == '}' || c == ']' || c == ';' || at.i > i && p.s[at.i-1] == '/': // a comment stood between
		return true
	case len(p.open) == 0:
		return false
	case p.open[len(p.open)-1] == '{':
		if c == ',' {
			at.i++
			return at.ended() || at.s[at.i] == '}' || at.s[at.i] == ',' || at.leadsToColon()
		}
		return at.leadsToColon() && (newline || quoteAt(at.s[at.i:]) > 0)
	case c == ',':
		at.i++
		return at.ended() || at.beginsValue()
	}
	return newline && quoteAt(at.s[at.i:]) > 0
}

// beginsValue reports whether a value, or the end of a list, may begin here.
func (p *tolerant) beginsValue() bool {
	c := p.s[p.i]
	return quoteAt(p.s[p.i:]) > 0 || strings.IndexByte("{[]},-.", c) >= 0 || c >= '0' && c <= '9' || literals[p.s[p.i:p.i+wordLength(p.s[p.i:])]].Text != "" ||
		strings.HasPrefix(p.s[p.i:], "null") || strings.HasPrefix(p.s[p.i:], "None")
}

// leadsToColon reports whether a key and its colon stand here.
func (p *tolerant) leadsToColon() bool {
	size := quoteAt(p.s[p.i:])
	at := tolerant{s: p.s, i: p.i}
	if size == 0 {
		n := wordLength(p.s[p.i:])
		at.i += n
		return n > 0 && n <= maxKey && !at.ended() && at.s[at.i] == ':'
	}
	begin, _ := utf8.DecodeRuneInString(p.s[p.i:])
	rest := p.s[p.i+size:]
	rest = rest[:min(len(rest), maxKey)]
	end := string(quotes[begin])
	n := strings.Index(rest, end)
	if n < 0 {
		return len(rest) < maxKey // the end of s came first
	}
	if strings.IndexByte(rest[:n], '\n') >= 0 {
		return false
	}
	at.i += size + n + len(end)
	return at.ended() || at.s[at.i] == ':' || at.s[at.i] == '='
}
