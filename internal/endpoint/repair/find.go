package repair

import (
	"encoding/json"
	"strings"
)

// Found is a value in the midst of a text.
type Found struct {
	Value Value
	Size  int  // bytes of the text that it takes
	Alone bool // nothing stands beside it, in the text or in its code fence
}

// The bounds of a search: how often a text is read over, as bytes per byte of it;
// how many values are kept; and how far a value has to go before it is worth
// another look.
const (
	effort     = 16
	maxFound   = 2000
	worthwhile = 256
)

// Find returns the JSON values in a model's text, in order. Beside others only
// objects and lists are looked for. words says that a member's value may be words
// without quotes.
func Find(s string, words bool) []Found {
	s = WithoutThoughts(strings.TrimPrefix(s, "\ufeff"))
	if f, ok := alone(s, words); ok {
		return []Found{f}
	}
	var all []Found
	whole := false
	for _, block := range fenced(s) {
		if f, ok := alone(block, words); ok {
			all, whole = append(all, f), whole || !f.Value.Cut
		}
	}
	if whole {
		return all
	}
	// A fence without an end, or one within a text of the value: the value itself
	// knows better where it ends.
	if some := scan(s, words); len(some) > 0 {
		return some
	}
	if len(all) == 0 && strings.Contains(s, `\"`) { // escaped as if it were inside of a string
		return scan(strings.NewReplacer(`\"`, `"`, `\n`, "\n").Replace(s), words)
	}
	return all
}

// alone reads a text that is one value and nothing else.
func alone(s string, words bool) (Found, bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Found{}, false
	}
	p := tolerant{s: s, exact: json.Valid([]byte(s)), words: words}
	if !p.exact && s[0] != '{' && s[0] != '[' {
		return Found{}, false
	}
	v, ok := p.value()
	if !ok || !p.ended() {
		return Found{}, false
	}
	return Found{Value: v, Size: len(s), Alone: true}, true
}

// scan reads a value wherever a bracket opens one.
func scan(s string, words bool) []Found {
	var all []Found
	budget := effort * len(s)
	for i := 0; i < len(s) && budget > 0 && len(all) < maxFound; {
		next := strings.IndexAny(s[i:], "{[")
		if next < 0 {
			break
		}
		i += next
		v, size, cost := at(s[i:], words)
		budget -= cost + 1
		if size == 0 {
			i++
			continue
		}
		all = append(all, Found{Value: v, Size: size})
		i += size
	}
	return all
}

// at reads the value that begins s, as it stands if it is valid. size is what it
// takes, 0 if there is none; cost is how much was read to find out.
func at(s string, words bool) (v Value, size, cost int) {
	p := tolerant{s: s, words: words}
	v, ok := p.value()
	cost = 2 * p.i
	if ok {
		size = p.i
	} else if p.i < worthwhile {
		return v, 0, cost
	}
	raw := []byte(s[:p.i])
	if !ok || !json.Valid(raw) { // valid all the same, if what looked mended was misread
		rest := strings.NewReader(s)
		var whole json.RawMessage
		err := json.NewDecoder(rest).Decode(&whole)
		if cost += len(s) - rest.Len(); err != nil {
			return v, size, cost
		}
		raw = whole
	}
	exact := tolerant{s: string(raw), exact: true}
	if valid, fits := exact.value(); fits {
		return valid, len(raw), cost
	}
	return v, size, cost
}

// fenced are the insides of the code fences of a text. The last may lack its end.
func fenced(s string) []string {
	var blocks []string
	for {
		_, rest, ok := strings.Cut(s, "```")
		if !ok {
			return blocks
		}
		if line, body, ok := strings.Cut(rest, "\n"); ok && len(strings.TrimSpace(line)) <= 16 && !strings.ContainsAny(line, "{[`") {
			rest = body // the line names the language
		} else {
			rest = strings.TrimPrefix(strings.TrimPrefix(rest, "json"), "JSON")
		}
		block, after, _ := strings.Cut(rest, "```")
		blocks, s = append(blocks, block), after
	}
}

// WithoutThoughts cuts off the reasoning that some models put before the answer.
func WithoutThoughts(s string) string {
	for _, name := range [...]string{"think", "thinking", "reasoning"} {
		before, rest, ok := strings.Cut(s, "<"+name+">")
		if !ok || strings.TrimSpace(before) != "" {
			continue
		}
		if _, after, ok := strings.Cut(rest, "</"+name+">"); ok {
			return after
		}
	}
	return s
}
