package capacity

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// Defaults of Options.
const (
	DefaultDuration = time.Hour
	DefaultWarmUp   = 5 * time.Minute
	DefaultMaxP95   = 5 * time.Second
	DefaultOutput   = 219 // mean tokens of an answer, as in a recorded conversation
)

// Bounds that keep a mistyped option from taking the machine down.
const (
	maxUsers    = 100_000
	maxRows     = 64
	maxDuration = 24 * time.Hour
	maxTokens   = 1_000_000
	maxArrivals = 5_000_000
)

// Options say what is planned.
type Options struct {
	Gate  gate.Options  // what admission is given
	Route int           // of all requests, as an index into Gate.Routes
	Hold  time.Duration // longest wait of an answer that is no stream and no task; 0 means Gate.Hold

	Work    Work
	Latency []Latency // of the upstreams in their order; those that are missing have the zero value's

	Users    []int         // a row each, 1 to 100,000
	Duration time.Duration // measured; 0 means an hour, or all of a trace
	WarmUp   time.Duration // before it; 0 means 5 minutes, or none before a trace; negative means none
	MaxP95   time.Duration // the longest p95 wait that is called good; 0 means 5 s
	NoAdvice bool          // do not look for what binds and for what lifts it
	Effort   int           // about how many requests are simulated at most, rows and searches together; 0 means as many as it takes
	Seed     uint64        // of everything random

	brief bool // ends a simulation as soon as it is certain that not all are answered in time

	// Say writes a setting for people, from its path in the configuration and its
	// value, such as MAX_TOKENS_PER_MINUTE=180000. nil writes path=value.
	Say func(path, value string) string
	// Diff writes changes as lines of a configuration, for Row.Diff. nil writes none.
	Diff func([]Change) string
}

// Manner is how clients ask.
type Manner uint8

// The manners: they differ in how long a request is held.
const (
	JSON   Manner = iota // one answer, held for Options.Hold
	Stream               // held as long as its class waits
	Task                 // an endpoint's task: as long as its class waits, within Gate.Tasks
)

// Work is what users ask for. The zero value of a field is its plain case.
type Work struct {
	Rate  float64       // requests per second of a user at most; 0 means that he thinks instead
	Think time.Duration // mean pause after each answer
	Fixed bool          // pauses are always the mean; else they are drawn from an exponential distribution
	Open  bool          // requests come at Rate whatever becomes of those before
	CV    float64       // coefficient of variation of the gaps when Open; 0 means 1, which is Poisson

	Mix       []Share // classes; none means chat
	Manner    Manner
	Input     Size     // prompt tokens
	Output    Size     // tokens of an answer; 0 means a recorded conversation's
	MaxOutput int      // max_tokens of the requests; 0 sends none
	Tenants   []string // users are dealt to these in turn; none means one without a name

	Trace      []Arrival // instead of all of the above but Mix, Manner, MaxOutput and Tenants
	TraceUsers int       // how many users the trace is of: with more users its time runs faster; 0 means 20
}

// Share is a class's part of the requests.
type Share struct {
	Class flow.Class
	Part  float64 // relative to the other parts
}

// Size is a lognormal distribution of tokens; without Sigma it is always Mean.
type Size struct {
	Mean  float64
	Sigma float64 // standard deviation of the logarithm, 0 to 3
	Most  int     // larger ones are cut; 0 means 1,000,000
}

// Arrival is one request of a trace.
type Arrival struct {
	At     time.Duration // since the first one
	Input  int           // prompt tokens
	Output int           // tokens of the answer
}

// Latency is how long an upstream's answers take. With all fields zero: first token
// after 450 ms in the median and 1.35 s at p95, plus 0.3 ms per token of prompt, then
// one token each 15 ms, up to twice as slow as the seats fill.
type Latency struct {
	Total      time.Duration // mean of the whole answer; replaces the model above
	Sigma      float64       // spread of Total: standard deviation of its logarithm
	First      time.Duration // median to the first token; 0 means 450 ms
	FirstP95   time.Duration // 0 means three times First
	InputToken time.Duration // added per token of prompt; 0 means 300 µs
	Token      time.Duration // between tokens of the answer; 0 means 15 ms
	Speed      float64       // divides every time above; 0 means 1
}

