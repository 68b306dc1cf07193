package endpoint

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ids are the findings of feedback, by id and description.
func ids(t testing.TB, f formed) string {
	t.Helper()
	var items []struct{ ID, Description string }
	if err := json.Unmarshal(f.value, &items); err != nil {
		t.Fatalf("%s: %v", f.value, err)
	}
	if len(items) != f.count {
		t.Errorf("%d items, count %d", len(items), f.count)
	}
	var out []string
	for _, i := range items {
		out = append(out, i.ID+":"+i.Description)
	}
	if f.partial {
		out = append(out, "partial")
	}
	return strings.Join(out, " ")
}

const none = "none" // the answer cannot be used

func TestFeedbackForms(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"list", `[{"id":"1","description":"A"},{"id":"2","description":"B"}]`, "1:A 2:B"},
		{"empty list", `[]`, ""},
		{"empty list in a fence", "```json\n[]\n```", ""},
		{"empty wrapped list", `{"feedback":[]}`, ""},
		{"wrapped", `{"feedback":[{"id":"1","description":"A"}]}`, "1:A"},
		{"wrapped twice", `{"result":{"items":[{"id":"1","description":"A"}]}}`, "1:A"},
		{"wrapped beside others", `{"title":"Review","questions":["x"],"summary":"s","findings":[{"id":"1","description":"A"}]}`, "1:A"},
		{"wrapped under an unknown name", `{"Rückmeldung":[{"id":"1","description":"A"}]}`, "1:A"},
		{"the likelier of two lists", `{"other":[{"id":"x","description":"X"}],"feedback":[{"id":"1","description":"A"}]}`, "1:A"},
		{"by name", `{"1":{"id":"1","description":"A"},"2":{"id":"2","description":"B"}}`, "1:A 2:B"},
		{"single", `{"id":"1","description":"A","questions":["Q"]}`, "1:A"},
		{"lines", "{\"id\":\"1\",\"description\":\"A\"}\n{\"id\":\"2\",\"description\":\"B\"}", "1:A 2:B"},
		{"fence and prose", "Sure!\n```json\n[{\"id\":\"1\",\"description\":\"A\"}]\n```\nBye [1].", "1:A"},
		{"prose with brackets", `As asked [see above]: [{"id":"1","description":"A"}]`, "1:A"},
		{"draft, then final", `[{"id":"1","description":"draft"}] Better: [{"id":"1","description":"A"}]`, "1:A"},
		{"two parts", "Critical: [{\"id\":\"1\",\"description\":\"A\"}] Minor: [{\"description\":\"B\"}]", "1:A f2:B"},
		{"the shorter of two versions", `[{"id":"1","description":"A"},{"id":"2","description":"B"}] as in [{"id":"1","description":"x"}]`, "1:A 2:B"},
		{"by kind", `{"critical":[{"id":"1","description":"A"}],"minor":[{"id":"2","description":"B"}]}`, "1:A 2:B"},
		{"cut behind a list", `{"critical":[{"id":"1","description":"A"}],"minor":[`, "1:A partial"},
		{"empty, by an error", `{"error":"I cannot","items":[]}`, none},
		{"empty beside others", `{"a":[],"b":[]}`, none},
		{"json in a text", `"[{\"id\":\"1\",\"description\":\"A\"}]"`, "1:A"},
		{"no ids", `[{"description":"A"},{"description":"B"}]`, "f1:A f2:B"},
		{"number ids", `[{"id":7,"description":"A"}]`, "7:A"},
		{"same ids", `[{"id":"f2","description":"A"},{"id":"f2","description":"B"}]`, "f2:A f2x:B"},
		{"long id", `[{"id":"` + strings.Repeat("i", 300) + `","description":"A"}]`, "f1:A"},
		{"other name", `[{"issue":"A"}]`, "f1:A"},
		{"suggestion alone", `[{"suggestion":"Do it."}]`, "f1:"},
		{"other spelling", `[{"ID":"1","Description":"A"}]`, "1:A"},
		{"sentences", `["A","B"]`, "f1:A f2:B"},
		{"sentences, wrapped", `{"feedback":["A"]}`, "f1:A"},
		{"some are none", `[{"id":"1","description":"A"},{},null,3,{"id":"2"}]`, "1:A"},
		{"text for a description", `[{"id":"1","description":["A","B"]}]`, "1:A\nB"},
		{"cut", `[{"id":"1","description":"A"},{"id":"2","descr`, "1:A partial"},
		{"cut in a questions list", `[{"id":"1","description":"A"},{"id":"2","description":"B","questions":["x"`, "1:A partial"},
		{"cut, wrapped", `{"feedback":[{"id":"1","description":"A"},{"id":"2"`, "1:A partial"},
		{"cut, in prose", `Here: [{"id":"1","description":"A"},`, "1:A partial"},
		{"cut, lines", "{\"id\":\"1\",\"description\":\"A\"}\n{\"id\":\"2\",\"desc", "1:A partial"},
		{"cut at once", `[{"id":"1","description":"A`, none},
		{"cut before anything", `[`, none},
		{"cut single", `{"id":"1","description":"A"`, none},
		{"cut empty wrapped", `{"feedback":[`, none},
		{"prose", `I found nothing wrong with this section.`, none},
		{"nothing", ``, none},
		{"prose with an empty list", `There are no [] in here.`, none},
		{"null", `null`, none},
		{"number", `3`, none},
		{"text", `"fine"`, none},
		{"empty object", `{}`, none},
		{"other list", `[1,2,3]`, none},
		{"list of nothing", `[{},{}]`, none},
		{"other object", `{"error":"I cannot"}`, none},
		{"no list", `{"feedback":"none"}`, none},
		{"null for a list", `{"feedback":null}`, none},
		{"prose in braces", `{note: this is no answer}`, none},
		{"regrets", `{"message":"I cannot do that."}`, none},
		{"regrets, wrapped", `{"error":{"message":"I cannot do that.","text":"Sorry."}}`, none},
		{"regrets, cut", `{"message":"I cannot do that."`, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, ok := form(Feedback, tt.text, false)
			got := none
			if ok {
				got = ids(t, f)
			}
			if got != tt.want {
				t.Errorf("%s: %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestFindingMembers(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{
			"coerced", `[{"id":1,"type":null,"category":["a","b"],"description":"D","suggestion":true,"example":{"x":1},"questions":"Why?","riskLevel":"HIGH","confidence":"85%","page":3,"Sub":{"a":[1.50]}}]`,
			`[{"id":"1","type":"suggestion","category":"a\nb","description":"D","suggestion":"true","example":"{\"x\":1}","questions":["Why?"],"risk_level":"High","confidence":0.85,"page":3,"Sub":{"a":[1.50]}}]`,
		},
		{
			"questions", `[{"description":"D","questions":[null,"a"," ",1,{"q":"b"}],"risk_level":"severe","confidence":"high"}]`,
			`[{"id":"f1","type":"suggestion","category":"General","description":"D","suggestion":"","example":"","questions":["a","1","{\"q\":\"b\"}"],"risk_level":"severe","confidence":0.5}]`,
		},
		{
			"other name stays", `[{"comment":"D","confidence":90}]`,
			`[{"id":"f1","type":"suggestion","category":"General","description":"D","suggestion":"","example":"","questions":[],"risk_level":"Low","confidence":0.9,"comment":"D"}]`,
		},
	}
	for _, tt := range tests {
		f, ok := form(Feedback, tt.in, false)
		if diff := cmp.Diff(tt.want, string(f.value)); !ok || diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestConfidence(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`0`: "0", `1`: "1", `0.90`: "0.90", `"0.7"`: "0.7", `" 70 % "`: "0.7", `100`: "1", `1.5`: "0.015", `101`: "0.5", `-1`: "0.5", `"NaN"`: "0.5",
		`".5"`: "0.5", `"high"`: "0.5", `null`: "0.5", `[]`: "0.5", `1e-3`: "1e-3", `1e999`: "0.5",
	} {
		f, ok := form(Feedback, `[{"description":"D","confidence":`+in+`}]`, false)
		if !ok || !strings.Contains(string(f.value), `"confidence":`+want+"}") {
			t.Errorf("%s: %s, want %s", in, f.value, want)
		}
	}
}

func TestManyFindings(t *testing.T) {
	t.Parallel()
	var items []string
	for i := range maxItems + 1 {
		items = append(items, fmt.Sprintf(`{"description":"%d"}`, i))
	}
	f, ok := form(Feedback, "["+strings.Join(items, ",")+"]", false)
	if !ok || f.count != maxItems || !f.partial {
		t.Errorf("%v, %d items, partial %v", ok, f.count, f.partial)
	}
}

func TestJSONForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		cut        bool
		want       string
	}{
		{"object", `{"a":1}`, false, `{"a":1}`},
		{"as it stands", "{\"a\":\n1.0}", false, "{\"a\":\n1.0}"},
		{"number", `42`, false, `42`},
		{"text", `"x"`, false, `"x"`},
		{"null", `null`, false, `null`},
		{"fence", "```json\n{\"a\":1}\n```", false, `{"a":1}`},
		{"number in a fence", "The answer:\n```\n42\n```", false, `42`},
		{"short prose around", `Here: {"a":"some longer text"}.`, false, `{"a":"some longer text"}`},
		{"trailing comma", `{"a":[1,],}`, false, `{"a":[1]}`},
		{"python", `{'a': True}`, false, `{"a":true}`},
		{"the longer of two", `{"a":1} {"b":"longer than that"}`, false, `{"b":"longer than that"}`},
		{"cut list", `[{"a":1},{"a"`, false, `[{"a":1}] partial`},
		{"cut list of numbers", `[1,2,3`, false, `[1,2] partial`},
		{"cut, yet whole", `{"a":1}`, true, `{"a":1}`},
		{"cut number", `42`, true, none},
		{"cut literal", `true`, true, none},
		{"cut object", `{"a":1,"b":`, false, none},
		{"cut wrapped list", `{"a":[1,2,3`, false, none},
		{"cut before an item", `[{"a":`, false, none},
		{"prose", `I cannot do that.`, false, none},
		{"prose with a citation", `According to [1], that is so.`, false, none},
		{"much prose", `There is a lot to say before {"a":1} and a lot after it.`, false, none},
		{"prose in braces", `{note: this is no answer}`, false, none},
		{"nothing", ``, false, none},
		{"number and prose", `42 is the answer`, false, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, ok := form(JSON, tt.text, tt.cut)
			got := none
			if ok {
				if got = string(f.value); f.partial {
					got += " partial"
				}
			}
			if got != tt.want {
				t.Errorf("%s: %s, want %s", tt.text, got, tt.want)
			}
		})
	}
}

