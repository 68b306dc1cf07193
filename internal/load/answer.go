package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

// Bounds of an answer.
const (
	maxJSON   = 8 << 20
	maxSample = 300
	lineSize  = 32 << 10 // longer lines of a stream are passed over
)

// errTooLarge is an answer beyond the bounds.
var errTooLarge = errors.New("the answer is too large")

// tally is what an answer's bytes told.
type tally struct {
	prompt, completion int64 // usage
	hasUsage           bool
	events, comments   int64 // of a stream
	bytes              int64 // of a JSON answer
	done               bool  // the stream's end marker was seen
	failed             bool  // the stream carried an error frame
	sample             string
}

// cost of the answer to a prompt of the given size: the reported usage, else an estimate.
func (t *tally) cost(promptTokens int) int64 {
	if t.hasUsage {
		return t.prompt + t.completion
	}
	return int64(promptTokens) + max(t.events, t.bytes/charsPerToken)
}

func (t *tally) findUsage(b []byte) {
	if prompt, completion, ok := usage(b); ok {
		t.prompt, t.completion, t.hasUsage = prompt, completion, true
	}
}

// usage finds the usage object of an answer without decoding the rest: the text
// of an answer cannot hold the key unescaped and followed by an object.
func usage(b []byte) (prompt, completion int64, ok bool) {
	key := []byte(`"usage"`)
	for {
		i := bytes.Index(b, key)
		if i < 0 {
			return 0, 0, false
		}
		b = b[i+len(key):]
		if rest, found := bytes.CutPrefix(skipSpace(b), []byte(":")); found && bytes.HasPrefix(skipSpace(rest), []byte("{")) {
			prompt, ok = number(rest, `"prompt_tokens"`)
			completion, _ = number(rest, `"completion_tokens"`)
			return prompt, completion, ok
		}
	}
}

// number reads the integer after a key; digits beyond 15 are no token count.
func number(b []byte, key string) (int64, bool) {
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return 0, false
	}
	b, found := bytes.CutPrefix(skipSpace(b[i+len(key):]), []byte(":"))
	if !found {
		return 0, false
	}
	var n int64
	digits := 0
	for _, c := range skipSpace(b) {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
		if digits++; digits > 15 {
			return 0, false
		}
	}
	return n, digits > 0
}

func skipSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// readJSON reads a whole JSON answer.
func (t *tally) readJSON(r io.Reader) error {
	buf := takeBuffer()
	defer giveBuffer(buf)
	n, err := buf.ReadFrom(io.LimitReader(r, maxJSON+1))
	t.bytes = n
	if err != nil {
		return err
	}
	if n > maxJSON {
		return errTooLarge
	}
	t.findUsage(buf.Bytes())
	return nil
}

// readSample reads the beginning of an error's body, for the report, and the
// rest up to a bound so that the connection can be used again.
func (t *tally) readSample(r io.Reader) {
	sample := make([]byte, maxSample)
	n, err := io.ReadFull(r, sample)
	t.sample = string(bytes.ToValidUTF8(sample[:n], []byte("?")))
	if err == nil {
		_, _ = io.CopyN(io.Discard, r, 64<<10)
	}
}

// next reads the next event of a stream and reports its kind. Comments are
// counted and passed over. The error is io.EOF at the end of the bytes.
func (t *tally) next(r *bufio.Reader) (eventKind, error) {
	for {
		line, err := r.ReadSlice('\n')
		kind := t.line(line)
		if errors.Is(err, bufio.ErrBufferFull) {
			err = skipLine(r)
		}
		if kind != eventNone || err != nil {
			return kind, err
		}
	}
}

func skipLine(r *bufio.Reader) error {
	for {
		if _, err := r.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

type eventKind uint8

const (
	eventNone  eventKind = iota // a comment, a blank line, a field without meaning here
	eventChunk                  // a piece of the answer
	eventError                  // an error frame
	eventDone                   // the end marker
)

func (t *tally) line(line []byte) eventKind {
	if bytes.HasPrefix(line, []byte(":")) {
		t.comments++
		return eventNone
	}
	data, found := bytes.CutPrefix(line, []byte("data:"))
	if !found {
		return eventNone
	}
	data = bytes.TrimSpace(data)
	if string(data) == "[DONE]" {
		t.done = true
		return eventDone
	}
	if rest, object := bytes.CutPrefix(data, []byte("{")); object && bytes.HasPrefix(skipSpace(rest), []byte(`"error"`)) {
		t.failed = true
		t.sample = string(bytes.ToValidUTF8(data[:min(len(data), maxSample)], []byte("?")))
		return eventError
	}
	t.events++
	t.findUsage(data)
	return eventChunk
}

// What answers are read into, used again.
var buffers, readers sync.Pool

func takeBuffer() *bytes.Buffer {
	if b, ok := buffers.Get().(*bytes.Buffer); ok {
		return b
	}
	return new(bytes.Buffer)
}

func giveBuffer(b *bytes.Buffer) {
	if b.Cap() <= 256<<10 {
		b.Reset()
		buffers.Put(b)
	}
}

func takeReader(r io.Reader) *bufio.Reader {
	if b, ok := readers.Get().(*bufio.Reader); ok {
		b.Reset(r)
		return b
	}
	return bufio.NewReaderSize(r, lineSize)
}

func giveReader(b *bufio.Reader) {
	b.Reset(nil)
	readers.Put(b)
}