func (o Options) withDefaults() Options {
	if o.WarmUp == 0 && o.Work.Trace == nil {
		o.WarmUp = DefaultWarmUp
	}
	o.WarmUp = max(o.WarmUp, 0)
	if o.Duration == 0 && o.Work.Trace == nil {
		o.Duration = DefaultDuration
	}
	setDefault(&o.Hold, o.Gate.Hold)
	setDefault(&o.MaxP95, DefaultMaxP95)
	setDefault(&o.Work.CV, 1)
	setDefault(&o.Work.TraceUsers, 20)
	if o.Work.Output == (Size{}) {
		o.Work.Output = Size{Mean: DefaultOutput, Sigma: 0.86, Most: 4096}
	}
	if len(o.Work.Mix) == 0 {
		o.Work.Mix = []Share{{Class: flow.Chat, Part: 1}}
	}
	if len(o.Work.Tenants) == 0 {
		o.Work.Tenants = []string{""}
	}
	if o.Say == nil {
		o.Say = func(path, value string) string { return path + "=" + value }
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate expects defaults filled in and returns all faults.
func (o *Options) validate() error {
	faults := []error{o.Gate.Validate()}
	if o.Route < 0 || o.Route >= len(o.Gate.Routes) {
		faults = append(faults, fmt.Errorf("route: there is no route %d", o.Route))
	}
	if len(o.Users) == 0 || len(o.Users) > maxRows {
		faults = append(faults, fmt.Errorf("users: %d rows asked for: name 1 to %d", len(o.Users), maxRows))
	}
	for _, n := range o.Users {
		if n < 1 || n > maxUsers {
			faults = append(faults, fmt.Errorf("users: %d is not between 1 and %d", n, maxUsers))
		}
	}
	if o.Duration < 0 || o.Duration > maxDuration || o.WarmUp > maxDuration {
		faults = append(faults, fmt.Errorf("duration and warm-up: must lie between 0 and %v", maxDuration))
	}
	if o.MaxP95 < 0 || o.Hold < 0 {
		faults = append(faults, errors.New("longest p95 wait and hold: must not be negative"))
	}
	faults = append(faults, o.Work.validate())
	if n := o.arrivals(); n > maxArrivals {
		faults = append(faults, fmt.Errorf("about %.0f requests would be simulated: plan for less time, fewer users or a lower rate, so that they are at most %d", n, maxArrivals))
	}
	return errors.Join(faults...)
}

// arrivals is about how many requests the largest row makes; the real number is
// smaller where users wait.
func (o *Options) arrivals() float64 {
	if o.Work.Trace != nil || len(o.Users) == 0 {
		return float64(len(o.Work.Trace))
	}
	return float64(slices.Max(o.Users)) * float64(o.Duration+o.WarmUp) / float64(o.Work.gap())
}

// gap is about the mean time between two requests of a user. Who waits for answers has
// to wait a second for one, more or less.
func (w *Work) gap() time.Duration {
	if w.Open {
		return max(w.pause(), 1)
	}
	return max(w.pause(), time.Second)
}

// pause is the mean time between the requests of a user who never waits.
func (w *Work) pause() time.Duration {
	if w.Rate > 0 {
		return time.Duration(float64(time.Second) / w.Rate)
	}
	return w.Think
}

func (w *Work) validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(w.Rate >= 0 && w.Rate <= 1e4, "rate: %v requests a second is not between 0 and 10,000", w.Rate)
	check(w.Think >= 0, "think time: %v is negative", w.Think)
	check(!w.Open || w.Rate > 0, "rate: requests that come by themselves need one")
	check(w.CV > 0 && w.CV <= 50, "coefficient of variation: %v is not above 0 and up to 50", w.CV)
	check(w.MaxOutput >= 0 && w.MaxOutput <= maxTokens, "max tokens: %d is not between 0 and %d", w.MaxOutput, maxTokens)
	total := 0.0
	for _, s := range w.Mix {
		check(s.Part >= 0 && s.Class != "", "mix: class %q has the part %v: name each class and a part above 0", s.Class, s.Part)
		total += s.Part
	}
	check(total > 0 && total < 1e9, "mix: the parts add up to %v: write parts above 0", total)
	if w.Trace != nil {
		check(len(w.Trace) > 0 && w.TraceUsers > 0, "trace: it needs at least one request and one user")
		check(slices.IsSortedFunc(w.Trace, func(a, b Arrival) int { return int(a.At - b.At) }), "trace: its requests are not in order of time")
		return errors.Join(faults...)
	}
	return errors.Join(append(faults, w.Input.validate("prompt"), w.Output.validate("answer"))...)
}

func (s Size) validate(what string) error {
	if !(s.Mean >= 1 && s.Mean <= maxTokens) || !(s.Sigma >= 0 && s.Sigma <= 3) || s.Most < 0 {
		return fmt.Errorf("%s: a mean of %v tokens with a spread of %v makes no sense: write 1 to %d tokens and a spread of 0 to 3", what, s.Mean, s.Sigma, maxTokens)
	}
	return nil
}

// adopt makes classes that the configuration does not know chat, as the gate does,
// and says so.
func (o *Options) adopt() (notes []string) {
	o.Work.Mix = slices.Clone(o.Work.Mix)
	for i := range o.Work.Mix {
		s := &o.Work.Mix[i]
		if knows(&o.Gate, s.Class) || s.Class == flow.Chat {
			continue
		}
		notes = append(notes, fmt.Sprintf("The configuration has no class %q: its requests are treated as chat.", s.Class))
		s.Class = flow.Chat
	}
	return notes
}

// longest is how long a request may wait at most.
func (o *Options) longest() time.Duration {
	longest := max(o.Gate.Hold, o.Hold)
	if o.Gate.Hold == 0 {
		longest = max(longest, gate.DefaultHold)
	}
	for _, c := range o.Gate.Classes {
		longest = max(longest, c.MaxWait)
	}
	return longest
}
