package crowd

import (
	"errors"
	"strings"
	"testing"
)

// TestForeign: an answer of somebody else is told from an own one, from the part of
// one, and from an error.
func TestForeign(t *testing.T) {
	l := &loop{Crowd: New("", 1)}
	delta := func(parts ...string) string {
		return `data: {"content":"` + strings.Join(parts, `"}`+"\n\n"+`data: {"content":"`) + `"}`
	}
	broken := errors.New("broken off")
	for _, c := range []struct {
		name    string
		text    string
		status  int
		err     error
		stream  bool
		good    bool
		foreign bool
	}{
		{name: "own", text: `{"content":"nce-1-2"}`, status: 200, good: true},
		{name: "another's", text: `{"content":"nce-1-3"}`, status: 200, foreign: true},
		{name: "longer", text: `{"content":"nce-1-22"}`, status: 200, foreign: true},
		{name: "empty", text: `{"content":""}`, status: 200},
		{name: "stream", text: delta("", "nce-", "1-2") + "\n\ndata: [DONE]", status: 200, stream: true, good: true},
		{name: "stream without its end", text: delta("", "nce-", "1-2"), status: 200, stream: true},
		{name: "part", text: delta("nce-"), status: 200, stream: true, err: broken},
		{name: "part of another's", text: delta("nce-", "7"), status: 200, stream: true, err: broken, foreign: true},
		{name: "error", text: `{"error":{}}`, status: 502},
	} {
		l.buf.Reset()
		l.buf.WriteString(c.text)
		err := l.check(&wish{nonce: "nce-1-2", owner: -1, stream: c.stream}, c.status, c.err)
		if (err == nil) != c.good || errors.Is(err, errForeign) != c.foreign {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	l.buf.Reset()
	l.buf.WriteString(`{"id":"chatcmpl-a","content":"nce-1-2"}`)
	for _, c := range []struct {
		owner   int
		foreign bool
	}{{1, false}, {1, false}, {2, true}} {
		if err := l.check(&wish{nonce: "nce-1-2", owner: c.owner}, 200, nil); errors.Is(err, errForeign) != c.foreign {
			t.Errorf("an id seen by %d: %v", c.owner, err)
		}
	}
}
