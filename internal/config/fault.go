package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Layer is one of the four sources of values, in rising precedence.
type Layer uint8

// The layers. LayerDefault is the zero value.
const (
	LayerDefault Layer = iota
	LayerFile
	LayerEnvironment
	LayerFlag
)

var layerNames = [...]string{"default", "file", "environment", "flag"}

// String returns the layer's name.
func (l Layer) String() string {
	if int(l) < len(layerNames) {
		return layerNames[l]
	}
	return "unknown"
}

// Origin is where a value came from.
type Origin struct {
	Layer  Layer
	Name   string // file, variable or flag; empty for defaults
	Line   int    // in the file, from 1; 0 elsewhere
	Column int    // in the file, from 1; 0 elsewhere
}

// String returns the place as people look for it: file:line:column, the
// variable or the flag.
func (o Origin) String() string {
	switch {
	case o.Layer == LayerDefault:
		return "default"
	case o.Layer == LayerFile && o.Line > 0:
		return o.Name + ":" + strconv.Itoa(o.Line) + ":" + strconv.Itoa(o.Column)
	default:
		return o.Name
	}
}

// Fault is one thing wrong with the configuration.
type Fault struct {
	Origin  Origin
	Key     string // path of the value, such as limits.hold; empty for the file as a whole
	What    string
	Mend    string // how to put it right
	Excerpt string // the line of the file with a caret under the place; empty elsewhere
}

// Error returns place, key, what is wrong and how to mend it, and the excerpt.
func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.Origin.String())
	if f.Key != "" && f.Key != f.Origin.Name {
		b.WriteString(": " + redact(f.Key))
	}
	b.WriteString(": " + f.What)
	if f.Mend != "" {
		b.WriteString("; " + f.Mend)
	}
	if f.Excerpt != "" {
		b.WriteString("\n" + f.Excerpt)
	}
	return b.String()
}

var (
	secretEntry = regexp.MustCompile(`(?i)([\w-]*(?:key|secret|token|password|credential|sha256)["']?\s*[:=]\s*)(?:\$\{[^}\n]*\}?|"[^"]*"?|'[^']*'?|[^,}\n]*[^,}\s])`)
	secretLook  = regexp.MustCompile(`\b(?:sk|pk|key|xox[a-z]|gh[a-z])[-_][A-Za-z0-9_\-]{6,}|\bAKIA[A-Z0-9]{12,}|(?i:bearer\s+)\S+`)
	longWord    = regexp.MustCompile(`[A-Za-z0-9_+=~-]{20,}`)
	hexadecimal = regexp.MustCompile(`^[0-9a-f]{32,}$`)
)

// redact hides what is, or looks like, a credential: after a name that says so, with
// a known beginning, or a long word in which capitals, small letters and digits mix.
func redact(text string) string {
	text = secretEntry.ReplaceAllString(text, "${1}"+masked)
	text = secretLook.ReplaceAllString(text, masked)
	return longWord.ReplaceAllStringFunc(text, func(word string) string {
		if hexadecimal.MatchString(word) || strings.ToLower(word) != word && strings.ToUpper(word) != word && strings.ContainsAny(word, "0123456789") {
			return masked
		}
		return word
	})
}

// maxExcerpt bounds what a fault shows of a line on each side of the place.
const maxExcerpt = 60

// excerpt shows one line of the source, redacted, with a caret under the
// column.
func excerpt(lines []string, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	source := []rune(lines[line-1])
	head := source[:min(max(column-1, 0), len(source))]
	shown := []rune(redact(string(source)))
	at := min(len([]rune(redact(string(head)))), len(shown))
	from, to := max(at-maxExcerpt, 0), min(at+maxExcerpt, len(shown))
	gutter := fmt.Sprintf("  %4d | ", line)
	under := strings.Repeat(" ", len(gutter)-2) + "| "
	return gutter + string(shown[from:to]) + "\n" + under + blank(shown[from:at]) + "^"
}

// blank is as wide as runes, keeping tabs so that the caret lines up.
func blank(runes []rune) string {
	out := make([]rune, len(runes))
	for i, r := range runes {
		out[i] = ' '
		if r == '\t' {
			out[i] = '\t'
		}
	}
	return string(out)
}
