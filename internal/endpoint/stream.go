package endpoint

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/llm"
)

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 1 << 20

// Reasons for which a stream is not read on.
var (
	errEvent  = &llm.Error{Kind: llm.KindTransient, Message: "the upstream sent an event that is too long or no chunk of an answer"}
	errTooBig = &llm.Error{Kind: llm.KindTooLarge, Message: "the answer is longer than may be kept"}
	errInBand = &llm.Error{Kind: llm.KindTransient, Message: "the upstream failed while it answered"}
)

// events cuts a stream into the data of its events, wherever its pieces end.
type events struct {
	line   []byte // begun and not ended
	data   []byte // of the event that has begun
	filled bool   // it has a data line
	cr     bool   // the last byte was a carriage return
}

// feed takes the next piece and hands each event's data to each, which must not
// keep it.
func (e *events) feed(p []byte, each func(data []byte) error) error {
	for len(p) > 0 {
		if e.cr && p[0] == '\n' { // the second half of a line's end
			e.cr, p = false, p[1:]
			continue
		}
		e.cr = false
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			e.line = append(e.line, p...)
			break
		}
		e.line = append(e.line, p[:i]...)
		e.cr = p[i] == '\r'
		p = p[i+1:]
		if err := e.endLine(each); err != nil {
			return err
		}
	}
	if len(e.line)+len(e.data) > maxEvent {
		return errEvent
	}
	return nil
}

// endLine takes the line that has ended; an empty one ends the event.
func (e *events) endLine(each func(data []byte) error) error {
	line := e.line
	e.line = e.line[:0]
	if len(line) == 0 {
		return e.endEvent(each)
	}
	value, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok { // a comment, or a field that means nothing here
		return nil
	}
	if e.filled {
		e.data = append(e.data, '\n')
	}
	e.data = append(e.data, bytes.TrimPrefix(value, []byte(" "))...)
	e.filled = true
	if len(e.data) > maxEvent {
		return errEvent
	}
	return nil
}

func (e *events) endEvent(each func(data []byte) error) error {
	data, filled := e.data, e.filled
	e.data, e.filled = e.data[:0], false
	if !filled {
		return nil
	}
	return each(data)
}

// end takes what a stream without its last empty line has left.
func (e *events) end(each func(data []byte) error) error {
	if err := e.endLine(each); err != nil {
		return err
	}
	return e.endEvent(each)
}

// chunk is a part of an answer, or a whole one, as far as it is read.
type chunk struct {
	Model   string          `json:"model"`
	Choices []choice        `json:"choices"`
	Usage   *usage          `json:"usage"`
	Error   json.RawMessage `json:"error"`
}

type choice struct {
	Index   int     `json:"index"`
	Delta   message `json:"delta"`
	Message message `json:"message"`
	Finish  string  `json:"finish_reason"`
}

type message struct {
	Content json.RawMessage `json:"content"`
	Refusal string          `json:"refusal"`
}

type usage struct {
	Input  int64 `json:"prompt_tokens"`
	Output int64 `json:"completion_tokens"`
}

// said is what a model has said so far.
type said struct {
	max     int64
	text    strings.Builder
	model   string
	usage   usage
	finish  string
	refused bool
}

// take adds a chunk. The error is an *llm.Error.
func (s *said) take(data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("[DONE]")) {
		return nil
	}
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return errEvent
	}
	if len(c.Error) > 0 && !bytes.Equal(c.Error, []byte("null")) && !bytes.Equal(c.Error, []byte(`""`)) {
		return errInBand
	}
	if c.Model != "" {
		s.model = field.Clean(c.Model)
	}
	if u := c.Usage; u != nil {
		s.usage = usage{Input: max(u.Input, 0), Output: max(u.Output, 0)}
	}
	for i := range c.Choices {
		if err := s.add(&c.Choices[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *said) add(c *choice) error {
	if c.Index != 0 {
		return nil
	}
	for _, m := range [...]*message{&c.Delta, &c.Message} {
		s.refused = s.refused || m.Refusal != ""
		if err := s.write(m.Content); err != nil {
			return err
		}
	}
	if c.Finish != "" {
		s.finish = c.Finish
	}
	return nil
}

// write adds content: a text, or parts of which some are text.
func (s *said) write(content json.RawMessage) error {
	if len(content) == 0 {
		return nil
	}
	var piece string
	switch content[0] {
	case '"':
		if json.Unmarshal(content, &piece) != nil {
			return errEvent
		}
	case '[':
		var parts []struct {
			Text string `json:"text"`
		}
		if json.Unmarshal(content, &parts) != nil {
			return errEvent
		}
		for _, p := range parts {
			if err := s.append(p.Text); err != nil {
				return err
			}
		}
	}
	return s.append(piece)
}

func (s *said) append(piece string) error {
	if int64(s.text.Len()+len(piece)) > s.max {
		return errTooBig
	}
	s.text.WriteString(piece)
	return nil
}
