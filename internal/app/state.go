package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/gate"
)

const (
	stateName    = "state.json"
	stateVersion = 1
	maxState     = 64 << 20
	// stateDrift is how far wall clock and time since boot may disagree about how
	// long ago a state was written.
	stateDrift = 2 * time.Second
)

// state is what the file holds.
type state struct {
	Version   int                   `json:"version"`
	Clean     bool                  `json:"clean"`             // false while a gateway runs, or after one was killed
	ByHand    []string              `json:"by_hand,omitempty"` // upstreams whose breakers an operator has opened
	Boot      string                `json:"boot,omitempty"`
	Uptime    time.Duration         `json:"uptime_ns,omitempty"`
	Written   time.Time             `json:"written"`
	Upstreams map[string]gate.Saved `json:"upstreams,omitempty"`
}

// machine is what tells whether a clock can be believed.
type machine struct {
	boot   string        // changes with each boot; empty where unknown
	uptime time.Duration // since boot; 0 where unknown
	now    time.Time
}

func thisMachine() machine {
	m := machine{now: time.Now()}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		m.boot = strings.TrimSpace(string(id))
	}
	if up, err := os.ReadFile("/proc/uptime"); err == nil {
		first, _, _ := strings.Cut(string(up), " ")
		if seconds, err := strconv.ParseFloat(first, 64); err == nil {
			m.uptime = time.Duration(seconds * float64(time.Second))
		}
	}
	return m
}

// ledger is the folder of the state file, held by one gateway.
type ledger struct {
	path    string
	lock    *os.File
	machine func() machine

	mu     sync.Mutex
	byHand []string // as the file has it
	taken  state    // as it was read, but for what upstreams have left
	ended  bool     // the state of a clean stop is written
}

var (
	// errHeld says that another gateway uses the folder.
	errHeld = errors.New("another gateway runs with this folder")
	// errGivenBack says that it is no longer this gateway's.
	errGivenBack = errors.New("the gateway has ended")
)

// openLedger makes the folder where it is missing and locks it.
func openLedger(dir string, now func() machine) (*ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(lock); err != nil {
		return nil, errors.Join(errHeld, err, lock.Close())
	}
	return &ledger{path: filepath.Join(dir, stateName), lock: lock, machine: now}, nil
}

// take reads the state and marks it as used up, but for what an operator has done,
// which holds however the run ended. A folder without one is fresh; an error says why
// a state cannot be believed.
func (l *ledger) take() (saved map[string]gate.Saved, fresh bool, err error) {
	s, err := l.read()
	fresh = errors.Is(err, fs.ErrNotExist)
	if err == nil {
		err = s.sane(l.machine())
	}
	if l.taken = s; s.Version == stateVersion {
		l.byHand = s.ByHand
	}
	l.taken.Upstreams = nil
	if used := l.write(state{ByHand: l.byHand}); used != nil {
		return nil, false, fmt.Errorf("mark the state as used: %w", used)
	}
	if fresh {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	return s.Upstreams, false, nil
}

func (l *ledger) read() (state, error) {
	var s state
	f, err := os.Open(l.path)
	if err != nil {
		return s, err
	}
	if err = errors.Join(json.NewDecoder(io.LimitReader(f, maxState)).Decode(&s), f.Close()); err != nil {
		return state{}, err
	}
	return s, nil
}

// sane reports why the state must not be believed on this machine now.
func (s state) sane(m machine) error {
	age := m.now.Sub(s.Written)
	switch {
	case s.Version != stateVersion:
		return fmt.Errorf("state has version %d, not %d", s.Version, stateVersion)
	case !s.Clean:
		return errors.New("the last run did not end cleanly")
	case age < 0:
		return fmt.Errorf("state was written %s in the future", -age)
	case s.Boot != "" && s.Boot == m.boot && (age-(m.uptime-s.Uptime)).Abs() > stateDrift:
		return fmt.Errorf("the clock was moved by %s since the state was written", age-(m.uptime-s.Uptime))
	}
	return nil
}

// save writes the state of a clean stop.
func (l *ledger) save(now func() map[string]gate.Saved) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	upstreams := now()
	l.ended, l.byHand = true, l.openByHand(upstreams)
	return l.write(state{Clean: true, ByHand: l.byHand, Upstreams: upstreams})
}

// note writes which breakers are open by hand, if that has changed. After a clean stop
// it writes the whole state anew.
func (l *ledger) note(now func() map[string]gate.Saved) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := state{Clean: l.ended, Upstreams: now()} // with the lock held, so that the last to write knows most
	if s.ByHand = l.openByHand(s.Upstreams); slices.Equal(s.ByHand, l.byHand) {
		return nil
	}
	if l.lock == nil {
		return errGivenBack
	}
	if !l.ended {
		s.Upstreams = nil
	}
	err := l.write(s)
	if err == nil {
		l.byHand = s.ByHand
	}
	return err
}

// openByHand are the upstreams whose breakers an operator has opened, by name; of those
// that are not configured, as the last run knew.
func (l *ledger) openByHand(upstreams map[string]gate.Saved) (names []string) {
	for name, u := range upstreams {
		if u.Breaker.ByHand {
			names = append(names, name)
		}
	}
	for _, name := range l.taken.ByHand {
		if _, known := upstreams[name]; !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// write replaces the file in one step.
func (l *ledger) write(s state) error {
	m := l.machine()
	s.Version, s.Boot, s.Uptime, s.Written = stateVersion, m.boot, m.uptime, m.now
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(l.path), stateName+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), l.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// close gives the folder back.
func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.lock
	l.lock = nil
	return lock.Close()
}
