package event

import (
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// Record is the whole story of one request, told at its end.
type Record struct {
	ID    string   // the request's own id, as the client was told
	Key   flow.Key // who asked, in which class
	Model string   // the model name the client asked for
	Route string   // the route that matched; empty if none did

	Operation llm.Operation
	Stream    bool // the client asked for a stream

	Outcome flow.Outcome  // how it ended; never OutcomeNone
	Kind    llm.ErrorKind // the last failure; KindNone when there was none
	Stray   Stray         // what of it was unknown, so that it came to no route and is no demand
	Cause   string        // why it was refused or evicted, in a few fixed words; else empty
	Detail  string        // the same in numbers, for people; never the client's words; mostly empty
	First   flow.Reason   // what it waited for when it entered the queue; ReasonNone if it never waited
	Reason  flow.Reason   // what it last waited for; ReasonNone if it never waited
	Status  int           // HTTP status sent to the client; 0 if none was
	Cache   string        // "hit", "miss" or "coalesced"; empty where neither was asked for

	Upstream string // the upstream of the last attempt; empty if it never ran
	Attempts int    // attempts that were started

	Arrived   time.Time     // when its header had been read
	Queued    time.Duration // time spent waiting for its turn, all attempts together
	Waits     flow.Waits    // Queued by what it was for; zero where that is not known
	FirstByte time.Duration // arrival to the first answer byte to the client; 0 if none was sent
	Total     time.Duration // arrival to the end

	Quoted   bool          // an ETA was promised on arrival
	Position int           // the place it was told, 1 is next; only if Quoted
	EtaP50   time.Duration // the promised wait, median; only if Quoted
	EtaP90   time.Duration // the promised wait, 90th percentile; only if Quoted

	Hold       time.Duration // arrival to the latest dispatch that still helped its client; 0 if it named none
	Expected   time.Duration // the wait, 90th percentile, for which it was turned away; 0 if for nothing like it
	RetryAfter time.Duration // when asking again was said to make sense; 0 for never, or unsaid

	Estimated llm.Size  // what it was thought to need before it ran
	Used      llm.Usage // what all its attempts used together
	Counted   bool      // Used was counted here, for the provider did not say
	BytesOut  int64     // answer bytes sent to the client
}

// EtaHeld reports whether the wait stayed within the promised 90th percentile.
// It is meaningful only for a Quoted record that was dispatched.
func (r *Record) EtaHeld() bool { return r.Queued <= r.EtaP90 }

// Stray is what of a request was unknown, so that it came to no route. StrayNone is
// the zero value: it came to one, or was turned away before anybody looked.
type Stray uint8

// The strays.
const (
	StrayNone    Stray = iota
	StrayPath          // nothing is served there, or not by this method
	StrayKey           // it has none, or one that may not ask for this
	StrayModel         // no route has its name, or none that the key may use
	StrayRequest       // it could not be read, so that nobody knows what it asks for
)

var strayNames = [...]string{"none", "path", "key", "model", "request"}

// String returns the stray as it appears in metrics.
func (s Stray) String() string {
	if int(s) < len(strayNames) {
		return strayNames[s]
	}
	return "unknown"
}

// Strays lists every stray but StrayNone.
func Strays() []Stray { return []Stray{StrayPath, StrayKey, StrayModel, StrayRequest} }

// Attempt is the story of one try at one upstream.
type Attempt struct {
	Request  string // ID of the request it belongs to
	Number   int    // 1 for the first attempt of the request
	Class    flow.Class
	Upstream string
	Provider string // the protocol that the upstream speaks, such as openai; empty if nobody said
	Model    string // the model name sent to the upstream

	Operation llm.Operation
	Stream    bool // the client asked for a stream

	Kind       llm.ErrorKind // KindNone on success
	Status     int           // the provider's HTTP status; 0 if it did not answer
	RetryAfter time.Duration // the provider's hint; 0 for none

	Queued     time.Duration // time spent waiting for this try alone
	Waits      flow.Waits    // Queued by what it was for
	Reason     flow.Reason   // what that was for, at last; ReasonNone if it did not wait
	Started    time.Time     // when it was dispatched
	FirstByte  time.Duration // dispatch to the provider's header; 0 if it did not answer
	FirstPiece time.Duration // dispatch to the first piece of the answer that was handed on; 0 if none was
	Total      time.Duration // dispatch to the end

	Estimated llm.Size  // what was reserved
	Used      llm.Usage // what was settled; zero if it was canceled
	Counted   bool      // Used was counted here, for the provider did not say
}

// Sink takes records and attempts in. Implementations must be safe for use by
// many goroutines, must not block, and must copy what they keep.
type Sink interface {
	Record(*Record)
	Attempt(*Attempt)
}

// Fanout is a Sink that hands everything to several others. The zero value has
// none and drops everything.
type Fanout struct {
	sinks  []Sink
	panics atomic.Int64
}

// NewFanout returns a Fanout over the sinks, in this order. Nil sinks are left
// out, so that optional ones need no branch at the caller.
func NewFanout(sinks ...Sink) *Fanout {
	f := &Fanout{}
	for _, s := range sinks {
		if s != nil {
			f.sinks = append(f.sinks, s)
		}
	}
	return f
}

// Record implements Sink.
func (f *Fanout) Record(r *Record) {
	for _, s := range f.sinks {
		f.record(s, r)
	}
}

// Attempt implements Sink.
func (f *Fanout) Attempt(a *Attempt) {
	for _, s := range f.sinks {
		f.attempt(s, a)
	}
}

// Panics is how many times a sink has panicked since the start.
func (f *Fanout) Panics() int64 { return f.panics.Load() }

func (f *Fanout) record(s Sink, r *Record) {
	defer f.contain()
	s.Record(r)
}

func (f *Fanout) attempt(s Sink, a *Attempt) {
	defer f.contain()
	s.Attempt(a)
}

// contain stops a panic at the sink that caused it. It must be deferred itself,
// for recover works only there.
func (f *Fanout) contain() {
	if recover() != nil {
		f.panics.Add(1)
	}
}
