package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// check tells flags of which one would be ignored, and those that say nothing beside
// the others.
func (f *loadFlags) check(given func(flag string) bool) error {
	rates := f.arrivals != "" || strings.Contains(f.stages, "/")
	trace := f.trace != "" || f.preset != ""
	open := rates || trace
	faults := []error{
		exclude(given, slices.Concat(
			against("users", "arrivals", "stages", "trace", "preset"),
			against("trace", "tokens", "tokens-sigma", "output-tokens", "think", "think-dist", "session-pause"),
			against("preset", "tokens", "tokens-sigma", "output-tokens", "think", "think-dist", "session-pause"),
			against("stream", "stream-share"), against("others-rate", "think"), against("together", "pause"),
		)...),
		idle(given, rates, "arrivals-cv", "arrivals", "stages of rates"),
		idle(given, open, "trace-users", "arrivals", "trace", "preset"),
		idle(given, open, "max-in-flight", "arrivals", "trace", "preset"),
		idle(given, f.preset != "", "rate", "preset"),
		idle(given, trace, "limit-rows", "trace", "preset"),
		idle(given, f.options.Mischief.Cancel > 0, "cancel-within", "cancel"),
		idle(given, f.options.Mischief.Stall > 0, "stall-for", "stall"),
		idle(given, f.html != "" || f.json, "interval", "html", "json"),
		f.checkOpen(given, rates, open),
		f.checkFiles(),
		f.checkLimits(),
	}
	return errors.Join(faults...)
}

// checkOpen tells what is of a closed loop alone.
func (f *loadFlags) checkOpen(given func(flag string) bool, rates, open bool) error {
	var faults []error
	wrong := func(ok bool, flag, why string) {
		if !ok && given(flag) {
			faults = append(faults, fmt.Errorf("--%s is of users who wait for answers, and these requests come whatever becomes of the ones before: %s", flag, why))
		}
	}
	wrong(!open, "ramp", "leave it out")
	wrong(!rates, "session-pause", "leave it out")
	wrong(!rates || f.options.Turns > 1, "think", "leave it out, or let them converse with --session-turns")
	wrong(!rates || f.options.Turns > 1, "think-dist", "leave it out, or let them converse with --session-turns")
	return errors.Join(faults...)
}

// checkLimits tells limits that would never hold, or always.
func (f *loadFlags) checkLimits() error {
	var faults []error
	for flag, share := range map[string]float64{"min-fairness": f.limits.MinFairness, "min-utilization": f.limits.MinUtilization} {
		if !(share >= 0 && share <= 1) {
			faults = append(faults, fmt.Errorf("--%s: %v is not between 0 and 1", flag, share))
		}
	}
	if f.limits.MaxP95 < 0 {
		faults = append(faults, fmt.Errorf("--max-p95: %v is negative", f.limits.MaxP95))
	}
	if f.maxThrottle < -1 {
		faults = append(faults, fmt.Errorf("--max-throttled: %d is negative: -1 allows any", f.maxThrottle))
	}
	return errors.Join(faults...)
}

// checkFiles tells that what one flag writes is what another names.
func (f *loadFlags) checkFiles() error {
	return errors.Join(oneFile("html", f.html, "csv", f.csv), oneFile("html", f.html, "trace", f.trace), oneFile("csv", f.csv, "trace", f.trace))
}
