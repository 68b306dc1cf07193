package sim

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a generated value: below maxSchemaDepth only what is required is
// made; once maxSchemaWork bytes of schema have been read nothing is.
const (
	maxSchemaDepth = 5
	maxSchemaWork  = 16 << 20
	schemaStep     = 4 << 10 // what the least schema counts as
)

// generator makes one random value that a JSON schema accepts. pattern, not,
// if and dependent keywords are ignored.
type generator struct {
	rng  *rand.Rand
	root []byte
	work int
	out  []byte
}

func fromSchema(schema []byte, rng *rand.Rand) []byte {
	g := &generator{rng: rng, root: schema}
	g.value(schema, 0)
	return g.out
}

// schemaView is a schema's keywords, references followed and allOf merged.
type schemaView map[string][]byte

func (g *generator) view(schema []byte, depth int) schemaView {
	v := schemaView{}
	g.work += schemaStep + len(schema)
	if depth > 32 || g.work > maxSchemaWork {
		return v
	}
	for _, f := range fieldsOf(schema) {
		v[f.key] = f.raw
	}
	ref, all := unquote(v["$ref"]), itemsOf(v["allOf"])
	delete(v, "$ref")
	delete(v, "allOf")
	if ref != "" {
		v.merge(g.view(g.resolve(ref), depth+1))
	}
	for _, sub := range all {
		v.merge(g.view(sub, depth+1))
	}
	return v
}

// merge adds what o says; properties and required are united.
func (v schemaView) merge(o schemaView) {
	for key, raw := range o {
		have := v[key]
		switch {
		case have == nil:
			v[key] = raw
		case key == "properties" || key == "required":
			v[key] = joinRaw(have, raw)
		}
	}
}

// joinRaw puts two objects or two arrays into one.
func joinRaw(a, b []byte) []byte {
	inner := func(raw []byte) []byte { return bytes.TrimSpace(raw[1 : len(raw)-1]) }
	x, y := inner(a), inner(b)
	out := append([]byte{a[0]}, x...)
	if len(x) > 0 && len(y) > 0 {
		out = append(out, ',')
	}
	return append(append(out, y...), a[len(a)-1])
}

func (g *generator) resolve(ref string) []byte {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	g.work += len(g.root)
	at := g.root
	for step := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if step != "" {
			at = member(at, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
		}
	}
	return at
}

func (g *generator) value(schema []byte, depth int) {
	if g.work > maxSchemaWork || depth > 64 {
		g.out = append(g.out, "null"...)
		return
	}
	v := g.view(schema, 0)
	if c := v["const"]; c != nil {
		g.out = append(g.out, c...)
		return
	}
	if choices := itemsOf(v["enum"]); len(choices) > 0 {
		g.out = append(g.out, choices[g.rng.IntN(len(choices))]...)
		return
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		if choices := itemsOf(v[key]); len(choices) > 0 {
			g.value(g.choose(choices, depth), depth+1)
			return
		}
	}
	g.typed(v, depth)
}

// choose takes any alternative, but the plainest one deep down so that
// recursive schemas end.
func (g *generator) choose(choices [][]byte, depth int) []byte {
	if depth < maxSchemaDepth {
		return choices[g.rng.IntN(len(choices))]
	}
	return slices.MinFunc(choices, func(a, b []byte) int { return g.weight(a) - g.weight(b) })
}

func (g *generator) weight(schema []byte) int {
	v := g.view(schema, 0)
	switch typeOf(v) {
	case "object":
		return 2 + len(itemsOf(v["required"]))
	case "array":
		return 1
	}
	return 0
}

// typeOf is the type to make; of several, the first that is not null.
func typeOf(v schemaView) string {
	t := v["type"]
	if len(t) > 0 && t[0] == '[' {
		for _, item := range itemsOf(t) {
			if name := unquote(item); name != "null" {
				return name
			}
		}
		return "null"
	}
	switch {
	case t != nil:
		return unquote(t)
	case v["properties"] != nil:
		return "object"
	case v["items"] != nil || v["prefixItems"] != nil:
		return "array"
	}
	return "string"
}

func (g *generator) typed(v schemaView, depth int) {
	switch typeOf(v) {
	case "object":
		g.object(v, depth)
	case "array":
		g.array(v, depth)
	case "integer":
		g.integer(v)
	case "number":
		g.number(v)
	case "boolean":
		g.out = strconv.AppendBool(g.out, g.rng.IntN(2) == 0)
	case "null":
		g.out = append(g.out, "null"...)
	default:
		g.text(v)
	}
}

func (g *generator) object(v schemaView, depth int) {
	required := map[string]bool{}
	for _, name := range itemsOf(v["required"]) {
		required[unquote(name)] = true
	}
	g.out = append(g.out, '{')
	first := true
	property := func(key string, schema []byte) {
		if !first {
			g.out = append(g.out, ',')
		}
		first = false
		g.out = append(g.out, mustJSON(key)...)
		g.out = append(g.out, ':')
		g.value(schema, depth+1)
	}
	for _, f := range fieldsOf(v["properties"]) {
		if required[f.key] || depth < maxSchemaDepth {
			property(f.key, f.raw)
		}
		delete(required, f.key)
	}
	for _, name := range itemsOf(v["required"]) { // required but not described
		if key := unquote(name); required[key] {
			property(key, nil)
			delete(required, key)
		}
	}
	g.out = append(g.out, '}')
}

