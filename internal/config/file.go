package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// planned are keys of later versions: known, refused, and said to be so.
var planned = map[string]bool{"store": true}

// reference matches ${NAME} and ${NAME:-otherwise}.
var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}\n]*)?\}`)

// The braces of a reference end a plain scalar inside {...}, so that
// {api_key: ${KEY}} would be no YAML. They travel through the parser as two
// runes that nobody types, one for one: columns stay right.
var (
	shield   = strings.NewReplacer("{", "\uf8f0", "}", "\uf8f1")
	unshield = strings.NewReplacer("\uf8f0", "{", "\uf8f1", "}")
)

// file reads the YAML source into the loader's Config. Where only is not empty,
// it is the one key that the file may hold.
func (l *loader) file(name, source, only string) {
	l.name, l.lines[name], l.anchors = name, strings.Split(source, "\n"), map[string]ast.Node{}
	defer func() {
		if recover() != nil { // a defect of the YAML library must not become ours
			l.fault(Origin{Layer: LayerFile, Name: name}, "", fail("simplify the part that was changed last", "cannot be parsed as YAML"))
		}
	}()
	tree, err := parser.ParseBytes([]byte(reference.ReplaceAllStringFunc(source, shield.Replace)), 0)
	if err != nil {
		l.syntax(err)
		return
	}
	if len(tree.Docs) > 1 && tree.Docs[1].Body != nil {
		l.fault(l.at(tree.Docs[1].Body), "", fail("keep one", "holds more than one document"))
		return
	}
	if len(tree.Docs) == 0 || isBlank(tree.Docs[0].Body) {
		return // nothing is said, so the defaults hold
	}
	body := tree.Docs[0].Body
	if m, ok := body.(*ast.MappingNode); ok && only != "" {
		for _, e := range m.Values {
			if key := l.key(e, ""); key != only {
				l.fault(l.at(e.Key), key, fail("move it to the configuration file", "does not belong here: this file holds %s alone", only))
				return
			}
		}
	}
	l.section(body, reflect.ValueOf(l.config).Elem(), "")
}

// syntax reports a parser's error, which knows its place but not our words.
func (l *loader) syntax(err error) {
	origin, message := Origin{Layer: LayerFile, Name: l.name}, "is not valid YAML"
	var placed interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &placed) {
		message = redact(unshield.Replace(placed.GetMessage()))
		if t := placed.GetToken(); t != nil && t.Position != nil {
			origin.Line, origin.Column = t.Position.Line, t.Position.Column
		}
	}
	mend := "check indentation, quotes and colons here and in the line above"
	switch {
	case strings.Contains(message, "already defined"):
		mend = "keep one of them"
	case strings.Contains(message, "\t"):
		message, mend = "begins with a tab, which YAML does not allow", "indent with blanks"
	}
	l.fault(origin, "", fail(mend, "%s", message))
}

func (l *loader) at(n ast.Node) Origin {
	o := Origin{Layer: LayerFile, Name: l.name}
	if t := n.GetToken(); t != nil && t.Position != nil {
		o.Line, o.Column = t.Position.Line, t.Position.Column
	}
	return o
}

func isBlank(n ast.Node) bool {
	if n == nil {
		return true
	}
	_, null := n.(*ast.NullNode)
	return null
}

// resolve follows an anchor or alias to the node that it stands for.
func (l *loader) resolve(n ast.Node) ast.Node {
	for range 8 {
		switch v := n.(type) {
		case *ast.AnchorNode:
			l.anchors[v.Name.String()] = v.Value
			n = v.Value
		case *ast.AliasNode:
			if n = l.anchors[v.Value.String()]; n == nil {
				return nil
			}
		default:
			return n
		}
	}
	return nil
}

// node reads n into v, whatever v is.
func (l *loader) node(n ast.Node, v reflect.Value, path string, r rule) {
	place := n
	n = l.resolve(n)
	switch t := v.Type(); {
	case n == nil:
		l.fault(l.at(place), path, fail("write the anchor (&name) above, or the value here", "names no anchor above it"))
	case isBlank(n):
		l.fault(l.at(place), path, fail("give it a value or remove it", "is blank"))
	case t.Kind() == reflect.Pointer && isSection(t.Elem()):
		l.node(n, v.Elem(), path, r)
	case isSection(t):
		l.section(n, v, path)
	case t.Kind() == reflect.Map:
		l.named(n, v, path)
	case t.Kind() == reflect.Slice:
		l.list(n, v, path)
	default:
		l.scalar(n, leaf{path, v, r})
	}
}

// entries returns the entries of a mapping, and a fault where n is none.
func (l *loader) entries(n ast.Node, path string) []*ast.MappingValueNode {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	l.fault(l.at(n), path, fail("write its keys below it, indented, as in \"key: value\"", "is not a section of keys"))
	return nil
}

// key returns an entry's key, "" with a fault for keys that are no plain word.
func (l *loader) key(e *ast.MappingValueNode, path string) string {
	switch k := e.Key.(type) {
	case *ast.MergeKeyNode:
		l.fault(l.at(e.Key), path, fail("write the keys out", "merge keys (<<) are not supported"))
	case ast.ScalarNode:
		return fmt.Sprint(k.GetValue())
	default:
		l.fault(l.at(e.Key), path, fail("write a word and a colon", "is not a key"))
	}
	return ""
}

func (l *loader) section(n ast.Node, v reflect.Value, path string) {
	for _, e := range l.entries(n, path) {
		key := l.key(e, path)
		if key == "" {
			continue
		}
		field, r := fieldOf(v, key)
		if !field.IsValid() {
			l.unknown(e, v.Type(), join(path, key))
			continue
		}
		l.node(e.Value, field, join(path, key), r)
	}
}

func fieldOf(v reflect.Value, key string) (field reflect.Value, r rule) {
	if key == "-" {
		return reflect.Value{}, rule{}
	}
	for i := range v.NumField() {
		if k, r := keyOf(v.Type().Field(i)); k == key {
			return v.Field(i), r
		}
	}
	return reflect.Value{}, rule{}
}

func (l *loader) unknown(e *ast.MappingValueNode, t reflect.Type, path string) {
	key := path[strings.LastIndexByte(path, '.')+1:]
	if path == key && planned[key] {
		l.fault(l.at(e.Key), path, fail("remove it", "belongs to a later version"))
		return
	}
	var known []string
	for field := range t.Fields() {
		if k, _ := keyOf(field); k != "-" {
			known = append(known, k)
		}
	}
	l.fault(l.at(e.Key), path, fail(suggest(key, known), "is not a known key"))
}

// named reads a mapping whose keys are the operator's own names.
func (l *loader) named(n ast.Node, v reflect.Value, path string) {
	for _, e := range l.entries(n, path) {
		key := l.key(e, path)
		if key == "" {
			continue
		}
		entry := v.MapIndex(reflect.ValueOf(key))
		if !entry.IsValid() {
			entry = reflect.New(v.Type().Elem().Elem())
			setDefaults(entry, key)
			v.SetMapIndex(reflect.ValueOf(key), entry)
		}
		l.config.origins[join(path, key)] = l.at(e.Key)
		l.node(e.Value, entry, join(path, key), rule{})
	}
}

func (l *loader) list(n ast.Node, v reflect.Value, path string) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok && !isSection(v.Type().Elem()) {
		l.scalar(n, leaf{path, v, rule{}}) // a list of words may be a single one
		return
	}
	if !ok {
		l.fault(l.at(n), path, fail("begin each entry with \"- \"", "is not a list"))
		return
	}
	l.config.origins[path] = l.at(n)
	start := v.Len() // of keys, the second file's come behind the first's
	v.Set(reflect.AppendSlice(v, reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values))))
	for i, value := range sequence.Values {
		i += start
		setDefaults(v.Index(i).Addr(), "")
		l.config.origins[join(path, strconv.Itoa(i))] = l.at(value)
		l.node(value, v.Index(i), join(path, strconv.Itoa(i)), rule{})
	}
}

func setDefaults(pointer reflect.Value, name string) {
	if k, ok := reflect.TypeAssert[keyed](pointer); ok {
		k.setDefaults(name)
	}
}

func (l *loader) scalar(n ast.Node, target leaf) {
	var text string
	switch s := n.(type) {
	case *ast.StringNode:
		text = s.Value
	case *ast.LiteralNode:
		text = s.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		text = n.GetToken().Value
	default:
		l.fault(l.at(n), target.path, fail("write one value", "takes a single value, not a section or a list"))
		return
	}
	text, err := l.expand(unshield.Replace(text))
	if err != nil {
		l.fault(l.at(n), target.path, err)
		return
	}
	l.set(target, text, l.at(n))
}

// expand puts the environment's values in place of ${NAME}.
func (l *loader) expand(text string) (string, error) {
	var missing []string
	text = reference.ReplaceAllStringFunc(text, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		if value := l.environment[m[1]]; value != "" {
			return value
		}
		if m[2] == "" {
			missing = append(missing, m[1])
		}
		return strings.TrimPrefix(m[2], ":-")
	})
	if len(missing) > 0 {
		return "", fail("set it, or write ${"+missing[0]+":-otherwise}", "needs the variable %s, which is unset or empty", strings.Join(missing, ", "))
	}
	return text, nil
}

// suggest names the known key that is meant, or all of them.
func suggest(key string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := Edits(key, k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(known, ", ")
}

// Edits is the Levenshtein distance; long words are as good as unlike.
func Edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
