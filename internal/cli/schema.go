package cli

import (
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/quota"
)

// schemaName is what a file's first line calls its schema.
const schemaName = "millrace.schema.json"

// object is a part of a JSON Schema.
type object = map[string]any

// A value may be taken from the environment, so that every scalar is also a
// string with a reference in it.
const reference = `.*\$\{.+\}.*`

func pattern(form string) object {
	return object{"type": "string", "pattern": "^(" + form + "|" + reference + ")$"}
}

func orText(kind, form string) object {
	o := pattern(form)
	o["type"] = []string{kind, "string"}
	return o
}

// scalars are the forms of single values.
var scalars = map[reflect.Type]object{
	reflect.TypeFor[config.Rate]():   pattern(`[0-9][0-9_]* ?/ ?[smhd]`),
	reflect.TypeFor[config.Bytes]():  pattern(`[0-9][0-9_]* ?([KMG]i?)?B`),
	reflect.TypeFor[config.Secret](): {"type": "string"},
	reflect.TypeFor[config.Hash]():   pattern(`[0-9a-fA-F]{64}`),
	reflect.TypeFor[time.Duration](): pattern(`([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+`),
	reflect.TypeFor[[]string]():      {"type": []string{"array", "string"}, "items": object{"type": "string"}, "uniqueItems": true},
	reflect.TypeFor[string]():        {"type": "string"},
	reflect.TypeFor[bool]():          orText("boolean", "true|false"),
	reflect.TypeFor[int]():           orText("integer", "[0-9][0-9_]*"),
	reflect.TypeFor[int64]():         orText("integer", "[0-9][0-9_]*"),
	reflect.TypeFor[float64]():       orText("number", "[0-9]+(\\.[0-9]+)?"),
}

// writeSchema writes the JSON Schema of the configuration file. It is made from
// the tags of config.Config, which the loader obeys too, so that the two cannot
// differ. A library for it would read other tags, and reach no further: the
// forms of rates, times and sizes are ours, and so is what is required.
func writeSchema(w io.Writer) error {
	root := schemaOf(reflect.TypeFor[config.Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Configuration of Millrace"
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(root)
}

// schemaOf describes a type of the configuration.
func schemaOf(t reflect.Type) object {
	if scalar, known := scalars[t]; known {
		return scalar
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem())}
	default:
		return section(t)
	}
}

func section(t reflect.Type) object {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		key, option, _ := strings.Cut(f.Tag.Get("key"), ",")
		if key == "" || key == "-" {
			continue
		}
		if f.Tag.Get("need") != "" {
			required = append(required, key)
		}
		properties[key] = property(f, key, option)
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// property is one key: its form, narrowed by its tags, and what it means.
func property(f reflect.StructField, key, option string) object {
	o := maps.Clone(schemaOf(f.Type))
	if k := f.Type.Kind(); option == "" && (k == reflect.Int || k == reflect.Float64) {
		o["exclusiveMinimum"] = 0
	}
	words := strings.Fields(f.Tag.Get("enum"))
	if key == "meter" {
		words = quota.MeterNames()
	}
	if len(words) > 0 {
		o = object{"enum": words}
	}
	if option == "off" {
		o = object{"anyOf": []object{o, {"enum": []any{false, 0}}}}
	}
	o["description"] = strings.ReplaceAll(f.Tag.Get("doc"), "(– :", "(left out:")
	return o
}
