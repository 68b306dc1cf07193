package coalesce

import (
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// Flight is a call that several requests wait for.
type Flight[C any] struct {
	Call C // the caller's own side of it

	book    *Book[C]
	key     Key
	closed  bool
	living  int
	endless int       // of the living, those whose hold has no end
	longest time.Time // hold of the others; not to be trusted when stale
	stale   bool
	oldest  *Waiter[C] // of a list in the order of joining
	newest  *Waiter[C]

	// The recording: what was appended from byte base on.
	kept []byte
	base int64
}

// Waiter is a request that waits for a flight.
type Waiter[C any] struct {
	Flow   flow.Key
	ID     string // the caller's own name for it
	Flight *Flight[C]

	hold       time.Time
	at         int64 // the next byte to read
	cut        bool
	left       bool
	prev, next *Waiter[C]
}

func (f *Flight[C]) add(who flow.Key, hold time.Time) *Waiter[C] {
	w := &Waiter[C]{Flow: who, Flight: f, hold: hold, prev: f.newest}
	if f.newest == nil {
		f.oldest = w
	} else {
		f.newest.next = w
	}
	f.newest = w
	f.living++
	if hold.IsZero() {
		f.endless++
	} else if hold.After(f.longest) {
		f.longest = hold
	}
	return w
}

// Close ends the time in which the flight can be joined.
func (f *Flight[C]) Close() {
	if f.closed {
		return
	}
	f.closed = true
	delete(f.book.open, f.key)
}

// Owner is the waiter to whom the call belongs; nil when all have left.
func (f *Flight[C]) Owner() *Waiter[C] { return f.oldest }

// Living is how many waiters have not left.
func (f *Flight[C]) Living() int { return f.living }

// Hold is until when the longest waiting of the living can be held; zero if one of
// them names no end.
func (f *Flight[C]) Hold() time.Time {
	if f.endless > 0 {
		return time.Time{}
	}
	if f.stale {
		f.stale, f.longest = false, time.Time{}
		for w := f.oldest; w != nil; w = w.next {
			if w.hold.After(f.longest) {
				f.longest = w.hold
			}
		}
	}
	return f.longest
}

// Leave ends the waiter's part in the flight, and reports whether it was the last
// one: then the flight is closed, and the call helps nobody any more.
func (w *Waiter[C]) Leave() (last bool) {
	f := w.Flight
	if w.left {
		return false
	}
	w.left = true
	if w.hold.IsZero() {
		f.endless--
	} else if w.hold.Equal(f.longest) {
		f.stale = true // looked for when it is asked for
	}
	w.unlink()
	if f.living--; f.living > 0 {
		return false
	}
	f.Close()
	f.forget(f.end())
	return true
}

func (w *Waiter[C]) unlink() {
	f := w.Flight
	if w.prev == nil {
		f.oldest = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		f.newest = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil // who left keeps nobody in memory
}
