package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// leaf is one scalar setting: where it is and what it may be.
type leaf struct {
	path  string // with indexes: upstreams.0.quota.requests
	value reflect.Value
	rule  rule
}

// rule is what a field's tags say of the values it takes.
type rule struct {
	zero  bool     // an explicit zero has a sense
	off   bool     // so have false and a zero without unit
	words []string // the only ones, if any
}

// keyOf returns the field's key in the file and its rule; "-" for fields that
// are no settings.
func keyOf(f reflect.StructField) (key string, r rule) {
	key, option, _ := strings.Cut(f.Tag.Get("key"), ",")
	if key == "" {
		return "-", rule{}
	}
	return key, rule{zero: option != "", off: option == "off", words: strings.Fields(f.Tag.Get("enum"))}
}

// isSection reports that a value holds further settings by name.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[Rate]() && t != reflect.TypeFor[Secret]()
}

// leaves calls visit for each scalar below v, in the order of the file's shape;
// maps by key.
func leaves(v reflect.Value, path string, r rule, visit func(leaf)) {
	switch t := v.Type(); {
	case t.Kind() == reflect.Pointer && isSection(t.Elem()):
		leaves(v.Elem(), path, r, visit)
	case isSection(t):
		for i := range t.NumField() {
			if key, rule := keyOf(t.Field(i)); key != "-" {
				leaves(v.Field(i), join(path, key), rule, visit)
			}
		}
	case t.Kind() == reflect.Slice && isSection(t.Elem()):
		for i := range v.Len() {
			leaves(v.Index(i), join(path, strconv.Itoa(i)), rule{}, visit)
		}
	case t.Kind() == reflect.Map:
		for _, name := range sortedKeys(v) {
			leaves(v.MapIndex(reflect.ValueOf(name)), join(path, name), rule{}, visit)
		}
	default:
		visit(leaf{path, v, r})
	}
}

func sortedKeys(m reflect.Value) []string {
	names := make([]string, 0, m.Len())
	for _, k := range m.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// set parses text into the leaf. Its errors are problems; they never hold the
// text of a Secret.
func (l leaf) set(text string) error {
	text = strings.TrimSpace(text)
	if text == "" {
		return fail("give it a value or remove it", "is blank")
	}
	if len(l.rule.words) > 0 && !slices.Contains(l.rule.words, text) {
		return fail("write one of: "+strings.Join(l.rule.words, ", "), "%q is unknown", text)
	}
	if l.rule.off && (text == "false" || text == "0") {
		l.value.SetZero()
		return nil
	}
	if err := l.parse(text); err != nil {
		return err
	}
	// The zero of a switch or of a word is a value like any other.
	if k := l.value.Kind(); k == reflect.Bool || k == reflect.String || l.rule.zero {
		return nil
	}
	if r, ok := reflect.TypeAssert[Rate](l.value); l.value.IsZero() || ok && r.Count == 0 {
		return fail("give it a value above zero, or remove it for none", "%q is zero", text)
	}
	return nil
}

func (l leaf) parse(text string) (err error) {
	switch p := l.value.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		if *p, err = strconv.ParseBool(text); err != nil {
			err = fail("write true or false", "%q is not a switch", text)
		}
	case *int:
		var n int64
		n, err = parseCount(text)
		*p = int(n)
	case *int64:
		*p, err = parseCount(text)
	case *float64:
		*p, err = parseNumber(text)
	case **float64:
		var n float64
		n, err = parseNumber(text)
		*p = &n
	case *Hash:
		*p, err = parseHash(text)
	case *time.Duration:
		*p, err = parseDuration(text, false)
	case *Rate:
		*p, err = parseRate(text)
	case *Bytes:
		*p, err = parseBytes(text)
	case *Secret:
		*p, err = parseSecret(text)
	case *[]string:
		*p = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	default:
		err = fmt.Errorf("no parser for %s", l.value.Type())
	}
	return err
}

func parseNumber(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n != n || n < 0 || n > 1e9 {
		return 0, fail("write a number such as 0.5", "%q is not a number in range", text)
	}
	return n, nil
}

// samples are what example files put where a credential belongs.
var samples = []string{
	"changeme", "change-me", "change_me", "secret", "password", "passw0rd", "example", "sample", "dummy", "dummy-key", "todo", "xxx",
	"your-api-key", "your_api_key", "your-key", "api-key", "apikey", "key", "token", "none", "null", "test", "admin",
	"sk-...", "sk-xxx", "sk-your-key", "sk-1234", "sk-test", "sk-123456", "1234", "12345", "123456", "12345678", "123456789", "<key>", "***",
}

func parseSecret(text string) (Secret, error) {
	if slices.Contains(samples, strings.ToLower(text)) {
		return Secret{}, fail("put the real one in the environment and write ${OPENAI_API_KEY} here", "holds the placeholder of an example, not a credential")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Secret{}, fail("check for a broken line or a stray blank", "holds a blank or a control character, which no credential has")
	}
	return NewSecret(text), nil
}

// text is how the leaf's value is written in a file; a Secret's is masked.
func (l leaf) text() string {
	switch v := l.value.Interface().(type) {
	case time.Duration:
		return formatDuration(v)
	case []string:
		return strings.Join(v, ", ")
	case *float64:
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'g', -1, 64)
	case string:
		if strings.ContainsAny(v, "\n\r\t") {
			return strconv.Quote(v) // one setting, one line
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}
