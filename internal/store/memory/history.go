package memory

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/internal/task"
)

// HistoryOptions bound the conversations kept: at most Sessions x Bytes of text.
type HistoryOptions struct {
	Sessions int // conversations; 0 = 10,000. The one not used for longest makes room
	Turns    int // the latest of each; 0 = 100
	Bytes    int // of text and roles in each; 0 = 32 KiB
}

// History keeps the latest turns of conversations. Use NewHistory.
type History struct {
	o HistoryOptions

	mu       sync.Mutex
	sessions map[sessionKey]*list.Element // of *session
	used     list.List                    // the latest used first
}

// sessionKey is a hash, so that a name of any length takes the same room.
type sessionKey [sha256.Size]byte

type session struct {
	key   sessionKey
	turns []task.Turn
}

// NewHistory returns an empty history.
func NewHistory(o HistoryOptions) (*History, error) {
	var faults []error
	for _, f := range []struct {
		name  string
		value int
	}{{"Sessions", o.Sessions}, {"Turns", o.Turns}, {"Bytes", o.Bytes}} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("history: %s is %d; give a bound, or 0 for the default", f.name, f.value))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	o.Sessions, o.Turns, o.Bytes = cmp.Or(o.Sessions, 10_000), cmp.Or(o.Turns, 100), cmp.Or(o.Bytes, 32<<10)
	return &History{o: o, sessions: make(map[sessionKey]*list.Element)}, nil
}

// Load returns the turns kept of a tenant's session, the oldest first; the caller owns
// the slice.
func (h *History) Load(tenant, name string) []task.Turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, found := h.sessions[keyOf(tenant, name)]
	if !found {
		return nil
	}
	h.used.MoveToFront(e)
	return slices.Clone(e.Value.(*session).turns)
}

// Append adds turns to a tenant's session, in one piece: those of other calls stand
// before or after them.
func (h *History) Append(tenant, name string, turns ...task.Turn) {
	if len(turns) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.open(keyOf(tenant, name))
	all := make([]task.Turn, 0, len(s.turns)+len(turns))
	s.turns = h.trim(append(append(all, s.turns...), turns...))
}

// open returns the session, new or not, as the latest used; h.mu is held.
func (h *History) open(key sessionKey) *session {
	if e, found := h.sessions[key]; found {
		h.used.MoveToFront(e)
		return e.Value.(*session)
	}
	if h.used.Len() >= h.o.Sessions {
		oldest := h.used.Remove(h.used.Back()).(*session)
		delete(h.sessions, oldest.key)
	}
	s := &session{key: key}
	h.sessions[key] = h.used.PushFront(s)
	return s
}

// trim returns a copy of the longest run of latest turns that fits.
func (h *History) trim(turns []task.Turn) []task.Turn {
	first, size := len(turns), 0
	for first > 0 && len(turns)-first < h.o.Turns {
		t := turns[first-1]
		if size += len(t.Role) + len(t.Text); size > h.o.Bytes {
			break
		}
		first--
	}
	out := make([]task.Turn, 0, len(turns)-first)
	for _, t := range turns[first:] {
		// A text cut out of a body would keep the whole body alive.
		out = append(out, task.Turn{Role: strings.Clone(t.Role), Text: strings.Clone(t.Text)})
	}
	return out
}

// keyOf hashes the two names, each with its length before it.
func keyOf(tenant, name string) (key sessionKey) {
	d := sha256.New()
	for _, part := range []string{tenant, name} {
		d.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		d.Write([]byte(part))
	}
	d.Sum(key[:0])
	return key
}
