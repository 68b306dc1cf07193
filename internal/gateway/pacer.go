package gateway

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Every write to a client has between these two to get through. The deadline is
// set anew only when it has come nearer than the first, since that costs more
// than the write.
const (
	minWrite = 10 * time.Second
	maxWrite = 30 * time.Second
	maxPart  = 64 << 10 // bytes of one write
)

// pacer is a ResponseWriter that gives each write its time: a client that does
// not read is given up, and a slow one is not taken for one.
type pacer struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	deadline time.Time     // of writes; zero before the first
	unread   bool          // the request has a body that nobody has read
	room     int64         // bytes set aside for that body, out of what all bodies may take
	part     *atomic.Int64 // what its tenant has of that; nil for a stranger
}

func newPacer(w http.ResponseWriter, r *http.Request) pacer {
	return pacer{w: w, control: http.NewResponseController(w), unread: r.ContentLength != 0}
}

// allow gives the coming write its time.
func (p *pacer) allow() {
	now := time.Now()
	if p.deadline.Sub(now) >= minWrite {
		return
	}
	p.deadline = now.Add(maxWrite)
	_ = p.control.SetWriteDeadline(p.deadline) // a writer without deadlines is a test's
	if p.unread {
		// Before it answers, net/http reads what is left of a body, for as long as it may.
		_ = p.control.SetReadDeadline(now.Add(uploadGrace))
	}
}

// Header implements http.ResponseWriter.
func (p *pacer) Header() http.Header { return p.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (p *pacer) WriteHeader(status int) {
	p.allow()
	p.w.WriteHeader(status)
}

// Write implements http.ResponseWriter, in parts where b is long.
func (p *pacer) Write(b []byte) (n int, err error) {
	for {
		part := b[n:min(len(b), n+maxPart)]
		p.allow()
		done, err := p.w.Write(part)
		n += done
		if err != nil || n >= len(b) {
			return n, err
		}
	}
}

// FlushError is what http.ResponseController calls.
func (p *pacer) FlushError() error {
	p.allow()
	return p.control.Flush()
}

// Unwrap lets http.ResponseController find what lies below.
func (p *pacer) Unwrap() http.ResponseWriter { return p.w }
