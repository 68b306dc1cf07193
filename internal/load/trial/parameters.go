package trial

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/load"
)

// Parameters are what a person chooses. Zero means the default in parentheses.
type Parameters struct {
	Users             int     `json:"users"`               // (20, or as many as there may be)
	RequestsPerMinute float64 `json:"requests_per_minute"` // of each user, whatever the answers take (2, unless there is a ThinkSeconds)
	ThinkSeconds      float64 `json:"think_seconds"`       // mean time from an answer to the next request, instead
	Seconds           float64 `json:"seconds"`             // measured (60)
	WarmUpSeconds     float64 `json:"warmup_seconds"`      // before (none)
	Tokens            int     `json:"tokens"`              // of a prompt, in the mean (6000)
	OutputTokens      int     `json:"output_tokens"`       // asked of a simulator (its own choice)
	StreamShare       float64 `json:"stream_share"`        // 0 to 1 (none)
	Classes           []Class `json:"classes,omitempty"`   // drawn for each request (none)
	Seed              uint64  `json:"seed"`                // (1)
}

// Class is a part of the requests.
type Class struct {
	Class  string  `json:"class"`
	Weight float64 `json:"weight"` // against the sum of all; 0 means 1
}

// spread is that of the prompts' sizes.
const spread = 0.3

// maxClasses bounds the parts of a mix, maxRate the requests a minute of all users: the
// run shares a process with what serves.
const (
	maxClasses = 20
	maxRate    = 6000
)

// read reads parameters; members it does not know are faults.
func read(raw []byte) (p Parameters, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err = d.Decode(&p); err != nil && !errors.Is(err, io.EOF) {
		return p, fmt.Errorf("read parameters: %w", err)
	}
	return p, nil
}

func (p Parameters) withDefaults(o *Options) Parameters {
	p.Users, p.Seconds, p.Tokens, p.Seed = cmp.Or(p.Users, min(20, o.MaxUsers)), cmp.Or(p.Seconds, min(60, o.MaxDuration.Seconds())), cmp.Or(p.Tokens, 6000), cmp.Or(p.Seed, 1)
	if p.RequestsPerMinute == 0 && p.ThinkSeconds == 0 {
		p.RequestsPerMinute = 2
	}
	return p
}

// validate tells all that is wrong.
func (p Parameters) validate(o *Options) error {
	var faults []error
	within := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) {
			faults = append(faults, fmt.Errorf("%s: %v is not between %v and %v", name, v, low, high))
		}
	}
	most := o.MaxDuration.Seconds()
	within("users", float64(p.Users), 1, float64(o.MaxUsers))
	within("requests_per_minute", p.RequestsPerMinute, 0, 6000)
	within("think_seconds", p.ThinkSeconds, 0, most)
	within("seconds", p.Seconds, 1, most)
	within("warmup_seconds", p.WarmUpSeconds, 0, most)
	within("tokens", float64(p.Tokens), 1, 100_000)
	within("output_tokens", float64(p.OutputTokens), 0, 100_000)
	within("stream_share", p.StreamShare, 0, 1)
	if p.RequestsPerMinute > 0 && p.ThinkSeconds > 0 {
		faults = append(faults, errors.New("requests_per_minute and think_seconds exclude each other: choose one"))
	}
	if total := float64(p.Users) * p.RequestsPerMinute; total > maxRate {
		faults = append(faults, fmt.Errorf("users and requests_per_minute: %.0f requests a minute in all, at most %d beside a gateway that serves; millrace load has no such bound", total, maxRate))
	}
	if len(p.Classes) > maxClasses {
		faults = append(faults, fmt.Errorf("classes: %d, at most %d", len(p.Classes), maxClasses))
	}
	return errors.Join(faults...)
}

// options are those of the run. It is the load that checks weights and names.
func (p Parameters) options(o *Options) load.Options {
	l := load.Options{
		Targets: []load.Target{{Name: o.Name, URL: o.URL}}, Judge: o.Judge, Model: o.Model, Key: o.Key, Transport: o.Transport,
		Users: p.Users, PacedRate: p.RequestsPerMinute / 60, Think: seconds(p.ThinkSeconds), Duration: seconds(p.Seconds), WarmUp: seconds(p.WarmUpSeconds),
		Tokens: p.Tokens, TokensSigma: spread, OutputTokens: p.OutputTokens, StreamShare: p.StreamShare, Seed: p.Seed,
		Grace: grace, Timeout: timeout, ProgressEvery: every, Interval: every,
	}
	l.Ramp = l.Think
	if p.RequestsPerMinute > 0 { // all there within their first pause, and soon
		l.Ramp = min(seconds(60/p.RequestsPerMinute), seconds(p.WarmUpSeconds+p.Seconds/4))
	}
	for _, c := range p.Classes {
		l.Mix = append(l.Mix, load.Part{Path: "/v1/chat/completions", Weight: c.Weight, Class: c.Class})
	}
	return l
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// told are the parameters as the report tells them.
func (p Parameters) told() []load.Parameter {
	all := []load.Parameter{
		{Name: "users", Value: strconv.Itoa(p.Users)},
		{Name: "measured", Value: seconds(p.Seconds).String()},
		{Name: "warm-up", Value: seconds(p.WarmUpSeconds).String()},
		{Name: "tokens", Value: strconv.Itoa(p.Tokens)},
		{Name: "output tokens", Value: strconv.Itoa(p.OutputTokens)},
		{Name: "share of streams", Value: fmt.Sprint(p.StreamShare)},
		{Name: "seed", Value: strconv.FormatUint(p.Seed, 10)},
	}
	if p.ThinkSeconds > 0 {
		all = append(all, load.Parameter{Name: "mean time between an answer and the next request", Value: seconds(p.ThinkSeconds).String()})
	} else {
		all = append(all, load.Parameter{Name: "requests a minute of each user", Value: fmt.Sprint(p.RequestsPerMinute)})
	}
	for _, c := range p.Classes {
		all = append(all, load.Parameter{Name: "class " + c.Class, Value: fmt.Sprintf("weight %v", cmp.Or(c.Weight, 1))})
	}
	return all
}
