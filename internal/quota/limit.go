package quota

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is how a provider enforces a limit.
type Kind uint8

// The kinds. Paced is the zero value and fits a provider of which nothing is
// known: at most Max in any Span, sent at Max per Span with a small burst that
// is learned. A paced limit over more than an hour is not spread out: it is
// Sliding.
const (
	Paced   Kind = iota
	Sliding      // at most Max in any Span
	Bucket       // a token bucket that holds Burst and refills Max per Span
	Fixed        // at most Max in each Span of the wall clock
	Slice        // at most Max*Slice/Span in each Slice, wherever slices begin
)

var kindNames = [...]string{"paced", "sliding", "bucket", "fixed", "slice"}

// String returns the kind as it appears in configuration.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// ParseKind returns the kind of that name. The empty name is Paced.
func ParseKind(name string) (Kind, error) {
	if name == "" {
		return Paced, nil
	}
	for i, n := range kindNames {
		if n == name {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("window kind %q is unknown; use one of %s", name, strings.Join(kindNames[:], ", "))
}

// Limit is one number in a quota: at most Max of Dim per Span.
type Limit struct {
	Dim  Dim
	Max  int64         // units per Span; positive
	Span time.Duration // 0 = one minute
	Kind Kind
	// Burst is what the provider's bucket holds, in units. Bucket: 0 = Max. Paced:
	// 0 = learn it; 5/6 of it are used.
	Burst int64
	// Slice is the length of a slice, for kind Slice. 0 = one second.
	Slice time.Duration
	// Shadow only watches: the limit is metered and shown as if it held, and calls
	// for which it had no room are counted, but it delays and refuses none.
	Shadow bool
}

const (
	minSpan   = 10 * time.Millisecond
	maxSpan   = 400 * 24 * time.Hour
	maxLimits = 16
	pacedSpan = time.Hour // the longest span over which a paced limit is spread out
)

// withDefaults fills in what zero stands for.
func (l Limit) withDefaults() Limit {
	if l.Span == 0 {
		l.Span = time.Minute
	}
	if l.Kind == Slice && l.Slice == 0 {
		l.Slice = time.Second
	}
	if l.Kind == Bucket && l.Burst == 0 {
		l.Burst = l.Max
	}
	return l
}

// perWindow scales an amount per Span to the window that is enforced.
func (l Limit) perWindow(n int64) int64 {
	if l.Kind == Slice {
		return mulDiv(n, int64(l.Slice), int64(l.Span))
	}
	return n
}

// validate expects defaults filled in and returns all faults.
func (l Limit) validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(l.Dim < NumDims, "dimension %d is unknown; use Requests, Input, Output or Total", l.Dim)
	check(int(l.Kind) < len(kindNames), "kind %d is unknown; use one of %s", l.Kind, strings.Join(kindNames[:], ", "))
	check(l.Max > 0 && l.Max <= most, "max is %d; set it to 1 .. %d per span", l.Max, most)
	check(l.Span >= minSpan && l.Span <= maxSpan, "span is %s; set it to %s .. %s", l.Span, minSpan, maxSpan)
	check(l.Burst >= 0 && l.Burst <= most, "burst is %d; set it to 0 .. %d", l.Burst, most)
	check(l.Burst == 0 || l.Kind == Bucket || l.Kind == Paced, "kind %s has no burst; leave it at 0", l.Kind)
	if l.Kind != Slice {
		check(l.Slice == 0, "kind %s has no slices; leave slice at 0", l.Kind)
		return errors.Join(faults...)
	}
	check(l.Slice >= minSpan && l.Slice <= l.Span, "slice is %s; set it to %s .. the span", l.Slice, minSpan)
	if faults == nil {
		check(l.perWindow(l.Max) > 0, "%d per %s is less than 1 in a slice of %s; use longer slices", l.Max, l.Span, l.Slice)
	}
	return errors.Join(faults...)
}
