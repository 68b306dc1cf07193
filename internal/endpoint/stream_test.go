package endpoint

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/llm"
)

func delta(content string) string {
	return `{"choices":[{"index":0,"delta":{"content":` + content + `}}]}`
}

func TestStream(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stream, text string
		err                error
	}{
		{"plain", "data: " + delta(`"a"`) + "\n\ndata: " + delta(`"b"`) + "\n\ndata: [DONE]\n\n", "ab", nil},
		{"no blank", "data:" + delta(`"a"`) + "\n\n", "a", nil},
		{"crlf", "data: " + delta(`"a"`) + "\r\n\r\ndata: " + delta(`"b"`) + "\r\n\r\n", "ab", nil},
		{"cr", "data: " + delta(`"a"`) + "\r\rdata: " + delta(`"b"`) + "\r\r", "ab", nil},
		{"comments", ": queued position=3\n\n:\ndata: " + delta(`"a"`) + "\n: x\n\n", "a", nil},
		{"other fields", "event: message\nid: 7\nretry: 10\ndata: " + delta(`"a"`) + "\n\n", "a", nil},
		{"two lines", "data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"a\"}}]}\n\n", "a", nil},
		{"no end", "data: " + delta(`"a"`), "a", nil},
		{"half an end", "data: " + delta(`"a"`) + "\n", "a", nil},
		{"parts", "data: " + delta(`[{"type":"text","text":"a"},{"type":"image"},{"text":"b"}]`) + "\n\n", "ab", nil},
		{"null", "data: " + delta(`null`) + "\n\n", "", nil},
		{"other choices", `data: {"choices":[{"index":1,"delta":{"content":"x"}},{"index":0,"delta":{"content":"a"}}]}` + "\n\n", "a", nil},
		{"empty data", "data:\ndata\n\n", "", errEvent},
		{"no chunk", "data: nonsense\n\n", "", errEvent},
		{"error", "data: " + delta(`"a"`) + "\n\ndata: {\"error\":{\"message\":\"overloaded\"}}\n\n", "a", errInBand},
		{"error as text", "data: {\"error\":\"overloaded\"}\n\n", "", errInBand},
		{"no error", "data: {\"error\":null,\"choices\":[]}\n\n", "", nil},
		{"long line", "data: " + strings.Repeat("x", maxEvent), "", errEvent},
		{"long event", strings.Repeat("data: "+strings.Repeat("x", 1<<16)+"\n", 20), "", errEvent},
		{"long text", strings.Repeat("data: "+delta(`"`+strings.Repeat("x", 1000)+`"`)+"\n\n", 11), strings.Repeat("x", 10_000), errTooBig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{len(tt.stream), 1, 7} {
				if len(tt.stream) > 1<<16 {
					size = 1 << 15
				}
				s := said{max: 10_000}
				err := feed(&s, tt.stream, size)
				if s.text.String() != tt.text || !errors.Is(err, tt.err) {
					t.Errorf("in pieces of %d: %q, %v; want %q, %v", size, s.text.String(), err, tt.text, tt.err)
				}
			}
		})
	}
}

// feed hands a stream over in pieces.
func feed(s *said, stream string, size int) error {
	var e events
	for from := 0; from < len(stream); from += size {
		if err := e.feed([]byte(stream[from:min(from+size, len(stream))]), s.take); err != nil {
			return err
		}
	}
	return e.end(s.take)
}

func TestSaid(t *testing.T) {
	t.Parallel()
	s := said{max: 100}
	for _, c := range []string{
		`{"model":"m-1\n","choices":[{"delta":{"role":"assistant","content":""}}]}`,
		`{"choices":[{"delta":{"content":"No"},"finish_reason":null}]}`,
		`{"choices":[{"delta":{"refusal":"I may not"},"finish_reason":"stop"}]}`,
		`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":-1}}`,
		`{"choices":null,"usage":null}`,
	} {
		if err := s.take([]byte(c)); err != nil {
			t.Fatal(err)
		}
	}
	if s.text.String() != "No" || s.model != "m-1_" || s.finish != "stop" || !s.refused || s.usage != (usage{Input: 5}) {
		t.Errorf("%q %+v", s.text.String(), s)
	}
}

// What a client is told on the way.
func TestTells(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told []Update
		r := newReply(Feedback, 1<<20, func(u Update) { told = append(told, u) })
		_ = r.Queued(admission.Status{Position: 2, ETA: time.Second, Reason: "turn"})
		_ = r.Queued(admission.Status{})
		r.Begin(&llm.Answer{Stream: true}, &dispatch.Meta{})
		for _, piece := range []string{"[", findingA, ",", findingB, `,{"id"`} {
			<-time.After(tellEvery / 2)
			if err := r.Write([]byte("data: " + delta(string(quote(piece))) + "\n\n")); err != nil {
				t.Fatal(err)
			}
		}
		r.End(nil, &dispatch.Meta{Attempts: 1})
		var got []string
		for _, u := range told {
			got = append(got, u.Progress.Note)
		}
		want := []string{"", "", "", "0 items received", "1 items received", "2 items received"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("notes (-want +got):\n%s", diff)
		}
		if told[0].Position != 2 || told[0].Started || !told[1].Started || !told[2].Started {
			t.Errorf("told %+v", told[:3])
		}
		percent := 0
		for _, u := range told[3:] {
			if u.Progress.Percent < percent || u.Progress.Percent > 95 {
				t.Errorf("%d %% after %d %%", u.Progress.Percent, percent)
			}
			percent = u.Progress.Percent
		}
	})
}

func TestCounter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`[{"a":{}},{"b":"}]{"},{`:                 2,
		`Here's: {"feedback":[{"a":"\"}"},{}]} x`: 2,
		`no "list" {}`:                            0,
		`]]}}[{}`:                                 1,
	} {
		var c counter
		for i := range text {
			c.count(text[:i])
		}
		if got := c.count(text); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// A stream means the same however it is cut.
func FuzzStream(f *testing.F) {
	f.Add("data: "+delta(`"a"`)+"\r\n\r\n: c\n\ndata: [DONE]\n\n", 3)
	f.Fuzz(func(t *testing.T, stream string, size int) {
		one, cut := said{max: 1000}, said{max: 1000}
		err := feed(&one, stream, len(stream)+1)
		if again := feed(&cut, stream, 1+(size&0xff)); (again == nil) != (err == nil) || one.text.String() != cut.text.String() {
			t.Errorf("%q, %v; in pieces %q, %v", one.text.String(), err, cut.text.String(), again)
		}
	})
}
