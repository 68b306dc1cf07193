package load

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds that keep a mistyped option from taking the machine down.
const (
	maxUsers    = 100_000
	maxTokens   = 1_000_000
	maxLoops    = 10_000
	maxInFlight = 20_000
	maxRun      = time.Hour
)

// Target is one OpenAI-compatible endpoint to be asked.
type Target struct {
	Name string // how the report calls it
	URL  string // base URL, such as http://127.0.0.1:8080/v1
}

// Mischief is the share of requests drawn to misbehave, each 0..1, together at
// most 1. The zero value behaves well.
type Mischief struct {
	Cancel       float64       // leave at a random moment within CancelWithin
	Disconnect   float64       // hang up after the first chunks of the answer
	Stall        float64       // stop reading for StallFor when the answer begins
	CancelWithin time.Duration // 0 means 2 s
	StallFor     time.Duration // 0 means 5 s
}

// Options say what to ask, of whom and for how long. Either Trace or Users
// makes the load; a Trace wins.
type Options struct {
	Targets []Target // asked one after the other; at least one
	Model   string   // model name in the requests; required
	Key     string   // bearer token; empty sends none
	Class   string   // Millrace-Class header; empty sends none
	Judge   string   // base URL of the provider simulator that keeps the books; empty for none

	Duration     time.Duration // measured time after the warm-up; 0 means 60 s, the whole trace, or up to 1 h when UntilAnswers is set
	WarmUp       time.Duration // before the measured time, not in the statistics; 0 means none
	Grace        time.Duration // how long requests in flight may take after the end; 0 means 5 min
	Timeout      time.Duration // the longest one request may take; 0 means 5 min
	Pause        time.Duration // between two targets, so that the first one's spent windows do not burden the second; 0 means none
	UntilAnswers int           // also ends when every user has as many measured answers; 0 means never
	MaxInFlight  int           // arrivals beyond are not sent and counted as such; 0 means 20,000

	Users        int           // closed-loop users
	Think        time.Duration // mean time between an answer and the next request; 0 means none
	ThinkFixed   bool          // think exactly so long; false draws from an exponential distribution
	Ramp         time.Duration // users start at random within it; 0 means the think time, negative means at once
	GreedyLoops  int           // user 0 runs so many loops without thinking; 0 means he is like the others
	GreedyFactor int           // user 0 asks so many times as often; 0 means once
	PacedRate    float64       // requests per second at most of each user (but the GreedyLoops), instead of Think; 0 means unpaced

	Tokens       int     // mean prompt tokens of a request, four characters each
	TokensSigma  float64 // sigma of the lognormal around that mean; 0 means always the mean
	MaxTokens    int     // max_tokens of the requests; 0 leaves it out
	OutputTokens int     // asks a simulator for so many tokens (Sim-Output-Tokens); 0 leaves it to the simulator
	StreamShare  float64 // share of requests that stream, 0..1

	Trace      []Row   // open loop: the arrivals, in order
	Speed      float64 // how much faster than recorded; 0 means 1
	TraceUsers int     // the arrivals are dealt to so many users in turn; 0 means 20

	Mischief Mischief
	Seed     uint64 // same seed, same requests

	Transport     http.RoundTripper // 0 means an own HTTP/1.1 transport
	Progress      func(Snapshot)    // called every ProgressEvery while a target is asked; nil for none
	ProgressEvery time.Duration     // 0 means 1 s
}

