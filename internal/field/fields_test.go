package field

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millrace/millrace/internal/llm"
)

var longText = strings.Repeat("word and word, ", 1000)

var readable = map[string]struct {
	body string
	op   llm.Operation
	want Fields
}{
	"smallest": {
		`{"model":"m","messages":[]}`, llm.OpChat,
		Fields{Model: "m"},
	},
	"everything": {
		`{"model":"m","messages":[{"role":"system","content":"abc"},{"role":"user","content":[{"type":"text","text":"defg"},
			 {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"stream":true,
			 "stream_options":{"include_usage":true},"max_tokens":7,"user":"u","temperature":0.5,"stop":["x"]}`, llm.OpChat,
		Fields{Model: "m", Stream: true, WantUsage: true, User: "u", Size: llm.Size{TextBytes: 7, Messages: 2, Images: 1, MaxOutput: 7}},
	},
	"the larger bound, times the choices": {
		`{"model":"m","messages":[],"max_tokens":5,"max_completion_tokens":9,"n":3}`, llm.OpChat,
		Fields{Model: "m", Size: llm.Size{MaxOutput: 27, Choices: 3}},
	},
	"safety_identifier goes before user": {
		`{"safety_identifier":"s","user":"u","model":"m","messages":[]}`, llm.OpChat,
		Fields{Model: "m", User: "s"},
	},
	"null is as good as absent": {
		`{"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[]}],"max_tokens":null,"stream":null,"user":null,"n":null,"stream_options":null}`, llm.OpChat,
		Fields{Model: "m", Size: llm.Size{Messages: 1}},
	},
	"escapes count as what they stand for": {
		`{"model":"m\u0021","messages":[{"content":"a\n\t\"\\\u0041\u00e9\u20ac\ud83d\ude00"}]}`, llm.OpChat,
		Fields{Model: "m!", Size: llm.Size{TextBytes: 1 + 4 + 1 + 2 + 3 + 4, Messages: 1}},
	},
	"escaped names are the same names": {
		`{"mod\u0065l":"m","messages":[{"cont\u0065nt":"abc"}]}`, llm.OpChat,
		Fields{Model: "m", Size: llm.Size{TextBytes: 3, Messages: 1}},
	},
	"text of tools": {
		`{"model":"m","messages":[{"tool_calls":[{"function":{"arguments":"12345"}}]}],"tools":[{"name":"abc"}]}`, llm.OpChat,
		Fields{Model: "m", Size: llm.Size{TextBytes: int64(len("function"+"arguments"+"12345") + len("name"+"abc")), Messages: 1}},
	},
	"long text": {
		`{"model":"m","messages":[{"content":"` + longText + `"}]}`, llm.OpChat,
		Fields{Model: "m", Size: llm.Size{TextBytes: int64(len(longText)), Messages: 1}},
	},
	"prompt": {
		`{"model":"m","prompt":"hello"}`, llm.OpCompletion,
		Fields{Model: "m", Size: llm.Size{TextBytes: 5, Messages: 1}},
	},
	"no prompt": {`{"model":"m"}`, llm.OpCompletion, Fields{Model: "m"}},
	"inputs": {
		`{"model":"m","input":["ab","cde"]}`, llm.OpEmbedding,
		Fields{Model: "m", Size: llm.Size{TextBytes: 5, Messages: 2}},
	},
	"tokens": {
		`{"model":"m","input":[1,2,3]}`, llm.OpEmbedding,
		Fields{Model: "m", Size: llm.Size{TextBytes: 12, Messages: 1}},
	},
	"lists of tokens": {
		`{"model":"m","input":[[1,2,3],[4]]}`, llm.OpEmbedding,
		Fields{Model: "m", Size: llm.Size{TextBytes: 16, Messages: 2}},
	},
	"unknown members of any kind": {
		` { "x" : [ { } , [ ] , -0.5e+3 , 1E9, true , false , null , "" ] , "model" : "m" , "messages" : [ ] } `, llm.OpChat,
		Fields{Model: "m"},
	},
	"deep, but not too deep": {
		`{"model":"m","messages":[],"x":` + strings.Repeat("[", 150) + strings.Repeat("]", 150) + `}`, llm.OpChat,
		Fields{Model: "m"},
	},
}

