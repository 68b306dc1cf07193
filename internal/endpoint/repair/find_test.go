package repair

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show writes what was found: values as JSON, one after the other, with an
// ellipsis behind those that are cut.
func show(all []Found) string {
	var b strings.Builder
	for i := range all {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.Write(all[i].Value.Append(nil))
		if all[i].Value.Cut {
			b.WriteString("…")
		}
	}
	return b.String()
}

// broken are texts as models write them, and what is found in them.
var broken = []struct{ name, text, want string }{
	// Valid, alone or not.
	{"object", `{"a":1}`, `{"a":1}`},
	{"list", ` [1, 2] `, `[1,2]`},
	{"scalar", `42`, `42`},
	{"text", `"x"`, `"x"`},
	{"nothing", ``, ``},
	{"prose", `I cannot do that.`, ``},
	{"byte order mark", "\ufeff[1]", `[1]`},
	{"fence", "```json\n[1]\n```", `[1]`},
	{"fence without a language", "```\n{\"a\":1}\n```", `{"a":1}`},
	{"fence on one line", "```json [1]```", `[1]`},
	{"fence without an end", "```json\n[1,2]", `[1,2]`},
	{"fence in prose", "Sure! Here it is:\n```json\n[1]\n```\nAnything else?", `[1]`},
	{"two fences", "Draft:\n```\n[1]\n```\nBetter:\n```\n[2]\n```", `[1] [2]`},
	{"fence within a text", "[{\"example\":\"```go\\nx\\n```\"}]", "[{\"example\":\"```go\\nx\\n```\"}]"},
	{"fence within a fence", "```json\n[{\"e\":\"```x```\"}]\n```", "[{\"e\":\"```x```\"}]"},
	{"prose before", `Here you are: [1,2]`, `[1,2]`},
	{"prose behind", `[1,2] I hope this helps.`, `[1,2]`},
	{"prose around", "The result:\n{\"a\":[1]}\nDone.", `{"a":[1]}`},
	{"brackets in prose", `See [section 2] and {this}: [{"a":1}]`, `[{"a":1}]`},
	{"citation", `According to [1], yes.`, `[1]`},
	{"lines", "{\"a\":1}\n{\"a\":2}\n", `{"a":1} {"a":2}`},
	{"objects with commas", `{"a":1},{"a":2}`, `{"a":1} {"a":2}`},
	{"thoughts", "<think>maybe [1]?</think>\n[2]", `[2]`},
	{"thoughts without an end", "<think>maybe [1]", `[1]`},
	{"escaped whole", `{\"a\": \"b\"}`, `{"a":"b"}`},
	{"escaped with lines", `[\n {\"a\": 1}\n]`, `[{"a":1}]`},

	// Commas, comments, brackets.
	{"trailing comma in a list", `[1,2,]`, `[1,2]`},
	{"trailing comma in an object", `{"a":1,}`, `{"a":1}`},
	{"two commas", `[1,,2]`, `[1,2]`},
	{"leading comma", `[,1]`, `[1]`},
	{"no comma between objects", `[{"a":1} {"a":2}]`, `[{"a":1},{"a":2}]`},
	{"no comma between lines", "{\"a\":\"x\"\n\"b\":\"y\"}", `{"a":"x","b":"y"}`},
	{"no comma between texts", "[\"x\"\n\"y\"]", `["x","y"]`},
	{"line comment", "[1, // one\n2]", `[1,2]`},
	{"comment behind a text", "{\"a\":\"x\", // why\n\"b\":1}", `{"a":"x","b":1}`},
	{"block comment", `{/* c */"a":1}`, `{"a":1}`},
	{"ellipsis", `[1, ...]`, `[1]`},
	{"list not closed in an object", `{"a":[1,2}`, `{"a":[1,2]}`},
	{"object not closed in a list", `[{"a":1]`, `[{"a":1}]`},
	{"one bracket too many", `[{"a":1}}]`, `[{"a":1}]`},
	{"semicolon", `{"a":1;"b":2}`, `{"a":1,"b":2}`},

	// Quotes.
	{"single quotes", `{'a':'b'}`, `{"a":"b"}`},
	{"apostrophe", `{'a':'it's fine'}`, `{"a":"it's fine"}`},
	{"typographic quotes", `{“a”:“b”}`, `{"a":"b"}`},
	{"backticks", "{`a`:`b`}", `{"a":"b"}`},
	{"quotes within", `{"a":"He said "no" to it","b":1}`, `{"a":"He said \"no\" to it","b":1}`},
	{"quotes within, then a comma", `{"a":"called "x", that is, y","b":1}`, `{"a":"called \"x\", that is, y","b":1}`},
	{"quotes at the end", `{"a":"He said "no"","b":1}`, `{"a":"He said \"no\"","b":1}`},
	{"quotes in a list", `["say "x" twice","y"]`, `["say \"x\" twice","y"]`},
	{"keys without quotes", `{a:1,b_c:"x"}`, `{"a":1,"b_c":"x"}`},
	{"key with a hyphen", `{risk-level:"x"}`, `{"risk-level":"x"}`},
	{"equals sign", `{a="x"}`, `{"a":"x"}`},
	{"hash rocket", `{"a"=>1}`, `{"a":1}`},
	{"line break in a text", "{\"a\":\"x\ny\",}", `{"a":"x\ny"}`},
	{"tab in a text", "{\"a\":\"x\ty\"}", `{"a":"x\ty"}`},
	{"wrong escape", `{"a":"\d+ C:\Users \'q\'"}`, `{"a":"\\d+ C:\\Users 'q'"}`},
	{"wrong unicode", `{"a":"\uZZZZ",}`, `{"a":"\\uZZZZ"}`},
	{"half a pair", `["\ud83d",]`, "[\"\ufffd\"]"},
	{"a pair", `["\ud83d\ude00",]`, "[\"\U0001f600\"]"},

	// Literals and numbers.
	{"python", `{"a":True,"b":False,"c":None}`, `{"a":true,"b":false,"c":null}`},
	{"not a number", `[NaN, Infinity, undefined]`, `[null,null,null]`},
	{"number forms", `[.5, 5., +1, 007, 1_000,]`, `[0.5,5,1,7,1000]`},
	{"per cent", `{"a": 80%, "b": 1}`, `{"a":"80%","b":1}`},
	{"words", `{"a": High, "b": not sure}`, `{"a":"High","b":"not sure"}`},
	{"no value", `{"a":,"b":1}`, `{"a":null,"b":1}`},
	{"twice", `{"a":1,"a":2,}`, `{"a":2}`},

	// Cut short.
	{"cut between items", `[{"a":1},`, `[{"a":1}]…`},
	{"cut in an item", `[{"a":1},{"a":"x`, `[{"a":1},{"a":"x"}]…`},
	{"cut in a key", `[{"a":1},{"b`, `[{"a":1},{}]…`},
	{"cut before a value", `{"a":`, `{}…`},
	{"cut in a wrapped list", `{"f":[{"a":1},{"a":2`, `{"f":[{"a":1},{"a":2}]}…`},
	{"cut in an escape", `["x\`, `["x"]…`},
	{"cut in a unicode", `["x\u00`, `["x"]…`},
	{"cut in a literal", `[tr`, ``},
	{"cut in a fence", "```json\n[{\"a\":1},{\"a\"", `[{"a":1},{}]…`},
	{"cut in prose", `Well: [{"a":1},{"a":2},{`, `[{"a":1},{"a":2},{}]…`},
	{"just begun", `[`, `[]…`},
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := show(Find(tt.text, true))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Find(%q) (-want +got):\n%s", tt.text, diff)
			}
		})
	}
	if len(broken) < 60 {
		t.Errorf("%d broken texts; keep at least 60", len(broken))
	}
}

