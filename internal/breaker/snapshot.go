package breaker

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// Cause is why a breaker tripped.
type Cause uint8

// The causes. CauseNone is that of one that has not.
const (
	CauseNone    Cause = iota
	CauseRun           // failures in a row
	CauseShare         // the share of failures
	CauseProbe         // a probe failed
	CauseHand          // Trip
	CauseRestart       // it was open when the process before this one ended
)

// String returns the cause as it appears in metrics and logs.
func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "none"
	case CauseRun:
		return "run"
	case CauseShare:
		return "share"
	case CauseProbe:
		return "probe"
	case CauseHand:
		return "hand"
	case CauseRestart:
		return "restart"
	}
	return "unknown"
}

// Snapshot is what a breaker shows to people.
type Snapshot struct {
	State       State
	Since       time.Time // when it tripped or closed last; zero if it never did
	NextProbe   time.Time // when it may be ready; zero if it is, or if nothing but Reset helps
	ByHand      bool      // held open by hand
	Cause       Cause     // why it tripped; CauseNone while closed
	Failures    int64     // of Verdicts, those that tripped it
	Verdicts    int64
	Kind        llm.ErrorKind // of the last failure; KindNone before the first
	Trips       int64         // times it has tripped since the start
	Run         int           // consecutive failures
	Good, Bad   int64         // verdicts in the window; zero unless closed
	Outstanding int           // probes on their way
}

// Snapshot returns what the breaker shows at now.
func (b *Breaker) Snapshot(now time.Time) Snapshot {
	b.window.advance(now)
	return Snapshot{
		State:       b.State(now),
		Since:       b.since,
		NextProbe:   b.NextProbe(now),
		ByHand:      b.byHand(),
		Cause:       b.cause,
		Failures:    b.failures,
		Verdicts:    b.verdicts,
		Kind:        b.kind,
		Trips:       b.trips,
		Run:         b.run,
		Good:        b.window.good,
		Bad:         b.window.bad,
		Outstanding: b.outstanding(now),
	}
}

// Reason says in words why it is not closed; "" if it is.
func (s Snapshot) Reason() string {
	switch s.Cause {
	case CauseNone:
		return ""
	case CauseRun:
		return fmt.Sprintf("%d failures in a row, the last: %s", s.Failures, s.Kind)
	case CauseShare:
		return fmt.Sprintf("%d of %d requests failed, the last: %s", s.Failures, s.Verdicts, s.Kind)
	case CauseProbe:
		return fmt.Sprintf("a probe failed: %s", s.Kind)
	case CauseHand:
		return "opened by hand"
	case CauseRestart:
		return "it was open before the restart"
	}
	return s.Cause.String()
}

// Saved is what survives a restart: whether it had tripped, and until when.
// Verdicts are not kept, for they would be stale.
type Saved struct {
	Tripped bool      `json:"tripped"`
	Until   time.Time `json:"until,omitzero"`
	Run     int       `json:"run,omitempty"`
	Trips   int64     `json:"trips,omitempty"`
	ByHand  bool      `json:"by_hand,omitempty"`
}

// Save returns what Restore needs.
func (b *Breaker) Save() Saved {
	return Saved{Tripped: b.tripped, Until: b.until.Round(0), Run: b.run, Trips: b.trips, ByHand: b.byHand()}
}

// Restore puts a saved state in place of the present one. An end of the open
// time that lies further ahead than Open is cut to that: no file and no change
// of the clock can hold an upstream back for longer, but for one that was opened by
// hand: that stays open until Reset.
func (b *Breaker) Restore(now time.Time, s Saved) {
	b.begin(now)
	b.trips = max(s.Trips, 0)
	if !s.Tripped {
		b.run = min(max(s.Run, 0), max(b.o.Failures-1, 0))
		return
	}
	b.tripped, b.cause = true, CauseRestart
	if s.ByHand {
		b.cause = CauseHand
	}
	b.failures, b.verdicts = 0, 0
	b.until = s.Until
	if latest := now.Add(b.o.Open); b.until.After(latest) {
		b.until = latest
	}
}
