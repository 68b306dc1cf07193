package breaker

import (
	"errors"
	"fmt"
	"time"
)

// maxProbes bounds the probes that may be outstanding, and the memory for them.
const maxProbes = 1024

// Options says when a breaker trips and how it recovers.
type Options struct {
	Failures  int           // consecutive failures that trip it; 0 = this rule is off
	Ratio     float64       // share of failures in Window that trips it, 0 to 1; 0 = 0.5, negative = this rule is off
	MinVolume int           // verdicts in Window before Ratio counts; 0 = 20
	Window    time.Duration // how far Ratio looks back; 0 = 30 s
	Open      time.Duration // how long it stays open; 0 = 60 s
	Probes    int           // probes outstanding at once while half-open, at most 1,024; 0 = 1
	Successes int           // good probes that close it; 0 = 1
	// ProbeTimeout is when a probe that was never given back counts as gone;
	// 0 = Open. It should be longer than the slowest request.
	ProbeTimeout time.Duration
}

// Validate returns everything that makes no sense in o, joined.
func (o Options) Validate() error {
	var faults []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.Failures < 0, "breaker.failures: %d is negative; use 0 to switch the rule off", o.Failures)
	check(o.Ratio != o.Ratio || o.Ratio > 1, "breaker.ratio: %v is no share; use a number from 0 to 1", o.Ratio)
	check(o.MinVolume < 0, "breaker.min_volume: %d is negative; use 0 for the default", o.MinVolume)
	check(o.Probes < 0 || o.Probes > maxProbes, "breaker.probes: %d is out of range; use 1 to %d", o.Probes, maxProbes)
	check(o.Successes < 0, "breaker.successes: %d is negative; use 0 for the default", o.Successes)
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"window", o.Window}, {"open", o.Open}, {"probe_timeout", o.ProbeTimeout}} {
		check(d.d < 0, "breaker.%s: %v is negative; use 0 for the default", d.name, d.d)
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	o.Failures = max(o.Failures, 0)
	if o.Ratio == 0 || o.Ratio > 1 || o.Ratio != o.Ratio {
		o.Ratio = 0.5
	}
	o.MinVolume = orDefault(o.MinVolume, 20)
	o.Window = max(orDefault(o.Window, 30*time.Second), slots)
	o.Open = orDefault(o.Open, 60*time.Second)
	o.Probes = min(orDefault(o.Probes, 1), maxProbes)
	o.Successes = orDefault(o.Successes, 1)
	o.ProbeTimeout = orDefault(o.ProbeTimeout, o.Open)
	return o
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}
