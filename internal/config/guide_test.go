package config

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const guide = "../../docs/guide/configuration.md"

// forms are the words of the guide for what a setting takes.
var forms = map[reflect.Type]string{
	reflect.TypeFor[Rate](): "rate", reflect.TypeFor[time.Duration](): "time", reflect.TypeFor[Bytes](): "size", reflect.TypeFor[Secret](): "secret",
	reflect.TypeFor[Hash](): "hash", reflect.TypeFor[int](): "count", reflect.TypeFor[int64](): "count", reflect.TypeFor[float64](): "number",
	reflect.TypeFor[*float64](): "number", reflect.TypeFor[bool](): "switch", reflect.TypeFor[string](): "text", reflect.TypeFor[[]string](): "list",
}

var quoted = regexp.MustCompile(`(^|[ (])'([^']+)'`)

// table is the guide's table of settings, made from the tags and the defaults.
func table() string {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n| --- | --- | --- | --- |\n")
	rows(&b, reflect.ValueOf(defaults()).Elem(), "")
	return b.String()
}

func rows(b *strings.Builder, section reflect.Value, path string) {
	for i := range section.NumField() {
		f := section.Type().Field(i)
		key, r := keyOf(f)
		if key == "-" {
			continue
		}
		switch v, at := section.Field(i), join(path, key); {
		case isSection(f.Type):
			rows(b, v, at)
		case f.Type.Kind() == reflect.Slice && isSection(f.Type.Elem()):
			entry := reflect.New(f.Type.Elem())
			setDefaults(entry, "")
			rows(b, entry.Elem(), at+"[]")
		case f.Type.Kind() == reflect.Map:
			rows(b, v.MapIndex(reflect.ValueOf("batch")).Elem(), at+".NAME")
		default:
			row(b, f, leaf{path: at, value: v, rule: r})
		}
	}
}

func row(b *strings.Builder, f reflect.StructField, l leaf) {
	form, value := forms[f.Type], l.text()
	if len(l.rule.words) > 0 {
		form = "word"
	}
	meaning := quoted.ReplaceAllString(f.Tag.Get("doc"), "$1`$2`")
	switch {
	case f.Tag.Get("need") != "":
		meaning = "required; " + meaning
	case l.path == "upstreams[].base_url":
		value = OpenAIBaseURL
	case l.path == "upstreams[].quota.window", l.path == "upstreams[].quota.meter":
		meaning += "; [see below](#" + l.path[strings.LastIndexByte(l.path, '.')+1:] + "s)"
	}
	if l.value.IsZero() && f.Type.Kind() != reflect.Bool && f.Tag.Get("need") != "" || value == "" || value == "none" || value == "0" || value == "0s" {
		value = "–"
	} else {
		value = "`" + value + "`"
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", l.path, form, value, meaning)
}

// TestTheGuideHasEveryKey compares the guide's table with the types it is made
// from. With -update it writes the table.
func TestTheGuideHasEveryKey(t *testing.T) {
	page, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(page), "| key | type |")
	old, tail, found := strings.Cut("| key | type |"+rest, "\n\n")
	if !found {
		t.Fatal("the guide has no table of keys")
	}
	if want := strings.TrimSuffix(table(), "\n"); flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(guide, []byte(head+want+"\n\n"+tail), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, old); diff != "" {
		t.Errorf("%s (-the types, +the page); run the test with -update:\n%s", guide, diff)
	}
}

// TestEveryKeyIsExplained: no setting without a meaning, and plain words.
func TestEveryKeyIsExplained(t *testing.T) {
	for line := range strings.Lines(table()) {
		if cells := strings.Split(line, " | "); len(cells) != 4 || strings.TrimSpace(strings.TrimSuffix(cells[3], "|\n")) == "" || cells[1] == "" {
			t.Errorf("no meaning: %s", line)
		}
	}
}
