package breaker

import "time"

// Snapshot is what a breaker shows to people.
type Snapshot struct {
	State       State
	Since       time.Time // when it tripped or closed last; zero if it never did
	NextProbe   time.Time // when it may be ready; zero if it is
	Trips       int64     // times it has tripped since the start
	Run         int       // consecutive failures
	Good, Bad   int64     // verdicts in the window; zero unless closed
	Outstanding int       // probes on their way
}

// Snapshot returns what the breaker shows at now.
func (b *Breaker) Snapshot(now time.Time) Snapshot {
	b.window.advance(now)
	return Snapshot{
		State:       b.State(now),
		Since:       b.since,
		NextProbe:   b.NextProbe(now),
		Trips:       b.trips,
		Run:         b.run,
		Good:        b.window.good,
		Bad:         b.window.bad,
		Outstanding: b.outstanding(now),
	}
}

// Saved is what survives a restart: whether it had tripped, and until when.
// Verdicts are not kept, for they would be stale.
type Saved struct {
	Tripped bool      `json:"tripped"`
	Until   time.Time `json:"until,omitzero"`
	Run     int       `json:"run,omitempty"`
	Trips   int64     `json:"trips,omitempty"`
}

// Save returns what Restore needs.
func (b *Breaker) Save() Saved {
	return Saved{Tripped: b.tripped, Until: b.until.Round(0), Run: b.run, Trips: b.trips}
}

// Restore puts a saved state in place of the present one. An end of the open
// time that lies further ahead than Open is cut to that: no file and no change
// of the clock can hold an upstream back for longer.
func (b *Breaker) Restore(now time.Time, s Saved) {
	b.begin(now)
	b.trips = max(s.Trips, 0)
	if !s.Tripped {
		b.run = min(max(s.Run, 0), max(b.o.Failures-1, 0))
		return
	}
	b.tripped = true
	b.until = s.Until
	if latest := now.Add(b.o.Open); b.until.After(latest) {
		b.until = latest
	}
}