// Words without quotes are prose, unless the caller allows them.
func TestFindWithoutWords(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{note: this is prose}`, `{"a": High}`, `{"a": 80%}`} {
		if got := show(Find(text, false)); got != "" {
			t.Errorf("Find(%q) = %s, want nothing", text, got)
		}
	}
}

// Strings that look as if they had to be mended, and keys too long for a guess.
func TestI1ValidJSONStands(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 3*maxKey)
	for _, text := range []string{
		`{"a":"x\", \"b\": \"y","c":1}`, `{"a":"b","` + long + `":"c"}`, `["a","b, \"c\": d"]`, `{"a":"// no comment","b":"/* none */"}`,
		`[1.50,-0,1e3,1E-2]`, `{"":""}`, `{"a":{"b":[null,true,false,[]]}}`, `"'"`, `["“","‘"]`, "[\"\u2028<&>\"]", `{"a":"x"}`,
		`{"a":"` + "```" + `","b":"</think>"}`,
	} {
		same(t, text, Find(text, true))
		same(t, text, Find(text, false))
		framed := "Here it is: " + text + " - that is all"
		if text[0] == '{' || text[0] == '[' {
			same(t, text, Find(framed, false))
		}
	}
}

// same fails unless one value was found, and it is the text's.
func same(t *testing.T, text string, all []Found) {
	t.Helper()
	if len(all) != 1 || all[0].Value.Cut {
		t.Errorf("%q: found %s", text, show(all))
		return
	}
	if diff := cmp.Diff(decoded(t, text), decoded(t, string(all[0].Value.Append(nil)))); diff != "" {
		t.Errorf("%q (-want +got):\n%s", text, diff)
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func TestI2WrittenIsValid(t *testing.T) {
	t.Parallel()
	for _, tt := range broken {
		for _, f := range Find(tt.text, true) {
			if b := f.Value.Append(nil); !json.Valid(b) {
				t.Errorf("%q: wrote %s", tt.text, b)
			}
		}
	}
}

// A valid list, cut anywhere, gives the items that were complete.
func TestI3CutIsTold(t *testing.T) {
	t.Parallel()
	items := []string{`{"a":"x, y","b":[1,{"c":"d"}]}`, `{"a":"\"q\"","b":[]}`, `{"a":"z","b":[12]}`}
	text := "[" + strings.Join(items, ",") + "]"
	for n := 1; n < len(text); n++ {
		complete := 0
		for end := 1; complete < len(items) && end+len(items[complete]) <= n; complete++ {
			end += len(items[complete]) + 1
		}
		all := Find(text[:n], true)
		if len(all) != 1 || !all[0].Value.Cut {
			t.Fatalf("%q: found %s", text[:n], show(all))
		}
		whole := all[0].Value.Whole()
		if len(whole) != complete {
			t.Errorf("%q: %d complete items, want %d", text[:n], len(whole), complete)
		}
		for i := range whole {
			if whole[i].Cut {
				t.Errorf("%q: item %d is cut", text[:n], i)
			}
		}
	}
}

// What is hard to read costs no more than a few looks at it.
func TestI4WorkIsBounded(t *testing.T) {
	t.Parallel()
	const size = 1 << 18
	for _, unit := range []string{"[", "{", "[1]", "{}", `{"`, `{"a":`, `["`, "```", `[{"a":"`, `"`, `[" `, `{"a":"b" `, "{'a':'b',", "<think>", "//", "[/*", `["// `, "\"  ", `{"a":"b"/*`} {
		text := strings.Repeat(unit, size/len(unit))
		p := tolerant{s: text}
		_, _ = p.value()
		if all := Find(text, true); len(all) > maxFound {
			t.Errorf("%q: %d values", unit, len(all))
		}
		_, _, cost := at(text, true)
		if cost > 8*len(text)+1024 {
			t.Errorf("%q: read %d bytes of %d", unit, cost, len(text))
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`null`: "", `"  x "`: "x", `1.50`: "1.50", `true`: "true", `["a","b"]`: "a\nb", `[1,"b"]`: `[1,"b"]`, `{"a":"<b>"}`: `{"a":"<b>"}`, `[]`: "",
	} {
		if got := Find(text, true)[0].Value.Words(); got != want {
			t.Errorf("words of %s: %q, want %q", text, got, want)
		}
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	v := Find(`{"riskLevel":1,"Risk-Level":2,"ID":3,"risk level":4}`, true)[0].Value
	for name, want := range map[string]string{"risk_level": "4", "id": "3"} {
		if got := v.Get(name); got == nil || got.Text != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	if v.Get("none") != nil {
		t.Error("found a member that is not there")
	}
}

func FuzzFind(f *testing.F) {
	f.Add(`Here: [{"a":"He said "no"", b: True,},] bye`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, words := range []bool{true, false} {
			all := Find(text, words)
			for i := range all {
				if b := all[i].Value.Append(nil); !json.Valid(b) {
					t.Errorf("wrote %s", b)
				}
			}
			if json.Valid([]byte(text)) && depth(text) < maxDepth {
				same(t, text, all)
			}
		}
	})
}

// depth is how deep brackets are nested at most, strings included.
func depth(s string) int {
	deepest, n := 0, 0
	for _, c := range s {
		switch c {
		case '[', '{':
			n++
			deepest = max(deepest, n)
		case ']', '}':
			n--
		}
	}
	return deepest
}

func BenchmarkFind(b *testing.B) {
	var items []string
	for i := range 40 {
		items = append(items, fmt.Sprintf(`{"id":"%d","description":"A sentence about it, with "quotes" in it.","questions":["Why?"]}`, i))
	}
	text := "Here:\n```json\n[" + strings.Join(items, ",\n") + ",]\n```"
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if got := Find(text, true); len(got) != 1 || len(got[0].Value.Items) != 40 {
			b.Fatal(len(got))
		}
	}
}
