package sim

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: what encoding/json accepts as a chat request is read to the same
// values, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(`{"model":"m","messages":[{"role":"user","content":"a \"b\" \\ \u00e9 \ud83d\ude00"}],"max_tokens":5}`)
	f.Add(`{"model":"m","stream":true,"messages":[{"content":[{"type":"text","text":"x"},{"type":"image_url"}],"role":"user"}]}`)
	f.Add(`{"a":[1,2.5e3,-1,null,true,{"b":{}}],"model":"\u006d"} `)
	f.Add(`{"model":"m","messages":[{"content":"\\"},{"content":null}],"stream_options":{"include_usage":true}}`)
	f.Add(`[[[[`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parse(opChat, []byte(text), "")
		var want struct {
			Model    string
			Stream   bool
			Messages []struct{ Content string }
		}
		if !utf8.ValidString(text) || json.Unmarshal([]byte(text), &want) != nil || odd(text) {
			return
		}
		if err != nil {
			if want.Model != "" && len(want.Messages) > 0 {
				t.Fatalf("%v for %s", err, text)
			}
			return
		}
		chars, size := 0, 0
		for _, m := range want.Messages {
			chars += utf8.RuneCountInString(m.Content)
			size += len(m.Content)
		}
		if r.model != want.Model || r.stream != want.Stream || r.chars != int64(chars) || r.size != int64(size) {
			t.Fatalf("%+v, want %+v with %d characters in %d bytes", r, want, chars, size)
		}
	})
}

// odd: encoding/json matches keys in any case, takes the last of two, and
// replaces lone surrogates; a provider need not.
func odd(text string) bool {
	lower := strings.ToLower(text)
	for _, key := range []string{`model"`, `messages"`, `content"`, `stream"`} {
		if strings.Count(lower, key) > 1 || strings.Count(lower, key) != strings.Count(text, `"`+key) {
			return true
		}
	}
	return strings.Contains(lower, `\ud`) || strings.Contains(lower, "ſ") || strings.Contains(lower, "k") || strings.Contains(text, `\u00`)
}

func TestScannerAgreesOnStructure(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`, `[]`, `{"a":1}`, ` {"a" : [ ] , "b":"\\"} `, `{"a":{"b":[true,false,null,-1e5,"x"]}}`,
		`{`, `}`, `{]`, `[}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[,1]`, `[1 2]`, `{"a":tru}`, `{"a":"x}`, `{"a":"x\"}`,
		`{a:1}`, `[1]]`, `{"a":1}{`, `"`, ``, `nul`, `[-]`, `[1.2.3]`, `[[[[[]]]]]`,
	} {
		s := scanner{b: []byte(text)}
		s.value()
		if got := !s.bad && s.peek() == 0; got != json.Valid([]byte(text)) {
			t.Errorf("%s: valid %v", text, got)
		}
	}
}
