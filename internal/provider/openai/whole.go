package openai

import (
	"errors"
	"fmt"
	"io"

	"github.com/tidwall/gjson"

	"github.com/millrace/millrace/internal/llm"
)

const (
	preallocated = 8 << 20 // bounds what a Content-Length alone can make us allocate
	maxPooled    = 1 << 20 // larger buffers go to the collector
)

// whole is the Body of an answer that comes in one piece.
type whole struct {
	source   *source
	expected int64 // Content-Length; -1 when the provider named none
	unframed bool  // only the closing connection tells the end
	bulky    bool  // mostly numbers: look for usage near the end only

	buf     []byte
	end     error
	usage   llm.Usage
	counted int64
}

// Usage implements llm.Body.
func (w *whole) Usage() llm.Usage { return w.usage }

// Counted implements llm.Body.
func (w *whole) Counted() int64 { return w.counted }

// Next implements llm.Body: the answer first, then io.EOF.
func (w *whole) Next() ([]byte, error) {
	if w.source.closed {
		return nil, w.source.misuse()
	}
	if w.end != nil {
		return nil, w.end
	}
	if err := w.readAll(); err != nil {
		w.end = err
		return nil, err
	}
	w.end = io.EOF
	if w.meter() {
		w.end = w.source.classify(w.buf[:min(len(w.buf), maxErrorBody)])
		return nil, w.end
	}
	return w.buf, nil
}

// readAll fills buf with the answer.
func (w *whole) readAll() error {
	limit := w.source.client.options.MaxAnswer
	if w.expected > limit {
		return w.tooLarge(limit)
	}
	// One byte more than expected lets the last Read see the end.
	w.buf = w.source.client.large.get(int(min(max(w.expected, firstBuffer), preallocated)) + 1)
	for {
		if len(w.buf) == cap(w.buf) {
			room := min(2*int64(cap(w.buf)), limit+1)
			w.buf = append(make([]byte, 0, room), w.buf...)
		}
		n, err := w.source.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		if int64(len(w.buf)) > limit {
			return w.tooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			return w.complete()
		}
		if err != nil {
			return w.source.failure("the answer broke off", err)
		}
	}
}

// complete reports an answer that only looks finished.
func (w *whole) complete() error {
	if len(w.buf) == 0 {
		return w.source.fault(llm.KindTransient, "the provider sent an empty answer", io.ErrUnexpectedEOF)
	}
	if w.unframed && !gjson.ValidBytes(w.buf) {
		return w.source.fault(llm.KindTransient, "the answer broke off: it is not whole JSON", io.ErrUnexpectedEOF)
	}
	return nil
}

func (w *whole) tooLarge(limit int64) error {
	return w.source.fault(llm.KindTooLarge,
		fmt.Sprintf("the answer is larger than the %d bytes that are allowed", limit), nil)
}

// meter reads off what the answer cost, and reports whether it is none: some
// providers tell of a failure under status 200.
func (w *whole) meter() (fault bool) {
	if w.bulky {
		if raw := usageNearEnd(w.buf); raw != nil {
			w.usage = readUsage(raw)
		}
		return false
	}
	c := inspect(w.buf)
	w.counted = c.text
	if c.usage != nil {
		w.usage = readUsage(c.usage)
	}
	return c.fault && !c.full
}

// Close implements llm.Body.
func (w *whole) Close() error {
	w.source.close()
	w.source.client.large.put(w.buf, maxPooled)
	w.buf = nil
	return nil
}
