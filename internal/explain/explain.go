package explain

import (
	"cmp"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// The states of a Story.
const (
	Waiting = "waiting"
	Running = "running"
	Over    = "ended"
)

// Story is what became of one request, or how it stands. Times are in
// milliseconds. Fields that do not apply are zero and left out of the JSON.
type Story struct {
	ID        string    `json:"id"`
	State     string    `json:"state"` // Waiting, Running or Over
	Summary   string    `json:"summary"`
	Class     string    `json:"class"`
	Tenant    string    `json:"tenant"`
	User      string    `json:"user"`
	Model     string    `json:"model"`
	Route     string    `json:"route,omitempty"`
	Operation string    `json:"operation,omitempty"`
	Stream    bool      `json:"stream"`
	Arrived   time.Time `json:"arrived"`

	Outcome    string  `json:"outcome,omitempty"`
	Cause      string  `json:"cause,omitempty"` // of a refusal or eviction
	Detail     string  `json:"detail,omitempty"`
	Kind       string  `json:"kind,omitempty"` // of the last failure
	Status     int     `json:"status,omitempty"`
	Upstream   string  `json:"upstream,omitempty"`
	Cache      string  `json:"cache,omitempty"` // hit, miss or coalesced
	FirstByte  float64 `json:"first_byte_ms,omitempty"`
	Total      float64 `json:"total_ms"`
	RetryAfter float64 `json:"retry_after_ms,omitempty"`
	BytesOut   int64   `json:"bytes_out,omitempty"`

	Wait     Wait     `json:"wait"`
	Tokens   *Tokens  `json:"tokens,omitempty"` // nil if it never ran
	Why      []string `json:"why,omitempty"`    // it waited, was tried again, was turned away
	Help     []string `json:"help,omitempty"`   // what would have helped
	Timeline []Moment `json:"timeline"`
	Attempts []Try    `json:"attempts"`
}

// Wait is the time in the queue, as it was foretold and as it was.
type Wait struct {
	Total    float64 `json:"total_ms"`
	By       []Share `json:"by,omitempty"`           // Total by what it was for, the longest first
	First    string  `json:"first_reason,omitempty"` // on entry
	Reason   string  `json:"reason,omitempty"`       // at last
	Position int     `json:"position,omitempty"`     // on entry, or now of one that waits
	EtaP50   float64 `json:"eta_p50_ms,omitempty"`
	EtaP90   float64 `json:"eta_p90_ms,omitempty"`
	Held     *bool   `json:"eta_held,omitempty"` // it took no longer than EtaP90; nil if that cannot be said
	Hold     float64 `json:"hold_ms,omitempty"`  // the longest wait the client allowed
	Expected float64 `json:"expected_ms,omitempty"`
}

// Share is the part of a wait that was for one reason, in milliseconds.
type Share struct {
	Reason string  `json:"reason"`
	Time   float64 `json:"ms"`
}

// Tokens are what was reserved for the last attempt, and what all used together.
type Tokens struct {
	EstimatedInput  int64 `json:"estimated_input"`
	EstimatedOutput int64 `json:"estimated_output"`
	MaxOutput       int64 `json:"max_output,omitempty"` // the client's own bound
	Input           int64 `json:"input"`                // cached ones included
	Output          int64 `json:"output"`
	CacheRead       int64 `json:"cache_read,omitempty"`
	CacheWrite      int64 `json:"cache_write,omitempty"`
	Counted         bool  `json:"counted,omitempty"` // by the gateway, for the provider did not say
}

// Moment is one thing that happened.
type Moment struct {
	At   float64 `json:"at_ms"` // after the arrival
	What string  `json:"what"`  // one of the words below
	Text string  `json:"text"`
}

// The words of Moment.What.
const (
	Arrived  = "arrived"
	Queued   = "queued"
	Sent     = "sent"
	Answered = "answered" // the upstream's header came
	Failed   = "failed"   // an attempt did
	Began    = "began"    // the client got its first byte
	Closed   = "ended"
)

// Try is one attempt.
type Try struct {
	Number     int     `json:"number"`
	Upstream   string  `json:"upstream"`
	Model      string  `json:"model"`
	Kind       string  `json:"kind"` // none is success
	Status     int     `json:"status,omitempty"`
	Queued     float64 `json:"queued_ms"`    // for this try alone
	By         []Share `json:"by,omitempty"` // Queued by what it was for
	Reason     string  `json:"reason,omitempty"`
	Start      float64 `json:"start_ms"` // after the arrival
	FirstByte  float64 `json:"first_byte_ms,omitempty"`
	Total      float64 `json:"total_ms"`
	RetryAfter float64 `json:"retry_after_ms,omitempty"`
	Tokens     Tokens  `json:"tokens"`
}

// Chief is what the wait before it was for the longest, as far as that is known.
func (t *Try) Chief() string {
	if len(t.By) > 0 {
		return t.By[0].Reason
	}
	return t.Reason
}

// Live is a request that has not ended.
type Live struct {
	ID       string
	Key      flow.Key
	Model    string
	Arrived  time.Time
	Running  bool          // an attempt is under way
	Position int           // in the queue, 1 is next; 0 if it does not wait
	EtaP50   time.Duration // from now; only with Position
	EtaP90   time.Duration
	Unknown  bool        // when it will be its turn: EtaP50 and EtaP90 are 0
	Reason   flow.Reason // what it waits for; only with Position
	Waits    flow.Waits  // what it has waited for so far; only with Position
}

// Ended tells the story of a request that has ended. The attempts are its own,
// oldest first; some may be missing.
func Ended(r *event.Record, tries []event.Attempt) *Story {
	s := &Story{
		ID: r.ID, State: Over, Class: string(r.Key.Class), Tenant: r.Key.Tenant, User: r.Key.User, Model: r.Model, Route: r.Route,
		Operation: r.Operation.String(), Stream: r.Stream, Arrived: r.Arrived,
		Outcome: r.Outcome.String(), Cause: r.Cause, Detail: r.Detail, Status: r.Status, Upstream: r.Upstream, Cache: r.Cache,
		FirstByte: ms(r.FirstByte), Total: ms(r.Total), RetryAfter: ms(r.RetryAfter), BytesOut: r.BytesOut,
		Wait: Wait{
			Total: ms(r.Queued), By: sharesOf(&r.Waits), First: string(r.First), Reason: string(r.Reason), Position: r.Position, EtaP50: ms(r.EtaP50), EtaP90: ms(r.EtaP90),
			Hold: ms(r.Hold), Expected: ms(r.Expected),
		},
		Attempts: make([]Try, 0, len(tries)),
	}
	if r.Kind != llm.KindNone {
		s.Kind = r.Kind.String()
	}
	if ran := r.Attempts > 0; r.Quoted && (ran || r.Outcome == flow.OutcomeHoldExpired) {
		held := r.EtaHeld()
		s.Wait.Held = &held
	}
	if r.Attempts > 0 {
		s.Tokens = tokensOf(r.Estimated, r.Used, r.Counted)
	}
	for i := range tries {
		s.Attempts = append(s.Attempts, tryOf(r, &tries[i]))
	}
	t := teller{r, tries}
	s.Timeline = t.timeline()
	s.Summary, s.Why, s.Help = t.summary(), t.why(), t.help()
	return s
}

// sharesOf are the parts of a wait, the longest first.
func sharesOf(w *flow.Waits) []Share {
	var all []Share
	for why, d := range w.All() {
		all = append(all, Share{string(why), ms(d)})
	}
	slices.SortStableFunc(all, func(a, b Share) int { return cmp.Compare(b.Time, a.Time) })
	return all
}

func tokensOf(size llm.Size, used llm.Usage, counted bool) *Tokens {
	return &Tokens{
		EstimatedInput: size.Input, EstimatedOutput: size.Output, MaxOutput: size.MaxOutput,
		Input: used.Prompt(), Output: used.Output, CacheRead: used.CacheRead, CacheWrite: used.CacheWrite, Counted: counted,
	}
}

func tryOf(r *event.Record, a *event.Attempt) Try {
	return Try{
		Number: a.Number, Upstream: a.Upstream, Model: a.Model, Kind: a.Kind.String(), Status: a.Status,
		Queued: ms(a.Queued), By: sharesOf(&a.Waits), Reason: string(a.Reason), Start: ms(a.Started.Sub(r.Arrived)), FirstByte: ms(a.FirstByte), Total: ms(a.Total),
		RetryAfter: ms(a.RetryAfter), Tokens: *tokensOf(a.Estimated, a.Used, a.Counted),
	}
}

// Underway tells how a request stands that has not ended, with the attempts that
// have.
func Underway(now time.Time, l *Live, tries []event.Attempt) *Story {
	r := &event.Record{ID: l.ID, Key: l.Key, Model: l.Model, Arrived: l.Arrived, Total: max(now.Sub(l.Arrived), 0)}
	t := teller{r, tries}
	s := &Story{
		ID: l.ID, State: Waiting, Class: string(l.Key.Class), Tenant: l.Key.Tenant, User: l.Key.User, Model: l.Model, Arrived: l.Arrived,
		Total: ms(r.Total), Attempts: make([]Try, 0, len(tries)),
	}
	for i := range tries {
		s.Attempts = append(s.Attempts, tryOf(r, &tries[i]))
	}
	s.Timeline = t.begun()
	switch {
	case l.Running:
		s.State, s.Summary = Running, "It runs, "+span(r.Total)+" after its arrival."
	case l.Position == 0:
		s.Summary = "It is about to run, " + span(r.Total) + " after its arrival."
	default:
		s.Wait = Wait{Total: ms(l.Waits.Total()), By: sharesOf(&l.Waits), Reason: string(l.Reason), Position: l.Position, EtaP50: ms(l.EtaP50), EtaP90: ms(l.EtaP90)}
		s.Summary = "It waits for " + wantOf(l.Reason) + ": " + placeOf(l.Position) + ", " + l.left() + "."
		s.Help = lift(r, l.Reason, "")
		if parts := partsOf(&l.Waits); parts != "" {
			s.Why = append(s.Why, "It has waited "+span(l.Waits.Total())+" so far"+parts+".")
		}
	}
	s.Why = append(s.Why, t.failures()...)
	return s
}

// left says how long it has to wait yet.
func (l *Live) left() string {
	if l.Unknown {
		return "and nobody knows for how long"
	}
	return "about " + span(l.EtaP50) + " to go, 9 times of 10 at most " + span(l.EtaP90)
}

// LineOf is the short form of Ended.
func LineOf(r *event.Record) Line {
	return Line{
		ID: r.ID, Arrived: r.Arrived, Class: string(r.Key.Class), Model: r.Model, Outcome: r.Outcome.String(), Status: r.Status,
		Reason: string(r.Reason), Queued: ms(r.Queued), Total: ms(r.Total), Upstream: r.Upstream, Attempts: r.Attempts,
	}
}

// ms is a time in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
