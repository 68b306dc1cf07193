package quota

import (
	"errors"
	"fmt"
	"time"
)

// Saved is the state of a Quota between two processes, ready for JSON.
type Saved struct {
	Version int           `json:"version"`
	At      int64         `json:"at"` // wall clock, Unix ns
	Limits  []SavedWindow `json:"limits"`
}

// SavedWindow is one limit of Saved.
type SavedWindow struct {
	Dim   Dim           `json:"dim"`
	Kind  Kind          `json:"kind"`
	Span  time.Duration `json:"span"`
	Slice time.Duration `json:"slice,omitempty"`

	Max      int64 `json:"max"`
	Told     int64 `json:"told"`
	Learned  int64 `json:"learned"`
	Level    int64 `json:"level,omitempty"`
	Size     int64 `json:"size,omitempty"`
	Provider int64 `json:"provider,omitempty"`
	Cautious bool  `json:"cautious,omitempty"`

	End   int64      `json:"end"`             // wall clock at which the newest slot or window ends, Unix ns
	Width int64      `json:"width,omitempty"` // of a slot, ns
	Slots [][2]int64 `json:"slots,omitempty"` // age in slots, units; for Fixed -1, 0, 1 = next, current, previous window
	Ramp  [3]int64   `json:"ramp,omitzero"`   // floor, previous and present peak
}

const savedVersion = 1

var errSaved = errors.New("the saved quota cannot be used")

// Save returns the state to hand to Restore in the next process. What calls in
// flight hold is saved as spent.
func (q *Quota) Save(now time.Time) Saved {
	t := q.tick(now)
	q.advance(t)
	wall := now.UnixNano() - t
	s := Saved{Version: savedVersion, At: now.UnixNano()}
	for i := range q.windows {
		s.Limits = append(s.Limits, q.windows[i].save(wall))
	}
	return s
}

func (w *window) save(wall int64) SavedWindow {
	b := &w.bucket
	s := SavedWindow{
		Dim: w.conf.Dim, Kind: w.conf.Kind, Span: w.conf.Span, Slice: w.conf.Slice,
		Max: w.max, Told: w.told, Learned: w.limit,
		Ramp: [3]int64{w.ramp.floor, w.ramp.prev, w.ramp.peak},
	}
	if w.bucketed() {
		s.Level, s.Size, s.Provider, s.Cautious = w.ready(), b.size, b.provider, b.cautious
	}
	put := func(age, n int64) {
		if n > 0 {
			s.Slots = append(s.Slots, [2]int64{age, n})
		}
	}
	if a := w.aligned; a != nil {
		s.End = a.end + wall
		put(-1, a.next+w.held)
		put(0, a.cur+w.held)
		put(1, a.prev+w.held)
		return s
	}
	s.End, s.Width = w.ring.end+wall, w.ring.width
	put(0, w.ring.slots[w.ring.cur]+w.held)
	for age := 1; age < ringSlots; age++ {
		put(int64(age), w.ring.slots[(w.ring.cur-age+ringSlots)%ringSlots])
	}
	return s
}

// Restore takes over what Save returned in an earlier process. It belongs
// right after New, before any call. A limit that is not in s, or of which s
// cannot be true, starts as Unknown; the error says which.
func (q *Quota) Restore(now time.Time, s Saved) error {
	t := q.tick(now)
	q.advance(t)
	wall := now.UnixNano() - t
	var faults []error
	if s.Version != savedVersion {
		faults = append(faults, fmt.Errorf("%w: version %d, want %d", errSaved, s.Version, savedVersion))
	}
	if s.At > now.UnixNano()+second {
		faults = append(faults, fmt.Errorf("%w: it is of the future, %s", errSaved, time.Unix(0, s.At)))
	}
	whole := len(faults) == 0
	taken := make([]bool, len(s.Limits))
	for i := range q.windows {
		w := &q.windows[i]
		saved := w.find(s.Limits, taken)
		if whole && saved != nil && saved.sane(s.At) {
			w.restore(t, min(s.At-wall, t), wall, saved)
			continue
		}
		w.restart(t, q.offset)
		if whole {
			faults = append(faults, w.fault(saved))
		}
	}
	q.tune()
	return errors.Join(faults...)
}

