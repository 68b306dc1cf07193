package openai

import "bytes"

// event is one whole server-sent event: buf[from:to], the blank line included.
type event struct {
	from, to         int
	dataFrom, dataTo int // the value of its data line
	dataLines        int // how many data lines it has; only one is the rule
}

// splitter finds the events in a growing buffer. It remembers how far it has
// looked, so that no byte is searched twice however slowly the bytes come.
// Lines end in LF or CRLF; a blank line ends an event.
type splitter struct {
	current event // the event under way; to is not yet known
	line    int   // where the current line begins
	looked  int   // no LF before this place in the current line
}

// next returns the first whole event of buf not returned before.
func (s *splitter) next(buf []byte) (event, bool) {
	for {
		lf := bytes.IndexByte(buf[s.looked:], '\n')
		if lf < 0 {
			s.looked = len(buf)
			return event{}, false
		}
		lf += s.looked
		start, end := s.line, lf
		s.line, s.looked = lf+1, lf+1
		if end > start && buf[end-1] == '\r' {
			end--
		}
		if end == start {
			done := s.current
			done.to = lf + 1
			s.current = event{from: lf + 1}
			return done, true
		}
		s.field(buf, start, end)
	}
}

// field notes the value of a data line.
func (s *splitter) field(buf []byte, start, end int) {
	line := buf[start:end]
	if !bytes.HasPrefix(line, []byte("data:")) {
		return
	}
	value := start + len("data:")
	if value < end && buf[value] == ' ' {
		value++
	}
	s.current.dataFrom, s.current.dataTo = value, end
	s.current.dataLines++
}

// shift tells that the first n bytes of the buffer are gone; they are whole events.
func (s *splitter) shift(n int) {
	s.line -= n
	s.looked -= n
	s.current.from -= n
	s.current.dataFrom -= n
	s.current.dataTo -= n
}

// joined returns the data of an event that has several data lines.
func joined(raw []byte) []byte {
	var data []byte
	for line := range bytes.Lines(raw) {
		value, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:"))
		if !ok {
			continue
		}
		if data != nil {
			data = append(data, '\n')
		}
		data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
	}
	return data
}