func (o Options) withDefaults() Options {
	setDefault(&o.Grace, 5*time.Minute)
	setDefault(&o.Timeout, 5*time.Minute)
	setDefault(&o.MaxInFlight, maxInFlight)
	setDefault(&o.GreedyFactor, 1)
	setDefault(&o.Speed, 1)
	setDefault(&o.TraceUsers, 20)
	setDefault(&o.ProgressEvery, time.Second)
	setDefault(&o.Mischief.CancelWithin, 2*time.Second)
	setDefault(&o.Mischief.StallFor, 5*time.Second)
	setDefault(&o.Ramp, o.Think)
	if o.Trace != nil {
		o.Users = o.TraceUsers
	}
	if o.Duration == 0 && o.Trace == nil {
		o.Duration = time.Minute
		if o.UntilAnswers > 0 {
			o.Duration = maxRun
		}
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o Options) validate() error {
	return errors.Join(o.validateTargets(), o.validateTimes(), o.validateShares(), o.validateLoad())
}

func (o Options) validateTargets() error {
	var faults []error
	if len(o.Targets) == 0 {
		faults = append(faults, errors.New("no target: name at least one base URL"))
	}
	seen := map[string]bool{}
	for _, t := range o.Targets {
		if _, err := parseBase(t.URL); err != nil {
			faults = append(faults, fmt.Errorf("target %q: %w", t.Name, err))
		}
		if seen[t.Name] {
			faults = append(faults, fmt.Errorf("target %q is named twice: give each its own name", t.Name))
		}
		seen[t.Name] = true
	}
	if o.Judge != "" {
		if _, err := parseBase(o.Judge); err != nil {
			faults = append(faults, fmt.Errorf("judge: %w", err))
		}
	}
	if o.Model == "" {
		faults = append(faults, errors.New("no model: any name that the target knows"))
	}
	return errors.Join(faults...)
}

// parseBase accepts an absolute http URL without credentials, query or
// fragment: what is joined to a path and printed in reports.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("the base URL cannot be read: it should look like http://127.0.0.1:8080/v1")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q is no base URL: it should look like http://127.0.0.1:8080/v1", u.Redacted())
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the base URL holds credentials, a query or a fragment: leave only scheme, host and path")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

func (o Options) validateTimes() error {
	var faults []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"duration", o.Duration},
		{"warm-up", o.WarmUp},
		{"grace", o.Grace},
		{"timeout", o.Timeout},
		{"pause", o.Pause},
		{"think time", o.Think},
		{"cancel time", o.Mischief.CancelWithin},
		{"stall time", o.Mischief.StallFor},
		{"progress interval", o.ProgressEvery},
	} {
		if d.value < 0 {
			faults = append(faults, fmt.Errorf("%s %v is negative", d.name, d.value))
		}
	}
	return errors.Join(faults...)
}

func (o Options) validateShares() error {
	var faults []error
	m := o.Mischief
	for _, s := range []struct {
		name  string
		value float64
	}{
		{"stream share", o.StreamShare}, {"cancel share", m.Cancel}, {"disconnect share", m.Disconnect}, {"stall share", m.Stall},
	} {
		if !(s.value >= 0 && s.value <= 1) {
			faults = append(faults, fmt.Errorf("%s %v is not between 0 and 1", s.name, s.value))
		}
	}
	if m.Cancel+m.Disconnect+m.Stall > 1 {
		faults = append(faults, errors.New("cancel, disconnect and stall shares are together more than 1"))
	}
	return errors.Join(faults...)
}

func (o Options) validateLoad() error {
	var faults []error
	faults = append(faults,
		within("users", o.Users, 1, maxUsers), within("greedy loops", o.GreedyLoops, 0, maxLoops),
		within("greedy factor", o.GreedyFactor, 1, maxLoops), within("requests in flight", o.MaxInFlight, 1, maxInFlight),
		within("answers per user", o.UntilAnswers, 0, math.MaxInt), within("max tokens", o.MaxTokens, 0, math.MaxInt),
		within("output tokens", o.OutputTokens, 0, math.MaxInt))
	if o.Trace == nil {
		faults = append(faults, within("tokens", o.Tokens, 1, maxTokens))
	} else if len(o.Trace) == 0 {
		faults = append(faults, errors.New("the trace holds no request"))
	}
	if !(o.TokensSigma >= 0 && o.TokensSigma <= 3) {
		faults = append(faults, fmt.Errorf("sigma of the tokens %v is not between 0 and 3", o.TokensSigma))
	}
	if !(o.PacedRate >= 0 && o.PacedRate <= 1e6) {
		faults = append(faults, fmt.Errorf("paced rate %v is not between 0 and a million a second", o.PacedRate))
	}
	if !(o.Speed > 0 && o.Speed <= 1e6) {
		faults = append(faults, fmt.Errorf("speed %v is not above 0 and up to a million", o.Speed))
	}
	if o.GreedyLoops > 0 && o.GreedyFactor > 1 {
		faults = append(faults, errors.New("greedy loops and a greedy factor exclude each other: choose one"))
	}
	return errors.Join(faults...)
}

func within(name string, value, low, high int) error {
	if value < low || value > high {
		return fmt.Errorf("%s: %d is not between %d and %d", name, value, low, high)
	}
	return nil
}
