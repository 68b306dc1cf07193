package backoff

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The bounds of what is believed.
const (
	MaxHint  = 5 * time.Minute     // of a wait a provider asks for
	MaxReset = 31 * 24 * time.Hour // of the time until a limit is restored
)

// epochSlack is how far from now a number may lie to be read as an epoch.
// Outside it is a plain number of seconds.
const epochSlack = 366 * 24 * time.Hour

// until reads a point in time or a span in any form a provider uses, as the
// time from now. Negative means the past.
func until(now time.Time, s string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 64 {
		return 0, false
	}
	if v, ok := number(s); ok {
		return untilNumber(now, v), true
	}
	if d, rest, ok := span(s); ok && rest == "" {
		return d, true
	}
	return untilDate(now, s)
}

// untilNumber reads an epoch where that is plausible, else seconds.
func untilNumber(now time.Time, v float64) time.Duration {
	if v >= 1e9 && v < 1e14 {
		for _, perSecond := range [...]float64{1, 1e3} {
			at := time.UnixMilli(int64(v / perSecond * 1e3))
			if d := at.Sub(now); d > -epochSlack && d < epochSlack {
				return d
			}
		}
	}
	return seconds(v)
}

func untilDate(now time.Time, s string) (time.Duration, bool) {
	if c := s[0]; c >= '0' && c <= '9' {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t.Sub(now), true
		}
		return 0, false
	}
	if t, err := http.ParseTime(s); err == nil {
		return t.Sub(now), true
	}
	return 0, false
}

// number reads a plain decimal number. It is stricter than strconv: no hex, no
// inf, no underscore, no exponent but the one of large integers.
func number(s string) (float64, bool) {
	if s == "" { // the commonest case; an error of strconv would allocate
		return 0, false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}

// seconds converts without overflow: what does not fit becomes the nearest
// value that does.
func seconds(v float64) time.Duration { return scaled(v, time.Second) }

func scaled(v float64, unit time.Duration) time.Duration {
	ns := v * float64(unit)
	if ns >= math.MaxInt64 {
		return math.MaxInt64
	}
	if ns <= math.MinInt64 {
		return math.MinInt64
	}
	return time.Duration(ns)
}

// span reads numbers with units from the front of s, such as 84ms, 6m0s,
// 2m59.56s, 20 seconds, and returns what follows.
func span(s string) (total time.Duration, rest string, ok bool) {
	rest = s
	for {
		d, after, found := spanPart(rest)
		if !found {
			return total, rest, ok
		}
		if total += d; total > MaxReset { // also keeps the sum from overflowing
			total = MaxReset
		}
		rest, ok = after, true
	}
}

func spanPart(s string) (time.Duration, string, bool) {
	digits := 0
	for digits < len(s) && digits < 20 && (s[digits] >= '0' && s[digits] <= '9' || s[digits] == '.') {
		digits++
	}
	v, ok := number(s[:digits])
	if !ok {
		return 0, s, false
	}
	rest := strings.TrimPrefix(s[digits:], " ")
	letters := 0
	for letters < len(rest) && letters < 16 && (isLetter(rest[letters]) || rest[letters] >= 0x80) {
		letters++
	}
	unit := unitOf(rest[:letters])
	if unit == 0 {
		return 0, s, false
	}
	return min(scaled(v, unit), MaxReset), rest[letters:], true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// unitOf is the length of a unit in words or letters; 0 if it is none.
func unitOf(s string) time.Duration {
	switch s {
	case "ns":
		return time.Nanosecond
	case "us", "µs", "μs":
		return time.Microsecond
	case "ms", "millisecond", "milliseconds":
		return time.Millisecond
	case "s", "sec", "secs", "second", "seconds":
		return time.Second
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute
	case "h", "hr", "hour", "hours":
		return time.Hour
	case "d", "day", "days":
		return 24 * time.Hour
	}
	return 0
}

// clamp cuts a span to 0..limit.
func clamp(d, limit time.Duration) time.Duration { return min(max(d, 0), limit) }