// find returns the saved state of w's limit that is not yet taken.
func (w *window) find(saved []SavedWindow, taken []bool) *SavedWindow {
	for i := range saved {
		s := &saved[i]
		if !taken[i] && s.Dim == w.conf.Dim && s.Kind == w.conf.Kind && s.Span == w.conf.Span && s.Slice == w.conf.Slice {
			taken[i] = true
			return s
		}
	}
	return nil
}

func (w *window) fault(s *SavedWindow) error {
	what := "has an entry that cannot be true"
	if s == nil {
		what = "is missing"
	}
	return fmt.Errorf("%w: limit of %s per %s %s", errSaved, w.conf.Dim, w.conf.Span, what)
}

// sane reports whether a state saved at the given wall clock can be true.
func (s *SavedWindow) sane(at int64) bool {
	ahead := s.Width
	if s.Kind == Fixed {
		ahead = 2 * int64(s.Span)
	}
	ok := at > 0 && s.Max > 0 && s.Max <= most && s.Told > 0 && s.Learned > 0 &&
		s.End > 0 && s.End <= at+ahead && (s.Width > 0 || s.Kind == Fixed) &&
		s.Size >= 0 && s.Size <= most && s.Provider >= 0 && s.Provider <= 2*most &&
		s.Level >= -maxSum && s.Level <= maxSum
	for _, e := range s.Slots {
		ok = ok && e[0] >= -1 && e[0] < ringSlots && (e[0] >= 0 || s.Kind == Fixed) && e[1] >= 0 && e[1] <= maxSum
	}
	for _, n := range s.Ramp {
		ok = ok && n >= 0 && n <= maxSum
	}
	return ok
}

// restart forgets everything and assumes the worst.
func (w *window) restart(t, offset int64) {
	*w = newWindow(t, offset, w.conf, w.ramp.conf)
	w.assumeSpent(t)
}

// restore takes over s, saved at our time at; wall is the wall clock minus our
// time.
func (w *window) restore(t, at, wall int64, s *SavedWindow) {
	if s.Told < s.Max {
		w.told = min(w.max, s.Told)
	}
	w.limit = w.told
	if s.Learned < s.Told {
		w.limit = min(w.told, s.Learned)
		w.recoverAt = t + calm
	}
	if w.ramp.on() {
		w.ramp.floor, w.ramp.prev, w.ramp.peak = min(w.ramp.conf.Above, s.Ramp[0]), s.Ramp[1], s.Ramp[2]
	}
	if w.bucketed() {
		w.bucket.restore(at, s)
		if w.bucket.provider > 0 {
			if w.conf.Burst == 0 {
				w.bucket.provider = min(w.bucket.provider, w.largest())
			}
			w.bucket.roof = w.roofFor(w.bucket.provider)
			w.bucket.size = min(w.bucket.size, w.bucket.roof)
		}
		w.tune(false)
		w.bucket.refill(t, w.limit, w.span, w.top)
	}
	w.replay(t, wall, s)
}

// replay counts the slots of s where they belong in w.
func (w *window) replay(t, wall int64, s *SavedWindow) {
	for _, e := range s.Slots {
		if w.aligned != nil {
			w.aligned.restore(s.End-wall+e[0]*-w.span, e[1])
		} else {
			w.ring.place(min(s.End-wall-e[0]*s.Width-1, t), e[1])
		}
	}
}

func (b *bucket) restore(at int64, s *SavedWindow) {
	if s.Provider > 0 && (b.provider == 0 || s.Provider < b.provider) {
		b.provider = s.Provider
	}
	b.size = s.Size
	if !s.Cautious && b.roof < s.Size {
		b.size = b.roof // configured smaller than before
	}
	b.cautious = s.Cautious
	b.units, b.frac, b.at = max(min(s.Level, b.size), -b.deepest), 0, at
	b.full = false
	b.npeaks = 0
}

// restore counts n in every window that overlaps the one that ended at end by
// more than the skew.
func (a *aligned) restore(end, n int64) {
	add := func(sum *int64, from, to int64) {
		if min(end, to)-max(end-a.span, from) > a.skew {
			*sum = min(*sum+n, maxSum)
		}
	}
	add(&a.prev, a.start-a.span, a.start)
	add(&a.cur, a.start, a.end)
	add(&a.next, a.end, a.end+a.span)
}
