package openai

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/millrace/millrace/internal/llm"
)

const (
	firstBuffer = 4 << 10
	maxKept     = 64 << 10 // larger buffers go to the collector, not to the pool
	maxEvent    = 1 << 20
)

var (
	doneMark = []byte("[DONE]")
	dataMark = []byte("data:")
)

// stream is the Body of an answer that comes as events.
type stream struct {
	source *source
	hide   bool // the client did not ask for the chunk that only carries usage

	buf    []byte // bytes read and not yet passed on
	passed int    // how many of them the last Next has dealt with
	split  splitter
	begun  bool  // something with data has been passed on
	held   int   // bytes at the head of buf that wait for it: comments
	read   error // what ended reading
	end    error // what the next empty-handed Next returns
	done   bool  // the end mark has come

	usage   llm.Usage
	counted int64
}

func newStream(s *source, hide bool) *stream {
	return &stream{source: s, hide: hide, buf: s.client.small.get(firstBuffer)}
}

// Usage implements llm.Body.
func (s *stream) Usage() llm.Usage { return s.usage }

// Counted implements llm.Body.
func (s *stream) Counted() int64 { return s.counted }

// Next implements llm.Body: it returns all whole events that have arrived.
func (s *stream) Next() ([]byte, error) {
	if s.source.closed {
		return nil, s.source.misuse()
	}
	for {
		s.drop()
		if piece := s.collect(); len(piece) > 0 {
			return piece, nil
		}
		if s.end != nil {
			return nil, s.end
		}
		if s.read != nil {
			s.finish()
			continue
		}
		s.fill()
	}
}

// drop forgets what the last Next has passed on.
func (s *stream) drop() {
	if s.passed == 0 {
		return
	}
	n := copy(s.buf, s.buf[s.passed:])
	s.buf = s.buf[:n]
	s.split.shift(s.passed)
	s.passed = 0
}

// collect takes the whole events of the buffer and returns what of them is to
// be forwarded. Behind a hidden event the others move up: they leave in one piece.
// What comes before the first data waits for it, so that an error that comes
// first is a failure before the first byte, whatever stands in front of it.
func (s *stream) collect() []byte {
	kept := s.held
	for s.end == nil {
		ev, ok := s.split.next(s.buf)
		if !ok {
			break
		}
		if ev.to-ev.from > maxEvent {
			s.end = s.tooLong()
			break
		}
		s.passed = ev.to
		if !s.take(ev) {
			continue
		}
		if kept != ev.from {
			copy(s.buf[kept:], s.buf[ev.from:ev.to])
		}
		kept += ev.to - ev.from
	}
	if s.end == nil && len(s.buf)-s.passed > maxEvent {
		s.end = s.tooLong()
	}
	if s.begun {
		s.held = 0
		return s.buf[:kept]
	}
	if s.end == nil {
		s.held, s.passed = kept, 0
	}
	return nil
}

// take meters one event and reports whether it is to be forwarded.
func (s *stream) take(ev event) bool {
	if ev.dataLines == 0 {
		return true
	}
	data := s.buf[ev.dataFrom:ev.dataTo]
	if ev.dataLines > 1 {
		data = joined(s.buf[ev.from:ev.to])
	}
	if bytes.Equal(bytes.TrimSpace(data), doneMark) {
		s.done, s.end, s.begun = true, io.EOF, true
		return true
	}
	c := inspect(data)
	s.counted += c.text
	if c.usage != nil {
		if u := readUsage(c.usage); !u.IsZero() {
			s.usage = u
		}
	}
	if c.fault {
		s.end = s.source.classify(data)
		s.maskFrame(ev)
		return true
	}
	if s.hide && c.bare && c.usage != nil {
		return false
	}
	s.begun = true
	return true
}

// maskFrame blots out the key where a provider echoes it in an error frame. The
// length stays, so that the events behind it keep their places.
func (s *stream) maskFrame(ev event) {
	key := s.source.client.key
	if len(key) < minSecret {
		return
	}
	raw := s.buf[ev.from:ev.to]
	for i := bytes.Index(raw, []byte(key)); i >= 0; i = bytes.Index(raw, []byte(key)) {
		copy(raw[i:], bytes.Repeat([]byte("*"), len(key)))
	}
}

func (s *stream) tooLong() error {
	return s.source.fault(llm.KindTransient,
		fmt.Sprintf("the provider sent an event longer than %d bytes", maxEvent), nil)
}

// fill reads once.
func (s *stream) fill() {
	if len(s.buf) == cap(s.buf) {
		s.buf = append(make([]byte, 0, 2*cap(s.buf)), s.buf...)
	}
	n, err := s.source.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	s.read = err
}

// finish decides what the end of the bytes means. Some servers end with the
// mark and no blank line after it; that is complete, and is mended.
func (s *stream) finish() {
	if !errors.Is(s.read, io.EOF) {
		s.end = s.source.failure("the stream broke off", s.read)
		return
	}
	last := s.split.current.from
	rest, ok := bytes.CutPrefix(s.buf[last:], dataMark)
	if ok && bytes.Equal(bytes.TrimSpace(rest), doneMark) {
		s.buf = append(bytes.TrimRight(s.buf, "\r\n"), "\n\n"...)
		s.split = splitter{current: event{from: last}, line: last, looked: last}
		return
	}
	s.end = s.source.fault(llm.KindTransient, "the stream broke off: it ended without [DONE]", io.ErrUnexpectedEOF)
}

// Close implements llm.Body.
func (s *stream) Close() error {
	if s.source.closed {
		return nil
	}
	if s.done && !s.source.ended {
		s.source.drain()
	}
	s.source.close()
	s.source.client.small.put(s.buf, maxKept)
	s.buf, s.passed, s.split = nil, 0, splitter{}
	return nil
}
