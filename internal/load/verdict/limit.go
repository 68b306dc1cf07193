package verdict

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/load"
)

// What is wrapped by the errors of a report.
var (
	ErrBreach = errors.New("breach")               // of a limit
	ErrSilent = errors.New("nothing was answered") // every request met an error
)

// Limits are what a report must keep. The zero value checks nothing.
type Limits struct {
	MaxErrors      *Allowance    // errors of the target; nil for any
	MinFairness    float64       // Jain's index, 0..1; 0 for any
	MaxP95         time.Duration // of the latency (the others', when one is greedy); 0 for any
	MaxThrottled   *int64        // on the judge's books; nil for any
	MinUtilization float64       // of the most used limit on the judge's books, 0..1; 0 for any
	Targets        []string      // names of the targets they hold for; empty for all
}

func (l Limits) empty() bool {
	return l.MaxErrors == nil && l.MinFairness == 0 && l.MaxP95 == 0 && l.MaxThrottled == nil && l.MinUtilization == 0
}

// Allowance is how many errors are allowed: a count, or a share of what was
// answered or failed.
type Allowance struct {
	Count   int64
	Share   float64 // 0..1
	IsShare bool
}

// ParseAllowance reads a whole number as a count, and a number with a point or
// a percent sign as a share: 0, 12, 0.01, 1%.
func ParseAllowance(s string) (Allowance, error) {
	number, percent := strings.CutSuffix(s, "%")
	if !percent && !strings.Contains(s, ".") {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return Allowance{}, fmt.Errorf("%q is neither a count (12) nor a share (0.01, 1%%)", s)
		}
		return Allowance{Count: n}, nil
	}
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share >= 0 && share <= 1) {
		return Allowance{}, fmt.Errorf("%q is no share between 0 and 1 (or 0%% and 100%%)", s)
	}
	return Allowance{Share: share, IsShare: true}, nil
}

// String returns the form ParseAllowance reads.
func (a Allowance) String() string {
	if !a.IsShare {
		return strconv.FormatInt(a.Count, 10)
	}
	s := strconv.FormatFloat(a.Share, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func (a Allowance) holds(failed, of int64) bool {
	if a.IsShare {
		return float64(failed) <= a.Share*float64(of)
	}
	return failed <= a.Count
}

// Check returns nil when the report keeps the limits, else one error for each
// breach, joined, each wrapping ErrBreach. What was not measured breaches. A target
// that answered nothing but errors is one that wraps ErrSilent, whatever the limits.
func Check(r *load.Report, l Limits) error {
	if l.empty() && len(l.Targets) == 0 {
		return silent(r.Targets)
	}
	var breaches []error
	checked := 0
	for i := range r.Targets {
		t := &r.Targets[i]
		if len(l.Targets) > 0 && !slices.Contains(l.Targets, t.Target) {
			continue
		}
		checked++
		breaches = append(breaches, silent(r.Targets[i:i+1]))
		if l.empty() {
			continue
		}
		for _, b := range l.breaches(t) {
			breaches = append(breaches, fmt.Errorf("%w: %s: %s", ErrBreach, t.Target, b))
		}
	}
	if checked == 0 || (len(l.Targets) > 0 && checked < len(l.Targets)) {
		breaches = append(breaches, fmt.Errorf("%w: not every target that was to be checked was asked", ErrBreach))
	}
	return errors.Join(breaches...)
}

func (l Limits) breaches(t *load.Result) []string {
	var all []string
	add := func(breached bool, format string, args ...any) {
		if breached {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(t.Answered == 0 && t.Errors == 0, "no answer at all")
	add(t.Unsent > 0, "%d arrivals were not sent: the load itself could not keep up", t.Unsent)
	if l.MaxErrors != nil {
		add(!l.MaxErrors.holds(t.Errors, t.Answered+t.Errors), "%d errors of %d, above %s", t.Errors, t.Answered+t.Errors, l.MaxErrors)
	}
	add(t.Fairness.Jain < l.MinFairness, "fairness %.4f, below %v", t.Fairness.Jain, l.MinFairness)
	if p95 := p95(t); l.MaxP95 > 0 {
		add(p95 > l.MaxP95, "p95 latency %v, above %v", p95.Round(time.Millisecond), l.MaxP95)
	}
	return append(all, l.judgeBreaches(t.Judge)...)
}

func (l Limits) judgeBreaches(j *load.JudgeReport) []string {
	if l.MaxThrottled == nil && l.MinUtilization == 0 {
		return nil
	}
	if j == nil {
		return []string{"no judge's books to look into: name the judge"}
	}
	var all []string
	if l.MaxThrottled != nil && j.Final.Throttled > *l.MaxThrottled {
		all = append(all, fmt.Sprintf("%d throttled by the judge, above %d", j.Final.Throttled, *l.MaxThrottled))
	}
	if used := j.Utilization(); used < l.MinUtilization {
		all = append(all, fmt.Sprintf("utilization %.4f, below %v", used, l.MinUtilization))
	}
	return all
}

// p95 is the latency that is judged.
func p95(r *load.Result) time.Duration {
	s := r.Latency
	if r.Others != nil {
		s = *r.Others
	}
	return time.Duration(s.P95 * float64(time.Millisecond))
}
