package field

import (
	"strconv"
	"strings"
	"time"
)

// maxWait bounds what a client may wish to wait, so that sums stay in range.
const maxWait = 24 * time.Hour

// Wish is what a client would like (RFC 7240).
type Wish struct {
	Async bool          // respond-async
	Waits bool          // wait was said
	Wait  time.Duration // how long to wait for the answer; at most a day
}

// Wishes reads all lines of the Prefer header. Of a wish that is told twice the
// first counts; one that is not known or not understood is passed over.
func Wishes(lines []string) (p Wish) {
	for _, line := range lines {
		for len(line) > 0 {
			var element string
			element, line = cutElement(line)
			p.take(element)
		}
	}
	return p
}

// take reads one preference: name [= value] *(; parameter).
func (p *Wish) take(element string) {
	wish, _ := cutQuoted(element, ';') // parameters mean nothing to the wishes we know
	name, value, valued := strings.Cut(wish, "=")
	name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	switch {
	case strings.EqualFold(name, "respond-async"):
		p.Async = p.Async || !valued || value == `""` // an empty value is as good as none
	case strings.EqualFold(name, "wait") && valued && !p.Waits:
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		p.Wait, p.Waits = Seconds(value)
	}
}

// cutElement cuts the first element off a list.
func cutElement(list string) (element, rest string) { return cutQuoted(list, ',') }

// cutQuoted cuts s at the first sep that stands outside of quotes.
func cutQuoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// Seconds reads a whole number of seconds, at most a day.
func Seconds(s string) (time.Duration, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	switch {
	case err != nil && allDigits(s):
		return maxWait, true // too large a number is a number all the same
	case err != nil:
		return 0, false
	}
	return time.Duration(min(n, uint64(maxWait/time.Second))) * time.Second, true
}

func allDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' }) < 0
}

// RefusesCache reports whether the lines of a Cache-Control header ask for an
// answer that is made anew.
func RefusesCache(lines []string) bool {
	for _, line := range lines {
		for len(line) > 0 {
			var directive string
			directive, line = cutElement(line)
			switch name, _, _ := strings.Cut(strings.TrimSpace(directive), "="); strings.ToLower(name) {
			case "no-cache", "no-store":
				return true
			}
		}
	}
	return false
}

// Timeout is how long a client says it waits, as the SDKs of OpenAI and Anthropic
// do in X-Stainless-Timeout, in seconds; 0 if it does not, or more than a day.
func Timeout(lines []string) time.Duration {
	if len(lines) == 0 {
		return 0
	}
	seconds, err := strconv.ParseFloat(lines[0], 64)
	if err != nil || !(seconds > 0) || seconds > maxWait.Seconds() {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// Retried reports whether X-Stainless-Retry-Count says that a client asks for the
// second time or later.
func Retried(lines []string) bool {
	return len(lines) > 0 && allDigits(lines[0]) && strings.Trim(lines[0], "0") != ""
}
