package endpoint

import "strings"

// template is a prompt whose placeholders were found once, when the
// configuration was read.
type template []part

// part is literal text, or the place of a member's text.
type part struct {
	text   string
	member string // empty for literal text
}

// parseTemplate finds the placeholders of s: {name}, where the name is made of
// letters, digits and underscores and does not begin with a digit. {{name}}
// stands for the text {name}; all other braces are text, so that a prompt can
// hold examples of JSON.
func parseTemplate(s string) template {
	var t template
	from := 0
	for i := 0; i < len(s); {
		name, length := placeholder(s[i:])
		switch {
		case length == 0:
			i++
			continue
		case i > from && s[i-1] == '{' && i+length < len(s) && s[i+length] == '}':
			t = t.literal(s[from:i-1] + s[i:i+length])
			i += length + 1
		default:
			t = append(t.literal(s[from:i]), part{member: name})
			i += length
		}
		from = i
	}
	return t.literal(s[from:])
}

func (t template) literal(s string) template {
	if s == "" {
		return t
	}
	return append(t, part{text: s})
}

// placeholder returns the name at the front of s and the length of the whole, or
// 0 if none is there.
func placeholder(s string) (name string, length int) {
	if len(s) < 3 || s[0] != '{' || !isWord(s[1]) || s[1] >= '0' && s[1] <= '9' {
		return "", 0
	}
	for i := 2; i < len(s); i++ {
		switch {
		case s[i] == '}':
			return s[1:i], i + 1
		case !isWord(s[i]):
			return "", 0
		}
	}
	return "", 0
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// members are the names of all placeholders.
func (t template) members() []string {
	var names []string
	for _, p := range t {
		if p.member != "" {
			names = append(names, p.member)
		}
	}
	return names
}

// size is the length of what render returns.
func (t template) size(values map[string]string) int64 {
	n := int64(0)
	for _, p := range t {
		n += int64(len(p.text) + len(values[p.member]))
	}
	return n
}

// render puts the values in. A member without a value leaves nothing.
func (t template) render(values map[string]string) string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
		if p.member != "" {
			b.WriteString(values[p.member])
		}
	}
	return b.String()
}
