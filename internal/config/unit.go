package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// problem is what is wrong with a value and how to mend it, before it is known
// where the value stands.
type problem struct{ what, mend string }

func (p *problem) Error() string { return p.what + "; " + p.mend }

func fail(mend, format string, args ...any) error {
	return &problem{what: fmt.Sprintf(format, args...), mend: mend}
}

// Rate is Count per Per, written 60/m. The zero value is no limit.
type Rate struct {
	Count int64
	Per   time.Duration
}

var rateUnits = []struct {
	name string
	per  time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}

// String returns the rate as it is written in a file, or "none".
func (r Rate) String() string {
	if r == (Rate{}) {
		return "none"
	}
	for _, u := range rateUnits {
		if u.per == r.Per {
			return strconv.FormatInt(r.Count, 10) + "/" + u.name
		}
	}
	return strconv.FormatInt(r.Count, 10) + "/" + r.Per.String()
}

func parseRate(text string) (Rate, error) {
	const mend = "write a count and a unit: 60/m, 20/s, 500/h or 10000/d"
	count, unit, found := strings.Cut(text, "/")
	if !found {
		return Rate{}, fail(mend, "%q has no unit of time", text)
	}
	n, err := parseCount(strings.TrimSpace(count))
	if err != nil {
		return Rate{}, fail(mend, "%q is not a rate", text)
	}
	unit = strings.TrimSpace(unit)
	for _, u := range rateUnits {
		if u.name == unit {
			return Rate{n, u.per}, nil
		}
	}
	return Rate{}, fail(mend, "%q has an unknown unit of time", text)
}

// maxCount is beyond any quota, and far from where sums overflow.
const maxCount = 1_000_000_000_000

// parseCount reads a whole number that is not negative; _ may part its digits.
func parseCount(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil || n < 0 || n > maxCount {
		return 0, fail("write a whole number such as 15", "%q is not a whole number in range", text)
	}
	return n, nil
}

// parseDuration reads Go's form, and d for days. A bare number is seconds where
// bare says so.
func parseDuration(text string, bare bool) (time.Duration, error) {
	const mend = "write a number and a unit: 500ms, 30s, 5m, 2h or 1d"
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		if !bare {
			return 0, fail(fmt.Sprintf("write %ss for seconds", text), "%q has no unit", text)
		}
		return seconds(n, text, mend)
	}
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.ParseFloat(days, 64); err == nil {
			return seconds(n*24*60*60, text, mend)
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fail(mend, "%q is not a length of time", text)
	}
	return seconds(d.Seconds(), text, mend)
}

// seconds keeps a duration between 0 and a year; NaN and infinities fail too.
func seconds(n float64, text, mend string) (time.Duration, error) {
	if !(n >= 0 && n <= 366*24*60*60) {
		return 0, fail(mend, "%q is not between 0 and a year", text)
	}
	return time.Duration(math.Round(n * float64(time.Second))), nil
}

func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Bytes is a size, written 32MiB or 500KB.
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}

// String returns the size as it is written in a file.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if int64(b) >= u.size && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

func parseBytes(text string) (Bytes, error) {
	const mend = "write a number and a unit: 512KiB, 32MiB or 1GiB"
	for _, u := range byteUnits {
		digits, found := strings.CutSuffix(text, u.name)
		if !found {
			continue
		}
		n, err := parseCount(strings.TrimSpace(digits))
		if err != nil || n > (1<<40)/u.size {
			break
		}
		return Bytes(n * u.size), nil
	}
	return 0, fail(mend, "%q is not a size", text)
}

// Secret is a credential. However it is printed or encoded, *** comes out;
// only Reveal returns it. The zero value is no secret.
type Secret struct{ value *string } // a pointer: fmt prints the bare fields of what it cannot call

// NewSecret wraps a credential.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

const masked = "***"

// Reveal returns the credential, "" for none. Only what sends it calls this.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports that there is no credential.
func (s Secret) IsZero() bool { return s.value == nil }

// String returns *** or, where there is no credential, nothing.
func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return masked
}

// GoString is String for %#v.
func (s Secret) GoString() string { return s.String() }

// Format is String for every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText is String for JSON, YAML and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Hash is the SHA-256 of a caller's key. It prints as its first 8 digits, enough
// to tell two apart and too few to try keys against. The zero value is none.
type Hash [32]byte

// String returns the first 8 hexadecimal digits and an ellipsis, "" for none.
func (h Hash) String() string {
	if h == (Hash{}) {
		return ""
	}
	return hex.EncodeToString(h[:4]) + "…"
}

// parseHash never repeats what it was given: that may be the key itself.
func parseHash(text string) (h Hash, err error) {
	if len(text) != 2*len(h) {
		return Hash{}, fail("write the 64 digits that `millrace keys create` put into keys.yaml, or sha256sum's", "has %d characters, and a SHA-256 has 64 digits", len(text))
	}
	if _, err := hex.Decode(h[:], []byte(text)); err != nil {
		return Hash{}, fail("write 0-9 and a-f only", "is not hexadecimal")
	}
	for _, sample := range append([]string{""}, samples...) {
		if h == sha256.Sum256([]byte(sample)) {
			return Hash{}, fail("make one with millrace keys create", "is the SHA-256 of nothing or of an example's placeholder")
		}
	}
	return h, nil
}
