package coalesce

import (
	"errors"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// Defaults of Options.
const (
	DefaultFlights = 10_000
	DefaultWaiters = 10_000
	DefaultBytes   = 4 << 20
	DefaultTotal   = 256 << 20
)

// Options bound what is shared. What lies beyond a bound runs alone.
type Options struct {
	Flights int   // calls that can be joined at once; 0 = 10,000
	Waiters int   // of one call; 0 = 10,000
	Bytes   int64 // of the recording of one answer; 0 = 4 MiB
	Total   int64 // of all recordings together; 0 = 256 MiB
}

// Validate returns everything that is wrong with o, joined.
func (o Options) Validate() error {
	if o.Flights < 0 || o.Waiters < 0 || o.Bytes < 0 || o.Total < 0 {
		return errors.New("coalesce: bounds must not be negative: use 0 for the defaults")
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Flights == 0 {
		o.Flights = DefaultFlights
	}
	if o.Waiters == 0 {
		o.Waiters = DefaultWaiters
	}
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	if o.Total == 0 {
		o.Total = DefaultTotal
	}
	return o
}

// Key says which requests are the same. Beside the key of the request itself it
// holds what a call runs under: two that have different limits do not share.
type Key struct {
	Share flow.ShareKey
	Class flow.Class
	Soft  bool
	Task  bool // it counts against the bound of tasks that run at a time
}

// Book lists the calls that can be joined; C is the caller's own side of a call.
// It is not safe for concurrent use.
type Book[C any] struct {
	options Options
	open    map[Key]*Flight[C]
	bytes   int64 // of all recordings, those of closed flights included
}

// New returns an empty book. Options that Validate objects to count as zero.
func New[C any](o Options) *Book[C] {
	b := &Book[C]{open: make(map[Key]*Flight[C])}
	b.Configure(o)
	return b
}

// Configure changes the bounds for what comes from now on.
func (b *Book[C]) Configure(o Options) {
	if o.Validate() != nil {
		o = Options{}
	}
	b.options = o.withDefaults()
}

// Join lets a request of a flow, which can be held until then, wait for the flight of
// the key, and says whether the flight is new: then the caller has to make the call.
// nil means that it has to run alone.
func (b *Book[C]) Join(k Key, who flow.Key, hold time.Time) (w *Waiter[C], first bool) {
	f := b.open[k]
	switch {
	case f == nil && len(b.open) >= b.options.Flights, f != nil && f.living >= b.options.Waiters:
		return nil, false
	case f == nil:
		f, first = &Flight[C]{book: b, key: k}, true
		b.open[k] = f
	}
	return f.add(who, hold), first
}

// Len is how many flights can be joined.
func (b *Book[C]) Len() int { return len(b.open) }

// Bytes is the size of all recordings.
func (b *Book[C]) Bytes() int64 { return b.bytes }
