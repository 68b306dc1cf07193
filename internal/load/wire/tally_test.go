package wire

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const usageJSON = `"usage":{"prompt_tokens":50,"prompt_tokens_details":{"cached_tokens":7},"completion_tokens":10,"total_tokens":60}`

// readAll reads a stream to the end of its bytes.
func readAll(t *Tally, r io.Reader) []Kind {
	lines := bufio.NewReaderSize(r, 64)
	var kinds []Kind
	for {
		kind, err := t.Next(lines)
		kinds = append(kinds, kind)
		if err != nil {
			return kinds
		}
	}
}

// oneByte reads a byte at a time.
type oneByte struct{ r io.Reader }

// Read implements io.Reader.
func (o *oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestI3Usage(t *testing.T) {
	for _, c := range []struct {
		body               string
		prompt, completion int64
		ok                 bool
	}{
		{"", 0, 0, false},
		{`{"usage":null}`, 0, 0, false},
		{`{"usage":null,"prompt_tokens":7}`, 0, 0, false},
		{`{` + usageJSON + `}`, 50, 10, true},
		{`{"usage" : {"completion_tokens_details":{},"completion_tokens" : 3 ,` + "\n" + `"prompt_tokens": 4}}`, 4, 3, true},
		{`{"usage":{"prompt_tokens":8,"total_tokens":8}}`, 8, 0, true},
		{`{"usage":{"prompt_tokens":-1}}`, 0, 0, false},
		{`{"usage":{"prompt_tokens":12345678901234567890}}`, 0, 0, false},
		{`{"usage":{"prompt_tokens":`, 0, 0, false},
		{`{"usage":{"prompt_tokens"`, 0, 0, false},
		{`{"token":"usage","x":{"text":"\"usage\":{\"prompt_tokens\":1}"},` + usageJSON + `}`, 50, 10, true},
	} {
		prompt, completion, ok := usage([]byte(c.body))
		if ok != c.ok || ok && (prompt != c.prompt || completion != c.completion) {
			t.Errorf("usage(%s) = %d, %d, %v", c.body, prompt, completion, ok)
		}
	}
}

func FuzzI1Stream(f *testing.F) {
	f.Add("data: {}\n\n: x\n\ndata: [DONE]\n\n")
	f.Add("data: {\"error\":1}\r\ndata:{" + usageJSON + "}")
	f.Fuzz(func(t *testing.T, in string) {
		var whole Tally
		kinds := readAll(&whole, strings.NewReader(in))
		var single Tally
		if diff := cmp.Diff(kinds, readAll(&single, &oneByte{strings.NewReader(in)})); diff != "" {
			t.Fatalf("events depend on how the bytes come:\n%s", diff)
		}
		if whole != single || whole.Prompt < 0 || whole.Completion < 0 {
			t.Fatalf("%+v and %+v", whole, single)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	chunk := `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}],"usage":null}` + "\n\n"
	text := strings.Repeat(chunk, 100) + "data: [DONE]\n\n"
	lines := bufio.NewReaderSize(nil, LineSize)
	b.ReportAllocs()
	for b.Loop() {
		var t Tally
		lines.Reset(strings.NewReader(text))
		for !t.Ended {
			if _, err := t.Next(lines); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/chunk")
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"0af3": true, "A-b_9": true, "": false, "a/b": false, "..": false, "a b": false, "%2e": false, "?x": false, strings.Repeat("a", 129): false,
	} {
		if got := (&Reply{TaskID: id}).ValidID(); got != want {
			t.Errorf("ValidID of %.20q is %v", id, got)
		}
	}
}

func TestI2BoundedAnswers(t *testing.T) {
	var tally Tally
	if err := tally.ReadJSON(io.LimitReader(endless{}, MaxJSON+10)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	tally = Tally{}
	tally.ReadSample(io.LimitReader(endless{}, 1<<20))
	if len(tally.Sample) != MaxSample {
		t.Errorf("a sample of %d bytes", len(tally.Sample))
	}
}

// endless is a text without end.
type endless struct{}

// Read implements io.Reader.
func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestReadJSONWantsAnObject: a page that some server gives with status 200 is no answer.
func TestReadJSONWantsAnObject(t *testing.T) {
	for body, ok := range map[string]bool{
		" \n{\"usage\":{}}": true, "{}": true, "<!doctype html><p>Welcome": false, "": false, "[]": false, "\"ok\"": false,
	} {
		var tally Tally
		err := tally.ReadJSON(strings.NewReader(body))
		if (err == nil) != ok || !ok && (!errors.Is(err, ErrFormat) || tally.Sample != "no JSON object: "+body) {
			t.Errorf("%q: %v, sample %q", body, err, tally.Sample)
		}
	}
}