func TestRead(t *testing.T) {
	for name, tc := range readable {
		t.Run(name, func(t *testing.T) {
			got, err := Read([]byte(tc.body), tc.op)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(Fields{}, "Sample")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestI1UnreadableBodiesAreRefused(t *testing.T) {
	with := func(member string) string { return `{"model":"m","messages":[],` + member + `}` }
	tests := map[string]struct {
		body, param string
		op          llm.Operation
	}{
		"empty":                       {"", "", llm.OpChat},
		"no object":                   {`[1]`, "", llm.OpChat},
		"a text":                      {`"model"`, "", llm.OpChat},
		"cut":                         {`{"model":"m","messages":[`, "", llm.OpChat},
		"cut in a text":               {`{"model":"m`, "", llm.OpChat},
		"trailing data":               {`{"model":"m","messages":[]} {}`, "", llm.OpChat},
		"trailing comma":              {`{"model":"m","messages":[],}`, "", llm.OpChat},
		"bad escape":                  {with(`"x":"\x"`), "", llm.OpChat},
		"half an escape":              {with(`"x":"\u12"`), "", llm.OpChat},
		"control character":           {with("\"x\":\"a\nb\""), "", llm.OpChat},
		"bare word":                   {with(`"x":nul`), "", llm.OpChat},
		"NaN":                         {with(`"max_tokens":NaN`), "max_tokens", llm.OpChat},
		"leading zero":                {with(`"x":01`), "", llm.OpChat},
		"too deep":                    {`{"model":"m","messages":[],"x":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`, "", llm.OpChat},
		"far too deep":                {strings.Repeat("[", 1<<20), "", llm.OpChat},
		"far too deep objects":        {strings.Repeat(`{"a":`, 1<<18), "", llm.OpChat},
		"no model":                    {`{"messages":[]}`, "model", llm.OpChat},
		"empty model":                 {`{"model":"","messages":[]}`, "model", llm.OpChat},
		"null model":                  {`{"model":null,"messages":[]}`, "model", llm.OpChat},
		"model is a number":           {`{"model":1,"messages":[]}`, "model", llm.OpChat},
		"model too long":              {`{"model":"` + strings.Repeat("m", 300) + `","messages":[]}`, "model", llm.OpChat},
		"no messages":                 {`{"model":"m"}`, "messages", llm.OpChat},
		"messages is a text":          {`{"model":"m","messages":"hi"}`, "messages", llm.OpChat},
		"a message is a text":         {`{"model":"m","messages":["hi"]}`, "messages", llm.OpChat},
		"no input":                    {`{"model":"m"}`, "input", llm.OpEmbedding},
		"input is a number":           {`{"model":"m","input":1}`, "input", llm.OpEmbedding},
		"prompt is an object":         {`{"model":"m","prompt":{}}`, "prompt", llm.OpCompletion},
		"stream is a text":            {with(`"stream":"true"`), "stream", llm.OpChat},
		"stream_options is a text":    {with(`"stream_options":"x"`), "stream_options", llm.OpChat},
		"include_usage is a number":   {with(`"stream_options":{"include_usage":1}`), "stream_options.include_usage", llm.OpChat},
		"include_usage twice":         {with(`"stream_options":{"include_usage":true,"include_usage":false}`), "stream_options.include_usage", llm.OpChat},
		"negative":                    {with(`"max_tokens":-1`), "max_tokens", llm.OpChat},
		"2^31":                        {with(`"max_tokens":2147483648`), "max_tokens", llm.OpChat},
		"2^63":                        {with(`"max_completion_tokens":9223372036854775808`), "max_completion_tokens", llm.OpChat},
		"1e19":                        {with(`"max_tokens":10000000000000000000`), "max_tokens", llm.OpChat},
		"1e400":                       {with(`"max_tokens":1e400`), "max_tokens", llm.OpChat},
		"1e3":                         {with(`"max_tokens":1e3`), "max_tokens", llm.OpChat},
		"1e3 in quotes":               {with(`"max_tokens":"1e3"`), "max_tokens", llm.OpChat},
		"fraction":                    {with(`"max_tokens":1.5`), "max_tokens", llm.OpChat},
		"n too large":                 {with(`"n":1000000`), "n", llm.OpChat},
		"model twice":                 {with(`"model":"other"`), "model", llm.OpChat},
		"max_tokens twice":            {with(`"max_tokens":1,"max_tokens":1000`), "max_tokens", llm.OpChat},
		"stream twice":                {with(`"stream":false,"stream":true`), "stream", llm.OpChat},
		"model twice, once escaped":   {with(`"\u006dodel":"other"`), "model", llm.OpChat},
		"model twice, once in caps":   {with(`"MODEL":"other"`), "model", llm.OpChat},
		"max_tokens twice in a mix":   {with(`"Max_Tokens":100000`), "max_tokens", llm.OpChat},
		"messages twice":              {with(`"messages":[]`), "messages", llm.OpChat},
		"input is a list of unclosed": {`{"model":"m","input":["a"`, "", llm.OpEmbedding},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]byte(tc.body), tc.op)
			var f *Fault
			if !errors.As(err, &f) {
				t.Fatalf("got %v, want a fault", err)
			}
			if f.Param != tc.param || f.Message == "" {
				t.Errorf("param %q: %s", f.Param, f.Message)
			}
		})
	}
}