func (g *generator) array(v schemaView, depth int) {
	least, most := g.bounds(v, "minItems", "maxItems", 1, 3)
	if depth >= maxSchemaDepth && v["minItems"] == nil {
		least, most = 0, 0
	}
	fixed := itemsOf(v["prefixItems"])
	n := max(len(fixed), least+g.rng.IntN(most-least+1))
	g.out = append(g.out, '[')
	for i := range n {
		if i > 0 {
			g.out = append(g.out, ',')
		}
		if i < len(fixed) {
			g.value(fixed[i], depth+1)
			continue
		}
		g.value(v["items"], depth+1)
	}
	g.out = append(g.out, ']')
}

// maxLength bounds strings and arrays that a schema asks for.
const maxLength = 200

// bounds reads a least and a most; unset, they are near the usual ones.
func (g *generator) bounds(v schemaView, least, most string, low, high int) (int, int) {
	a, okA := number(v[least])
	b, okB := number(v[most])
	switch {
	case okA && okB:
		low, high = int(a), int(b)
	case okA:
		low, high = int(a), int(a)+high-low
	case okB:
		low, high = min(low, int(b)), min(high, int(b))
	}
	low = min(max(low, 0), maxLength)
	return low, max(low, min(high, maxLength))
}

func number(raw []byte) (float64, bool) {
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, err == nil
}

// span is the closed range of numbers a schema allows, in steps.
func (v schemaView) span(step float64) (low, high float64) {
	low, high = 0, 100
	a, okA := number(v["minimum"])
	if x, ok := number(v["exclusiveMinimum"]); ok {
		a, okA = x+step, true
	}
	b, okB := number(v["maximum"])
	if x, ok := number(v["exclusiveMaximum"]); ok {
		b, okB = x-step, true
	}
	switch {
	case okA && okB:
		return a, b
	case okA:
		return a, a + 100
	case okB:
		return min(low, b-100), b
	}
	return low, high
}

func (g *generator) integer(v schemaView) {
	step := 1.0
	if m, ok := number(v["multipleOf"]); ok && m >= 1 {
		step = m
	}
	low, high := v.span(1)
	g.out = strconv.AppendFloat(g.out, g.multiple(low, high, step), 'f', 0, 64)
}

// multiple is a random multiple of step within low and high.
func (g *generator) multiple(low, high, step float64) float64 {
	first, last := math.Ceil(low/step), math.Floor(high/step)
	if last < first {
		return first * step
	}
	return (first + math.Floor(g.rng.Float64()*(min(last-first, 1e6)+1))) * step
}

func (g *generator) number(v schemaView) {
	step, multiple := number(v["multipleOf"])
	if multiple && step > 0 {
		low, high := v.span(step)
		g.out = strconv.AppendFloat(g.out, g.multiple(low, high, step), 'g', -1, 64)
		return
	}
	low, high := v.span(0)
	x := low + (high-low)*(0.25+0.5*g.rng.Float64())
	if rounded := math.Round(x*100) / 100; rounded > low && rounded < high {
		x = rounded
	}
	g.out = strconv.AppendFloat(g.out, x, 'g', -1, 64)
}

func (g *generator) text(v schemaView) {
	s, ok := g.format(unquote(v["format"]))
	if !ok {
		s = sentence(g.rng)
	}
	_, hasLeast := number(v["minLength"])
	_, hasMost := number(v["maxLength"])
	if hasLeast || hasMost {
		least, most := g.bounds(v, "minLength", "maxLength", 0, maxLength)
		for utf8.RuneCountInString(s) < least {
			s += " " + sentence(g.rng)
		}
		s = s[:min(len(s), most)] // sentences are ASCII
	}
	g.out = appendQuoted(g.out, s)
}

// format makes the well-known formats of strings.
func (g *generator) format(name string) (string, bool) {
	day := 1 + g.rng.IntN(28)
	date := "2026-0" + strconv.Itoa(1+g.rng.IntN(9)) + "-" + strconv.Itoa(100 + day)[1:]
	switch name {
	case "date-time":
		return date + "T12:00:00Z", true
	case "date":
		return date, true
	case "time":
		return "12:00:00Z", true
	case "duration":
		return "PT5M", true
	case "email":
		return "user" + strconv.Itoa(day) + "@example.com", true
	case "uri", "url":
		return "https://example.com/" + strconv.Itoa(day), true
	case "hostname":
		return "example.com", true
	case "ipv4":
		return "192.0.2." + strconv.Itoa(day), true
	case "ipv6":
		return "2001:db8::" + strconv.Itoa(day), true
	case "uuid":
		h := strconv.FormatUint(g.rng.Uint64()|1<<63, 16)
		return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[1:4] + "-" + h[2:14], true
	}
	return "", false
}