// What was JSON comes out byte by byte, blanks and forms of numbers included.
func TestI5ValidJSONStands(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"a":  1.50, "a": 1e2}`, "[1,\n\t\"\\u00e9 \\/\"]", `"say \"no\", \"a\": 1"`, `{"b":"x\", \"c\": \"y"}`} {
		if f, ok := form(JSON, " "+text+"\n", false); !ok || string(f.value) != text || f.partial {
			t.Errorf("%s became %s", text, f.value)
		}
	}
	extra := `"x":{"y":[1.50,"a\", \"b\": \"c"]}`
	if f, ok := form(Feedback, `[{"description":"D",`+extra+`}]`, false); !ok || !strings.Contains(string(f.value), extra) {
		t.Errorf("%s lacks %s", f.value, extra)
	}
}

func TestTextForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a": `"a"`, " a\n": `"a"`, "<think>x</think> a": `"a"`, "<b>&": `"<b>&"`, "": none, " \n": none, "<think>x</think>": none,
	} {
		f, ok := form(Text, text, false)
		got := none
		if ok {
			got = string(f.value)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Whatever a model writes, what is handed out is of the form.
func FuzzForm(f *testing.F) {
	f.Add("Here:\n```json\n[{\"id\":1,\"description\":\"He said \"no\"\"},]\n```", false)
	f.Fuzz(func(t *testing.T, text string, cut bool) {
		if v, ok := form(JSON, text, cut); ok && !json.Valid(v.value) {
			t.Errorf("JSON: %s", v.value)
		}
		v, ok := form(Feedback, text, cut)
		if !ok {
			return
		}
		var items []map[string]any
		if err := json.Unmarshal(v.value, &items); err != nil || len(items) != v.count || cut && v.count == 0 {
			t.Fatalf("%d of %s: %v", v.count, v.value, err)
		}
		seen := map[string]bool{}
		for _, item := range items {
			for _, name := range itemMembers {
				if _, ok := item[name]; !ok {
					t.Errorf("%s lacks %s", v.value, name)
				}
			}
			c, isNumber := item["confidence"].(float64)
			_, isList := item["questions"].([]any)
			id, isText := item["id"].(string)
			if !isNumber || c < 0 || c > 1 || !isList || !isText || seen[id] {
				t.Errorf("item %v", item)
			}
			seen[id] = true
		}
	})
}

func BenchmarkForm(b *testing.B) {
	text := "```json\n[" + strings.Join(slices.Repeat([]string{findingA}, 10), ",\n") + "]\n```"
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if f, ok := form(Feedback, text, false); !ok || f.count != 10 {
			b.Fatal(f.count)
		}
	}
}
