package load

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/load/arrival"
)

// Bounds that keep a mistyped option from taking the machine down.
const (
	maxUsers    = 100_000
	maxTokens   = 1_000_000
	maxLoops    = 10_000
	maxInFlight = 20_000
	maxTurns    = 50
	maxRun      = time.Hour
	maxSpeed    = 10_000
)

// Target is one OpenAI-compatible endpoint to be asked.
type Target struct {
	Name string // how the report calls it
	URL  string // base URL, such as http://127.0.0.1:8080/v1

	Judge string // base URL of the simulator that keeps its books; empty means Options.Judge
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

// Options say what to ask, of whom and for how long. The load is open if there is
// a Trace, or Arrivals or RateStages; otherwise it is closed, of Users or UserStages.
type Options struct {
	Targets []Target // at least one
	Model   string   // model name in the requests; required
	Key     string   // bearer token; empty sends none
	Class   string   // Millrace-Class header; empty sends none
	Judge   string   // base URL of the provider simulator that keeps the books; empty for none

	Together bool // ask all targets at the same time, each by users of its own; otherwise in turn

	Duration     time.Duration // measured time after the warm-up; 0 means 60 s, the whole trace or all stages, or up to 1 h when UntilAnswers is set
	WarmUp       time.Duration // before the measured time, not in the statistics; 0 means none
	Grace        time.Duration // how long requests in flight may take after the end; 0 means 5 min
	Timeout      time.Duration // the longest one request may take; 0 means 5 min
	Pause        time.Duration // between two targets, so that the first one's spent windows do not burden the second; 0 means none
	UntilAnswers int           // also ends when every user has as many measured answers; 0 means never
	MaxInFlight  int           // arrivals beyond are not sent and counted as such; 0 means 20,000

	Speed float64 // how many times as fast as the machine's the time of the run passes: all times and rates here, but ProgressEvery, are in it; 0 means 1

	Users        int             // closed-loop users
	UserStages   []arrival.Stage // how many of them are there, over time, instead of Users
	Think        time.Duration   // mean time between an answer and the next request; 0 means none
	ThinkFixed   bool            // think exactly so long; false draws from an exponential distribution
	Ramp         time.Duration   // users start at random within it; 0 means the think time, negative means at once
	GreedyLoops  int             // user 0 runs so many loops without thinking; 0 means he is like the others
	GreedyFactor int             // user 0 asks so many times as often; 0 means once
	Turns        int             // mean requests of a conversation, each sent with the ones before it; 0 means 1
	SessionPause time.Duration   // mean time between a user's conversations; 0 means Think
	PacedRate    float64         // requests per second at most of each user (but the GreedyLoops), instead of Think; 0 means unpaced

	Tokens       int     // mean prompt tokens of a request, four characters each
	TokensSigma  float64 // sigma of the lognormal around that mean; 0 means always the mean
	MaxTokens    int     // max_tokens of the requests; 0 leaves it out
	OutputTokens int     // asks a simulator for so many tokens (Sim-Output-Tokens); 0 leaves it to the simulator
	StreamShare  float64 // share of requests that stream, 0..1

	Mix []Part // kinds of requests, drawn for each conversation; none means all to the OpenAI API

	Arrivals   float64         // open loop: conversations begun per second
	RateStages []arrival.Stage // conversations begun per second, over time, instead of Arrivals
	ArrivalsCV float64         // coefficient of variation of the gaps: 1 is Poisson, above it come bursts; 0 means 1
	Trace      []Row           // open loop: the arrivals, in order
	TraceUsers int             // the arrivals of an open loop are dealt to so many users in turn; 0 means 20

	Mischief Mischief
	Seed     uint64 // same seed, same requests

	Transport     http.RoundTripper // 0 means an own HTTP/1.1 transport
	Progress      func(Snapshot)    // called every ProgressEvery while a target is asked; nil for none
	ProgressEvery time.Duration     // 0 means 1 s
	Record        func(Record)      // called for every request when it has ended, by several goroutines at once; nil for none
	Interval      time.Duration     // of the report's points over time; 0 means about 300 of them, a second at least

	parts []Part // Mix with its defaults
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
	setDefault(&o.ArrivalsCV, 1)
	o.Mix = slices.Clone(o.Mix)
	for i, p := range o.Mix {
		if p.Path == strings.TrimPrefix(chatCompletions, "/v1") {
			o.Mix[i].Path = chatCompletions
		}
	}
	profile, err := o.profile()
	switch {
	case o.open():
		o.Users = o.TraceUsers
	case err == nil && len(o.UserStages) > 0:
		o.Users = int(math.Ceil(profile.Most()))
	}
	if o.Duration == 0 && o.Trace == nil {
		o.Duration = cmp.Or(max(profile.Length()-max(o.WarmUp, 0), 0), time.Minute)
		if o.UntilAnswers > 0 {
			o.Duration = maxRun
		}
	}
	o.mix()
	return o
}

// open reports whether requests come whatever becomes of the ones before.
func (o *Options) open() bool {
	return o.Trace != nil || o.Arrivals > 0 || len(o.RateStages) > 0
}

// profile is the number of users or the rate of arrivals over time; of neither
// for a trace, and for users who are there all the time.
func (o *Options) profile() (arrival.Profile, error) {
	switch {
	case o.Trace != nil:
		return arrival.Profile{}, nil
	case len(o.UserStages) > 0:
		return arrival.NewProfile(o.UserStages)
	case len(o.RateStages) == 0:
		return arrival.Constant(o.Arrivals), nil
	}
	return arrival.NewProfile(o.RateStages)
}

// span is how long a target is to be asked, warm-up included.
func (o *Options) span() time.Duration {
	if o.Duration == 0 && len(o.Trace) > 0 {
		return o.Trace[len(o.Trace)-1].At
	}
	return o.WarmUp + o.Duration
}

// interval is the time between two points of the report.
func (o *Options) interval() time.Duration {
	if o.Interval > 0 {
		return o.Interval
	}
	for _, seconds := range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600} {
		if every := time.Duration(seconds) * time.Second; o.span() <= 300*every {
			return every
		}
	}
	return max(o.span()/300, 30*time.Minute).Round(time.Minute)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Check tells all that is wrong with o, before it is run.
func Check(o Options) error { return o.withDefaults().validate() }

func (o Options) validate() error {
	return errors.Join(o.validateTargets(), o.validateTimes(), o.validateShares(), o.validateLoad(),
		o.validateProfile(), o.validateMix())
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
	faults = append(faults, o.validateJudges())
	if o.Model == "" {
		faults = append(faults, errors.New("no model: any name that the target knows"))
	}
	return errors.Join(faults...)
}

func (o Options) validateJudges() error {
	var faults []error
	seen := map[string]string{}
	for _, t := range append([]Target{{Judge: o.Judge}}, o.Targets...) {
		if t.Judge == "" {
			continue
		}
		if _, err := parseBase(t.Judge); err != nil {
			faults = append(faults, fmt.Errorf("judge: %w", err))
		}
	}
	for _, t := range o.Targets {
		judge := strings.TrimRight(cmp.Or(t.Judge, o.Judge), "/")
		if other, taken := seen[judge]; o.Together && taken && judge != "" {
			faults = append(faults, fmt.Errorf("targets %q and %q are asked together but judged by one simulator, which keeps one set of books: name one for each", other, t.Name))
		}
		seen[judge] = t.Name
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
		{"time between conversations", o.SessionPause},
		{"interval", o.Interval},
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
		within("output tokens", o.OutputTokens, 0, maxTokens), within("turns", o.Turns, 0, maxTurns))
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
	if !(o.Speed > 0 && o.Speed <= maxSpeed) {
		faults = append(faults, fmt.Errorf("speed %v is not above 0 and up to %d", o.Speed, maxSpeed))
	}
	if o.GreedyLoops > 0 && o.GreedyFactor > 1 {
		faults = append(faults, errors.New("greedy loops and a greedy factor exclude each other: choose one"))
	}
	return errors.Join(faults...)
}

func (o Options) validateProfile() error {
	var faults []error
	if _, err := o.profile(); err != nil {
		faults = append(faults, err)
	}
	if !(o.Arrivals >= 0 && o.Arrivals <= 1e6) {
		faults = append(faults, fmt.Errorf("arrivals %v are not between 0 and a million a second", o.Arrivals))
	}
	if !(o.ArrivalsCV >= 0.01 && o.ArrivalsCV <= 100) {
		faults = append(faults, fmt.Errorf("coefficient of variation %v is not between 0.01 and 100", o.ArrivalsCV))
	}
	loads := 0
	for _, given := range []bool{o.Trace != nil, len(o.UserStages) > 0, o.Arrivals > 0, len(o.RateStages) > 0} {
		if given {
			loads++
		}
	}
	if loads > 1 {
		faults = append(faults, errors.New("a trace, stages of users, arrivals and stages of arrivals exclude each other: choose one"))
	}
	if o.open() && (o.GreedyLoops > 0 || o.GreedyFactor > 1 || o.PacedRate > 0 || o.UntilAnswers > 0) {
		faults = append(faults, errors.New("greedy and paced users, and answers for each, are of a closed loop: leave them out of an open one"))
	}
	if o.Trace != nil && o.Turns > 1 {
		faults = append(faults, errors.New("a trace knows no conversations: leave the turns out"))
	}
	return errors.Join(faults...)
}

func within(name string, value, low, high int) error {
	if value < low || value > high {
		return fmt.Errorf("%s: %d is not between %d and %d", name, value, low, high)
	}
	return nil
}
