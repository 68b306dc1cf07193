package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits is what the provider allows. Zero means no limit.
type Limits struct {
	Requests    int64 // a minute
	Tokens      int64 // a minute, by the meter
	Input       int64 // input tokens a minute
	Output      int64 // output tokens a minute
	DayRequests int64 // a day
	DayTokens   int64 // a day
	Seats       int   // requests in progress at once
}

// Ramp limits how fast the use may grow: above Above input tokens a minute,
// by at most half in each 15 minutes. More is answered by 429 slow_down.
type Ramp struct {
	Above int64 // input tokens a minute; 0: no such limit
}

// Latency is how long answers take. With all fields zero: first token after
// 450 ms in the median and 1.35 s at p95, plus 0.3 ms an input token, then one
// token each 15 ms, up to twice as slow as the seats fill.
type Latency struct {
	Total      time.Duration // the whole answer; replaces the model above, for load tests
	Sigma      float64       // spread of Total: sd of its logarithm, mean kept; 0: none
	First      time.Duration // median to the first token; 0: 450 ms
	FirstP95   time.Duration // 0: three times First
	InputToken time.Duration // added per input token; 0: 300 µs
	Token      time.Duration // between tokens, +-15 %; 0: 15 ms
	Speed      float64       // divides every time above, and nothing else; 0: 1
	Instant    bool          // no waiting at all
}

// Options describes a simulated provider. The zero value is an unlimited
// "openai" with the default latency.
type Options struct {
	Profile        string  // "": "openai"; see Profiles
	Meter          string  // "": the profile's; see Meters
	Seed           uint64  // of everything random
	Speed          float64 // how many times as fast as the machine's all of its time passes; 0: 1
	Limits         Limits
	Window         string        // kind of every minute window; "": the profile's; see Windows
	Slice          time.Duration // 0: the profile's, else 10 s
	Burst          time.Duration // 0: 6 s, and 1 s when Window is paced
	Ramp           Ramp
	Latency        Latency
	Output         int64    // completion tokens of every prose answer; 0: lognormal, median 151
	Dimensions     int      // of an embedding; 0: 256
	Context        int64    // tokens of prompt a model takes; 0: the profile's
	Queue          int      // who may wait for a seat; 0: the profile's
	Keys           []string // accepted credentials; none: any
	Models         []string // listed under /v1/models; none: "sim-large", "sim-small", "sim-embedding"
	HideLimits     bool     // no x-ratelimit headers
	HideRetryAfter bool     // no Retry-After headers
	FreeThrottled  bool     // a 429 never takes a request, whatever the profile says
	Faults         []Fault
}

const (
	defaultBurst      = 6 * time.Second
	defaultPacedBurst = time.Second
	defaultSlice      = 10 * time.Second
	defaultDimensions = 256
)

// validate returns all that is wrong with o, nil if nothing.
func (o Options) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("sim: "+format, args...)) }
	oneOf := func(what, got string, names []string) {
		if got != "" && !slices.Contains(names, got) {
			wrong("%s %q is not known: use one of %s", what, got, strings.Join(names, ", "))
		}
	}
	oneOf("profile", o.Profile, Profiles())
	oneOf("meter", o.Meter, Meters())
	oneOf("window", o.Window, Windows())
	l := o.Limits
	if min(l.Requests, l.Tokens, l.Input, l.Output, l.DayRequests, l.DayTokens, int64(l.Seats), o.Ramp.Above) < 0 {
		wrong("limits must not be negative: use 0 for no limit")
	}
	if max(l.Requests, l.Tokens, l.Input, l.Output, l.DayRequests, l.DayTokens) > maxLimit {
		wrong("limits must not exceed %d", int64(maxLimit))
	}
	t := o.Latency
	if min(t.Total, t.First, t.FirstP95, t.InputToken, t.Token, o.Slice, o.Burst) < 0 || t.Sigma < 0 || t.Speed < 0 {
		wrong("times, sigma and speed must not be negative")
	}
	if !(o.Speed >= 0 && o.Speed <= maxSpeed) {
		wrong("speed %v is not between 0 and %d", o.Speed, maxSpeed)
	}
	if o.Slice > time.Minute {
		wrong("slice %v is longer than the minute it divides", o.Slice)
	}
	if o.Output < 0 || o.Dimensions < 0 || o.Dimensions > maxDimensions || o.Context < 0 || o.Queue < 0 {
		wrong("output, dimensions (at most %d), context and queue must not be negative", maxDimensions)
	}
	return errors.Join(append(errs, o.faultErrors()...)...)
}

// maxSpeed bounds the speed: beyond it the millisecond by which a timer is late
// would be longer than the answers it times.
const maxSpeed = 10_000

// maxLimit keeps products of limits and times within reach of exact integers.
const maxLimit = 1 << 40

func (o Options) faultErrors() []error {
	var errs []error
	for i, f := range o.Faults {
		if err := f.validate(); err != nil {
			errs = append(errs, fmt.Errorf("sim: fault %d: %w", i, err))
		}
	}
	return errs
}

// withDefaults fills what was left zero. o has been validated.
func (o Options) withDefaults() (Options, profile, meter) {
	if o.Profile == "" {
		o.Profile = "openai"
	}
	p, _ := profileNamed(o.Profile)
	if o.Meter == "" {
		o.Meter = p.meter
	}
	m, _ := meterNamed(o.Meter)
	p.requests, p.tokens = o.shape(p.requests), o.shape(p.tokens)
	p.countThrottled = p.countThrottled && !o.FreeThrottled
	if o.Speed == 0 {
		o.Speed = 1
	}
	orInt(&o.Dimensions, defaultDimensions)
	orInt(&o.Context, p.context)
	orInt(&o.Queue, p.queue)
	if len(o.Models) == 0 {
		o.Models = []string{"sim-large", "sim-small", "sim-embedding"}
	}
	o.Latency = o.Latency.withDefaults()
	return o, p, m
}

// checkSlices refuses limits so small that a slice would hold less than one.
func checkSlices(o Options, p profile) error {
	var errs []error
	check := func(what string, n int64, s Shape) {
		if s.Kind == WindowSlice && n > 0 && mulDiv(n, int64(s.Slice), int64(time.Minute)) == 0 {
			errs = append(errs, fmt.Errorf("sim: %d %s a minute is less than one in a slice of %v: use a longer slice "+
				"or another window", n, what, s.Slice))
		}
	}
	check("requests", o.Limits.Requests, p.requests)
	check("tokens", o.Limits.Tokens, p.tokens)
	check("input tokens", o.Limits.Input, p.tokens)
	check("output tokens", o.Limits.Output, p.tokens)
	return errors.Join(errs...)
}

func (o Options) shape(s Shape) Shape {
	if o.Window != "" {
		s.Kind = o.Window
	}
	if o.Burst != 0 {
		s.Burst = o.Burst
	}
	if o.Slice != 0 {
		s.Slice = o.Slice
	}
	if o.Window == WindowPaced && o.Burst == 0 {
		s.Burst = defaultPacedBurst
	}
	orInt(&s.Burst, defaultBurst)
	orInt(&s.Slice, defaultSlice)
	return s
}

func (t Latency) withDefaults() Latency {
	orInt(&t.First, 450*time.Millisecond)
	orInt(&t.FirstP95, 3*t.First)
	orInt(&t.InputToken, 300*time.Microsecond)
	orInt(&t.Token, 15*time.Millisecond)
	if t.Speed == 0 {
		t.Speed = 1
	}
	return t
}

func orInt[T ~int | ~int64](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}
