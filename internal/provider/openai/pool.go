package openai

import "sync"

// pool keeps byte buffers. The zero value is ready.
type pool struct{ buffers sync.Pool }

// get returns an empty buffer with room for at least size bytes.
func (p *pool) get(size int) []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok && cap(*b) >= size {
		return (*b)[:0]
	}
	return make([]byte, 0, size)
}

// put takes a buffer back unless it is larger than most.
func (p *pool) put(b []byte, most int) {
	if cap(b) == 0 || cap(b) > most {
		return
	}
	p.buffers.Put(&b)
}
