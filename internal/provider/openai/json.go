package openai

import (
	"bytes"
	"encoding/json"
)

// This file walks over JSON without decoding it. The walk is lenient: bytes
// that are not JSON give fewer findings, never a panic and never a rejection,
// since the provider and the client judge the syntax, not what stands between.

// stringEnd returns the index of the quote that closes the string whose first
// character is at i, or -1.
func stringEnd(b []byte, i int) int {
	for i < len(b) {
		q := bytes.IndexByte(b[i:], '"')
		if q < 0 {
			return -1
		}
		q += i
		esc := q
		for esc > i && b[esc-1] == '\\' {
			esc--
		}
		if (q-esc)%2 == 0 {
			return q
		}
		i = q + 1
	}
	return -1
}

// skipSpace returns the index of the first byte at or after i that is not white
// space; it may be len(b).
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// valueEnd returns the index just after the value that begins at i, or -1.
func valueEnd(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		if q := stringEnd(b, i+1); q >= 0 {
			return q + 1
		}
		return -1
	case '{', '[':
		return nestEnd(b, i)
	}
	start := i
	for i < len(b) && bytes.IndexByte([]byte(",}] \n\t\r"), b[i]) < 0 {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// nestEnd returns the index just after the object or array that opens at i, or -1.
func nestEnd(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			if i = stringEnd(b, i+1); i < 0 {
				return -1
			}
		}
	}
	return -1
}

// field is one member of an object: its key as written and where its value lies.
type field struct {
	key      []byte
	from, to int
}

// named reports whether the key spells name, escapes undone: a client must not
// pass a second model by writing it as mod\u0065l.
func (f field) named(name string) bool {
	if bytes.IndexByte(f.key, '\\') < 0 {
		return string(f.key) == name
	}
	var key string
	quoted := append(append([]byte{'"'}, f.key...), '"')
	return json.Unmarshal(quoted, &key) == nil && key == name
}

// object is where an object's members begin, and whether it has any.
type object struct {
	open  int // just after the brace
	empty bool
}

// walk calls visit for each member of the object that fills b, and reports
// false if b is not one object from end to end.
func walk(b []byte, visit func(field)) (object, bool) {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return object{}, false
	}
	o := object{open: i + 1}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		o.empty = true
		return o, skipSpace(b, i+1) == len(b)
	}
	for {
		f, ok := fieldAt(b, i)
		if !ok {
			return o, false
		}
		visit(f)
		i = skipSpace(b, f.to)
		if i < len(b) && b[i] == '}' {
			return o, skipSpace(b, i+1) == len(b)
		}
		if i >= len(b) || b[i] != ',' {
			return o, false
		}
		i = skipSpace(b, i+1)
	}
}

// fieldAt reads the member whose key begins at i.
func fieldAt(b []byte, i int) (field, bool) {
	if i >= len(b) || b[i] != '"' {
		return field{}, false
	}
	end := stringEnd(b, i+1)
	if end < 0 {
		return field{}, false
	}
	colon := skipSpace(b, end+1)
	if colon >= len(b) || b[colon] != ':' {
		return field{}, false
	}
	from := skipSpace(b, colon+1)
	to := valueEnd(b, from)
	return field{key: b[i+1 : end], from: from, to: to}, to > 0
}