// What is accepted is exactly what encoding/json calls valid, within the depth;
// and what is read is what it reads.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","messages":[{"role":"user","content":"hi"}]}`, `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`, `{"model":"m\u0041","messages":[{"content":"a\ud83d\ude00b"}],"max_tokens":12,"n":2}`,
		`{"model":"m","input":[[1,2],"x",{"a":[]}]}`, `{"model":"m","prompt":"\\\"","x":-0.1e-7,"y":[true,false,null]}`,
		"{\"model\":\"\x80\",\"messages\":[]}", `{"a":"` + strings.Repeat("x", 100) + `\n"}`, `{"":{}}`, `{"model":"m","messages":[]}x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &scanner{b: body}
		err := s.value()
		if err == nil {
			err = s.end()
		}
		valid := json.Valid(body)
		if err == nil && !valid || errors.Is(err, errSyntax) && valid {
			t.Fatalf("scanner says %v, encoding/json valid=%v", err, valid)
		}
		got, err := Read(body, llm.OpCompletion)
		if err != nil {
			return
		}
		checkRead(t, body, got)
	})
}

// checkRead compares what was read with what encoding/json reads.
func checkRead(t *testing.T, body []byte, got Fields) {
	t.Helper()
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) || !json.Valid(body) {
		t.Fatalf("accepted %q", body)
	}
	var want struct {
		Model  string `json:"model"`
		Stream bool   `json:"stream"`
		Tokens int64  `json:"max_tokens"`
		More   int64  `json:"max_completion_tokens"`
		N      int64  `json:"n"`
		Best   int64  `json:"best_of"`
	}
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatalf("accepted %q, encoding/json says %v", body, err)
	}
	output := max(want.Tokens, want.More) * max(want.N, want.Best, 1)
	if got.Model != want.Model && !strings.Contains(want.Model, "\ufffd") || got.Stream != want.Stream || got.Size.MaxOutput != output {
		t.Fatalf("%q: read %+v, want %+v", body, got, want)
	}
	if s := got.Size; s.TextBytes < 0 || s.Messages < 0 || s.Images < 0 || s.MaxOutput < 0 || s.TextBytes > int64(4*len(body)) {
		t.Fatalf("%q: size %+v", body, s)
	}
}

// Numbers at the edge of their range, and all bounds at once.
func TestI2Numbers(t *testing.T) {
	const most = int64(math.MaxInt32) * maxChoice
	for body, want := range map[string]int64{
		`"max_tokens":0`: 0, `"max_tokens":2147483647`: math.MaxInt32, `"max_tokens":2147483647,"n":1024`: most, `"max_tokens":7,"best_of":0`: 7,
		`"max_tokens":2147483648`: -1, `"max_tokens":1,"n":1025`: -1, `"max_tokens":-0`: -1, `"max_tokens":18446744073709551617`: -1, `"n":1e2`: -1,
	} {
		got, err := Read([]byte(`{"model":"m","messages":[],`+body+`}`), llm.OpChat)
		if (err != nil) != (want < 0) || err == nil && got.Size.MaxOutput != want {
			t.Errorf("%s: %d, %v", body, got.Size.MaxOutput, err)
		}
	}
}

func TestI3ReadingAllocatesLittle(t *testing.T) {
	body := []byte(`{"model":"model-name","messages":[{"role":"user","content":"` + strings.Repeat("some words ", 2000) + `"}],"stream":true,"tools":[{"a":{"b":"c"}}]}`)
	if n := testing.AllocsPerRun(50, func() { _, _ = Read(body, llm.OpChat) }); n > 4 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRead(b *testing.B) {
	for name, text := range map[string]string{
		"200B": strings.Repeat("some words ", 10),
		"24KB": strings.Repeat("some words and then some more words in a line of usual length\\n", 380),
	} {
		body := []byte(`{"model":"model-name","messages":[{"role":"user","content":"` + text + `"}],"stream":true}`)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Read(body, llm.OpChat); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
