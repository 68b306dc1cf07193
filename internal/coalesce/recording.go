package coalesce

import "slices"

// Append adds the next bytes of the answer, which are copied, to the recording. It
// reports whether a waiter was cut off for them.
func (f *Flight[C]) Append(p []byte) (cut bool) {
	if f.living == 0 {
		return false
	}
	n := int64(len(p))
	if f.over(n) {
		f.Close()
		cut = f.trim(n)
	}
	f.kept = append(f.kept, p...)
	f.book.bytes += n
	return cut
}

// over reports whether n bytes more would exceed a bound.
func (f *Flight[C]) over(n int64) bool {
	o := &f.book.options
	return int64(len(f.kept))+n > o.Bytes || f.book.bytes+n > o.Total
}

// trim forgets what everybody has read, and cuts off who is too far behind the
// fastest for n bytes more to be kept. Half of the bound is left to the others: it
// is not done again before that is filled.
func (f *Flight[C]) trim(n int64) (cut bool) {
	fastest := f.fastest()
	o := &f.book.options
	others := f.book.bytes - int64(len(f.kept))
	room := max(min(o.Bytes/2, o.Total-others-n), 0)
	floor := max(f.end()-room, 0)
	for w := f.oldest; w != nil; w = w.next {
		if !w.cut && w.at < floor && w.at < fastest {
			w.cut, cut = true, true
		}
	}
	f.forget(f.slowest())
	return cut
}

// slowest is how far the one who read least, and still reads, has come.
func (f *Flight[C]) slowest() int64 {
	at := f.end()
	for w := f.oldest; w != nil; w = w.next {
		if !w.cut {
			at = min(at, w.at)
		}
	}
	return at
}

// fastest is how far the one who read most has come.
func (f *Flight[C]) fastest() (at int64) {
	for w := f.oldest; w != nil; w = w.next {
		at = max(at, w.at)
	}
	return at
}

// forget drops what lies before the byte. The rest moves to memory of its own, for
// somebody may be reading what Read has returned.
func (f *Flight[C]) forget(before int64) {
	n := before - f.base
	if n <= 0 {
		return
	}
	f.book.bytes -= n
	f.kept = append([]byte(nil), f.kept[n:]...)
	f.base = before
}

func (f *Flight[C]) end() int64 { return f.base + int64(len(f.kept)) }

// Unread is how many bytes not even the fastest waiter has read. Who appends
// should wait while they are many.
func (f *Flight[C]) Unread() int64 { return f.end() - f.fastest() }

// Read returns what was appended since the waiter's last Read; nothing if there was
// nothing. false means that it was cut off: it has missed bytes.
func (w *Waiter[C]) Read() ([]byte, bool) {
	f := w.Flight
	if w.cut || w.left {
		return nil, false
	}
	p := f.kept[w.at-f.base:]
	w.at = f.end()
	if f.closed && f.over(0) { // by what nobody had read when it came
		f.forget(f.slowest())
	}
	return slices.Clip(p), true
}
