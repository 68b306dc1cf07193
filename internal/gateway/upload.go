package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// presized is how much is set aside for a body on the word of its
	// Content-Length alone; more follows as it comes.
	presized = 16 << 10
	// pooled is the largest buffer that is kept for the next request.
	pooled = 256 << 10
	// A body may take uploadTime to come, and no longer than uploadGrace but for a
	// second for every uploadRate bytes.
	uploadTime  = 60 * time.Second
	uploadGrace = 10 * time.Second
	uploadRate  = 1 << 10
)

// errBrokenOff says that the client left, or lost its line, while it sent.
var errBrokenOff = &fault{status: http.StatusBadRequest, typ: typeInvalid, code: "client_left", message: "The body of your request broke off."}

// body reads the whole body, within its bounds.
func (g *Gateway) body(out *pacer, r *http.Request, limit int64) ([]byte, error) {
	if e := r.Header["Content-Encoding"]; len(e) > 0 && !strings.EqualFold(e[0], "identity") {
		f := invalid("", "Unsupported Content-Encoding: send the body as it is.")
		f.status, f.code = http.StatusUnsupportedMediaType, "unsupported_encoding"
		return nil, f
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	buf := g.buffers.get(int(min(max(r.ContentLength, 512), presized)) + 1)
	u := upload{out: out, from: http.MaxBytesReader(out.w, r.Body, limit), limit: limit, g: g}
	body, err := u.fill(buf)
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case errors.Is(err, errCrowded):
		return nil, errCrowded
	case errors.Is(err, os.ErrDeadlineExceeded):
		f := invalid("", "The body of your request did not arrive in time.")
		f.status, f.code, f.close = http.StatusRequestTimeout, "slow_body", true
		return nil, f
	}
	return nil, errBrokenOff
}

func tooLarge(limit int64) *fault {
	f := invalid("", "The body of your request is larger than "+strconv.FormatInt(limit, 10)+" bytes.")
	f.status, f.code, f.retry, f.close = http.StatusRequestEntityTooLarge, "request_too_large", retryNone, true
	return f
}

// errCrowded refuses a body for which there is no room beside the others.
var errCrowded = &fault{
	status: http.StatusServiceUnavailable, typ: typeServer, code: codeOverloaded, after: 5 * time.Second, close: true,
	message: "The bodies of the requests under way take all the room there is. Please try again in a moment.",
}

// upload is a body on its way in.
type upload struct {
	g      *Gateway
	limit  int64
	out    *pacer
	from   io.Reader
	began  time.Time
	looked time.Time // when the deadline was last set
}

// fill reads to the end, as long as the body keeps coming.
func (u *upload) fill(buf []byte) ([]byte, error) {
	u.out.unread = false // from here on the deadlines are the upload's
	u.began = time.Now()
	u.allow(u.began, 0)
	if err := u.reserve(cap(buf)); err != nil {
		return nil, err
	}
	for {
		n, err := u.from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			_ = u.out.control.SetReadDeadline(time.Time{})
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			if buf, err = u.grow(buf); err != nil {
				return nil, err
			}
		}
		if now := time.Now(); now.Sub(u.looked) >= time.Second {
			u.allow(now, len(buf))
		}
	}
}

// grow doubles the buffer, up to one byte more than a body may have.
func (u *upload) grow(buf []byte) ([]byte, error) {
	size := int(min(2*int64(cap(buf)), u.limit+1))
	if err := u.reserve(size - cap(buf)); err != nil {
		return nil, err
	}
	return append(make([]byte, 0, max(size, len(buf)+1)), buf...), nil
}

// reserve takes room for a buffer, or for what it is larger than the one it replaces,
// until the exchange ends. Of several tenants none may take more than its part.
func (u *upload) reserve(size int) error {
	t, n := u.g.table.Load(), int64(size)
	if u.out.part != nil && u.out.part.Add(n) > t.part {
		u.out.part.Add(-n)
		return errCrowded
	}
	u.out.room += n
	if u.g.bodies.Add(n) > t.options.Bodies {
		u.g.release(&pacer{room: n, part: u.out.part})
		u.out.room -= n
		return errCrowded
	}
	return nil
}

// release gives back what an exchange has taken.
func (g *Gateway) release(out *pacer) {
	g.bodies.Add(-out.room)
	if out.part != nil {
		out.part.Add(-out.room)
	}
}

// allow sets the deadline that so many bytes have earned.
func (u *upload) allow(now time.Time, bytes int) {
	u.looked = now
	earned := uploadGrace + time.Duration(bytes/uploadRate)*time.Second
	_ = u.out.control.SetReadDeadline(u.began.Add(min(earned, uploadTime))) // a connection without deadlines is a test's
}

// buffers keeps bodies for the next requests. The zero value is ready.
type buffers struct{ pool sync.Pool }

// get returns an empty buffer with room for at least size bytes.
func (b *buffers) get(size int) []byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= size {
		return (*p)[:0]
	}
	return make([]byte, 0, size)
}

// put takes back a body that nobody reads any more. That is known of one whose
// answer has come whole and been closed; of others the last reader may be an
// upload that is still being torn down, and they go to the collector.
func (b *buffers) put(body []byte) {
	if cap(body) <= pooled {
		b.pool.Put(&body)
	}
}
