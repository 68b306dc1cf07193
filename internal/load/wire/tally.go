package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
)

// CharsPerToken is the size of the text that is taken for one token.
const CharsPerToken = 4

// Bounds of an answer.
const (
	MaxJSON   = 8 << 20
	MaxSample = 300
	LineSize  = 32 << 10 // longer lines of a stream are passed over
)

// What makes a success no answer.
var (
	ErrTooLarge = errors.New("the answer is too large") // beyond the bounds
	ErrFormat   = errors.New("the answer is no JSON object")
)

// Tally is what an answer's bytes told.
type Tally struct {
	Prompt, Completion int64 // usage
	HasUsage           bool
	Events, Comments   int64 // of a stream
	Bytes              int64 // of a JSON answer
	Ended              bool  // the stream's end marker was seen
	Failed             bool  // the stream carried an error frame
	Sample             string
}

// Cost of the answer to a prompt of the given size: the reported usage, else an estimate.
func (t *Tally) Cost(promptTokens int) int64 {
	if t.HasUsage {
		return t.Prompt + t.Completion
	}
	return int64(promptTokens) + max(t.Events, t.Bytes/CharsPerToken)
}

func (t *Tally) findUsage(b []byte) {
	if prompt, completion, ok := usage(b); ok {
		t.Prompt, t.Completion, t.HasUsage = prompt, completion, true
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

// ReadJSON reads a whole JSON answer.
func (t *Tally) ReadJSON(r io.Reader) error {
	buf := takeBuffer()
	defer giveBuffer(buf)
	n, err := buf.ReadFrom(io.LimitReader(r, MaxJSON+1))
	t.Bytes = n
	if err != nil {
		return err
	}
	if n > MaxJSON {
		return ErrTooLarge
	}
	if !bytes.HasPrefix(skipSpace(buf.Bytes()), []byte("{")) {
		t.Say("no JSON object: " + string(buf.Bytes()[:min(n, MaxSample)]))
		return ErrFormat
	}
	t.findUsage(buf.Bytes())
	return nil
}

// ReadSample reads the beginning of an error's body, for the report, and the
// rest up to a bound so that the connection can be used again.
func (t *Tally) ReadSample(r io.Reader) {
	sample := make([]byte, MaxSample)
	n, err := io.ReadFull(r, sample)
	t.Say(string(sample[:n]))
	if err == nil {
		_, _ = io.CopyN(io.Discard, r, 64<<10)
	}
}

// Say makes the sample what tells why there was no answer; what was said first stays.
func (t *Tally) Say(why string) {
	if t.Sample == "" {
		t.Sample = strings.ToValidUTF8(why[:min(len(why), MaxSample)], "?")
	}
}

// Next reads the next event of a stream and reports its kind. Comments are
// counted and passed over. The error is io.EOF at the end of the bytes.
func (t *Tally) Next(r *bufio.Reader) (Kind, error) {
	for {
		line, err := r.ReadSlice('\n')
		kind := t.line(line)
		if errors.Is(err, bufio.ErrBufferFull) {
			err = skipLine(r)
		}
		if kind != None || err != nil {
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

// Kind is what a line of a stream is.
type Kind uint8

// The kinds.
const (
	None  Kind = iota // a comment, a blank line, a field without meaning here
	Chunk             // a piece of the answer
	Error             // an error frame
	Done              // the end marker
)

func (t *Tally) line(line []byte) Kind {
	if bytes.HasPrefix(line, []byte(":")) {
		t.Comments++
		return None
	}
	data, found := bytes.CutPrefix(line, []byte("data:"))
	if !found {
		return None
	}
	data = bytes.TrimSpace(data)
	if string(data) == "[DONE]" {
		t.Ended = true
		return Done
	}
	if rest, object := bytes.CutPrefix(data, []byte("{")); object && bytes.HasPrefix(skipSpace(rest), []byte(`"error"`)) {
		t.Failed = true
		t.Say(string(data[:min(len(data), MaxSample)]))
		return Error
	}
	t.Events++
	t.findUsage(data)
	return Chunk
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

// TakeReader returns a pooled reader of r, to be given back by GiveReader.
func TakeReader(r io.Reader) *bufio.Reader {
	if b, ok := readers.Get().(*bufio.Reader); ok {
		b.Reset(r)
		return b
	}
	return bufio.NewReaderSize(r, LineSize)
}

// GiveReader gives a reader back, which must not be used again.
func GiveReader(b *bufio.Reader) {
	b.Reset(nil)
	readers.Put(b)
}
