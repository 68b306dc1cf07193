package repair

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Kind is what a Value is.
type Kind uint8

// The kinds. Null is the zero value.
const (
	Null Kind = iota
	Boolean
	Number
	Text
	List
	Object
)

// Value is one JSON value as it was found. The zero value is null.
type Value struct {
	Kind  Kind
	Text  string   // of a Text its characters, of a Number or Boolean the literal
	Keys  []string // of an Object: the names of Items, as they came
	Items []Value  // of a List or an Object
	Cut   bool     // its end is missing, and maybe that of its last item
}

// Append writes the value as JSON. Of members that are there twice the last
// counts.
func (v *Value) Append(b []byte) []byte {
	switch v.Kind {
	case Text:
		return appendText(b, v.Text)
	case Boolean, Number:
		return append(b, v.Text...)
	case List:
		b = append(b, '[')
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.Items[i].Append(b)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		first := true
		for i := range v.Members() {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = v.Items[i].Append(append(appendText(b, v.Keys[i]), ':'))
		}
		return append(b, '}')
	case Null:
	}
	return append(b, "null"...)
}

// Members are the indices of an Object's members, in order; of one that is there
// twice the last.
func (v *Value) Members() func(yield func(int) bool) {
	last := make(map[string]int, len(v.Keys))
	for i, key := range v.Keys {
		last[key] = i
	}
	return func(yield func(int) bool) {
		for i, key := range v.Keys {
			if last[key] == i && !yield(i) {
				return
			}
		}
	}
}

func appendText(b []byte, s string) []byte {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil { // strings always encode
		return append(b, `""`...)
	}
	return append(b, bytes.TrimSuffix(text.Bytes(), []byte("\n"))...)
}

// Whole are the items of a List whose end is there.
func (v *Value) Whole() []Value {
	if n := len(v.Items); v.Cut && n > 0 && v.Items[n-1].Cut {
		return v.Items[:n-1]
	}
	return v.Items
}

// Get returns a member by its name in lower case with underscores, however it is
// spelled: riskLevel and Risk-Level are risk_level. Of several the last counts;
// nil if there is none.
func (v *Value) Get(name string) *Value {
	for i := len(v.Keys) - 1; i >= 0; i-- {
		if Spelled(v.Keys[i]) == name {
			return &v.Items[i]
		}
	}
	return nil
}

// Spelled is a member's name in lower case with underscores.
func Spelled(key string) string {
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'A' && c <= 'Z':
			if i > 0 && key[i-1] >= 'a' && key[i-1] <= 'z' {
				b.WriteByte('_')
			}
			b.WriteByte(c | 0x20)
		case c == '-' || c == ' ':
			b.WriteByte('_')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Words is the value as a text that loses nothing: numbers and booleans as they
// stand, lists of texts line by line, all else as JSON; null is empty.
func (v *Value) Words() string {
	switch v.Kind {
	case Null:
		return ""
	case Text, Number, Boolean:
		return strings.TrimSpace(v.Text)
	case List:
		if !slices.ContainsFunc(v.Items, func(i Value) bool { return i.Kind != Text }) {
			lines := make([]string, len(v.Items))
			for i := range v.Items {
				lines[i] = v.Items[i].Words()
			}
			return strings.Join(lines, "\n")
		}
	case Object:
	}
	return string(v.Append(nil))
}
