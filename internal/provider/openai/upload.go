package openai

import (
	"io"
	"sync"
)

// upload is a request body made of slices of the client's bytes and the few
// bytes spliced in between. It knows whether any of it has been read, and it
// can be taken away from a transport that is still sending.
type upload struct {
	size int64

	mu    sync.Mutex
	parts [][]byte // nil once withdrawn
	begun bool
}

func newUpload(parts [][]byte) *upload {
	u := &upload{parts: parts}
	for _, p := range parts {
		u.size += int64(len(p))
	}
	// Nothing is ever read of an empty body, so its sending goes unnoticed.
	u.begun = u.size == 0
	return u
}

// reader returns a reader of the whole body; the transport asks for another
// when it must repeat the request on a fresh connection.
func (u *upload) reader() io.ReadCloser { return &uploadReader{upload: u, left: u.size} }

// sent reports whether bytes of the body may have left for the provider.
func (u *upload) sent() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.begun
}

// withdraw makes every later read fail. When it returns nobody reads the
// client's bytes any more.
func (u *upload) withdraw() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = nil
}

// uploadReader is one pass over an upload.
type uploadReader struct {
	upload *upload
	left   int64 // bytes not yet read
	part   int
	offset int
}

// Read implements io.Reader.
func (r *uploadReader) Read(p []byte) (int, error) {
	u := r.upload
	// A transport asks once more after the last byte. To refuse it then would
	// cost a sound connection.
	if r.left == 0 {
		return 0, io.EOF
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.parts == nil {
		return 0, io.ErrClosedPipe
	}
	u.begun = true
	n := 0
	for n < len(p) && r.part < len(u.parts) {
		c := copy(p[n:], u.parts[r.part][r.offset:])
		n, r.offset = n+c, r.offset+c
		if r.offset == len(u.parts[r.part]) {
			r.part, r.offset = r.part+1, 0
		}
	}
	r.left -= int64(n)
	return n, nil
}

// Close implements io.Closer.
func (r *uploadReader) Close() error { return nil }
