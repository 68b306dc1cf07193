package estimate

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// What is kept at most, whatever clients send.
const (
	maxClasses = 64
	maxName    = 256 // bytes of a model name that gets figures of its own
)

// Options says what to believe before anything was learned.
type Options struct {
	Keys        int           // keys with figures of their own, about 7 KB each; 0 = 1,024
	OutputP50   int64         // tokens of an answer, median; 0 = 130
	OutputP90   int64         // tokens of an answer, 90th percentile; 0 = 600
	DurationP50 time.Duration // service time, median; 0 = 3 s
	DurationP90 time.Duration // service time, 90th percentile; 0 = 15 s
}

// Validate returns everything that makes no sense in o, joined.
func (o Options) Validate() error {
	var faults []error
	if o.Keys < 0 {
		faults = append(faults, fmt.Errorf("estimate.keys: %d is negative; use 0 for the default", o.Keys))
	}
	o = o.withDefaults()
	if o.OutputP90 < o.OutputP50 {
		faults = append(faults, fmt.Errorf("estimate.output: the 90th percentile %d is below the median %d", o.OutputP90, o.OutputP50))
	}
	if o.DurationP90 < o.DurationP50 {
		faults = append(faults, fmt.Errorf("estimate.duration: the 90th percentile %v is below the median %v", o.DurationP90, o.DurationP50))
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	o.Keys = orDefault(o.Keys, 1024)
	o.OutputP50 = orDefault(o.OutputP50, 130)
	o.OutputP90 = orDefault(o.OutputP90, max(600, o.OutputP50))
	o.DurationP50 = orDefault(o.DurationP50, 3*time.Second)
	o.DurationP90 = orDefault(o.DurationP90, max(15*time.Second, o.DurationP50))
	return o
}

func orDefault[T int | int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// Key says which requests are alike. Model is the upstream's name for it.
type Key struct {
	Model string
	Class flow.Class
	Kind  ContentKind
}

// Prediction is what a request is thought to need. Token counts are at least 0
// and at most 2^40; P90 is never below its median.
type Prediction struct {
	Input       int64         // prompt tokens, 90th percentile: what to reserve
	InputMean   int64         // prompt tokens, mean
	Output      int64         // completion tokens, median
	OutputP90   int64         // completion tokens, 90th percentile
	Duration    time.Duration // service time, median
	DurationP90 time.Duration // service time, 90th percentile
}

// Estimator predicts and learns. Use New.
type Estimator struct {
	o       Options
	keys    table
	classes map[flow.Class]*shared
	all     shared
}

// New returns an estimator that knows only its priors.
func New(o Options) *Estimator {
	o = o.withDefaults()
	return &Estimator{o: o, keys: newTable(o.Keys), classes: make(map[flow.Class]*shared)}
}

// Predict says what a request of this size will need. Of size it uses what is
// measured, and MaxOutput as a bound on output; 0 there is no bound.
func (e *Estimator) Predict(key Key, size llm.Size) Prediction {
	key = key.bounded()
	size = bounded(size)
	own := e.keys.get(key)
	class := e.classes[key.Class]
	p := Prediction{}
	p.InputMean, p.Input = e.input(own, class, key.Kind, size)
	p.Output, p.OutputP90 = e.output(own, class)
	p.Duration, p.DurationP90 = e.took(own, class)
	if size.MaxOutput > 0 {
		p.Output = min(p.Output, size.MaxOutput)
		p.OutputP90 = min(p.OutputP90, size.MaxOutput)
	}
	return p
}

// Learn books what a request of this size used and how long it ran. Usage that
// reports nothing is ignored; took of 0 or less is unknown.
func (e *Estimator) Learn(key Key, size llm.Size, usage llm.Usage, took time.Duration) {
	if usage.IsZero() {
		return
	}
	input, output := boundedUsage(usage)
	key = key.bounded()
	size = bounded(size)
	class := e.class(key.Class)
	if key.Model != "" {
		own := e.keys.put(key)
		own.prompt.learn(size, input)
		own.result.learn(output, took)
	}
	for _, s := range [...]*shared{class, &e.all} {
		if s != nil {
			s.prompt[key.Kind].learn(size, input)
			s.result.learn(output, took)
		}
	}
}

// Keys is how many keys have figures of their own.
func (e *Estimator) Keys() int { return e.keys.len() }

func (e *Estimator) input(own *figures, class *shared, kind ContentKind, size llm.Size) (mean, p90 int64) {
	p := e.promptOf(own, class, kind)
	if p == nil {
		most := fixed(size) + float64(size.TextBytes)/kind.bytesPerToken()
		return count(most / caution), count(most)
	}
	expected := p.mean(size)
	_, factor := p.factor.quantiles()
	mean = count(expected)
	return mean, count(expected * factor)
}

// promptOf is the narrowest that has seen enough; nil if none has.
func (e *Estimator) promptOf(own *figures, class *shared, kind ContentKind) *prompt {
	switch {
	case own != nil && own.prompt.ready():
		return &own.prompt
	case class != nil && class.prompt[kind].ready():
		return &class.prompt[kind]
	case e.all.prompt[kind].ready():
		return &e.all.prompt[kind]
	}
	return nil
}

func (e *Estimator) output(own *figures, class *shared) (p50, p90 int64) {
	h := e.narrowest(own, class, func(r *result) *histogram { return &r.output })
	if h == nil {
		return e.o.OutputP50, e.o.OutputP90
	}
	low, high := h.quantiles()
	return count(low), count(high)
}

func (e *Estimator) took(own *figures, class *shared) (p50, p90 time.Duration) {
	h := e.narrowest(own, class, func(r *result) *histogram { return &r.took })
	if h == nil {
		return e.o.DurationP50, e.o.DurationP90
	}
	low, high := h.quantiles()
	return duration(low), duration(high)
}

// narrowest is the histogram of the narrowest figures that have seen enough;
// nil if none have.
func (e *Estimator) narrowest(own *figures, class *shared, of func(*result) *histogram) *histogram {
	if own != nil {
		if h := of(&own.result); h.samples >= minSamples {
			return h
		}
	}
	if class != nil {
		if h := of(&class.result); h.samples >= minSamples {
			return h
		}
	}
	if h := of(&e.all.result); h.samples >= minSamples {
		return h
	}
	return nil
}

// class returns the figures of a class, new if need be; nil if there are too
// many classes.
func (e *Estimator) class(c flow.Class) *shared {
	s := e.classes[c]
	if s == nil && len(e.classes) < maxClasses && len(c) <= maxName {
		s = &shared{}
		e.classes[c] = s
	}
	return s
}

// bounded keeps a client's strange names from costing memory: a model without a
// name has no figures of its own.
func (k Key) bounded() Key {
	if len(k.Model) > maxName || len(k.Class) > maxName {
		k.Model = ""
	}
	if k.Kind >= kinds {
		k.Kind = Dense
	}
	return k
}

// boundedUsage returns all prompt tokens and the output tokens, each within
// 0..maxTokens.
func boundedUsage(u llm.Usage) (input float64, output int64) {
	for _, n := range [...]int64{u.Input, u.CacheRead, u.CacheWrite} {
		input += float64(min(max(n, 0), maxTokens))
	}
	return min(input, maxTokens), min(max(u.Output, 0), maxTokens)
}
