package field

import "strings"

// Clean bounds a name that a client chose and takes control characters and
// broken UTF-8 out of it, so that it is safe in logs and headers.
func Clean(s string) string {
	if len(s) > MaxName {
		s = s[:MaxName]
	}
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == '\u2028' || c == '\u2029' {
			return '_'
		}
		return c
	}, strings.ToValidUTF8(s, "_"))
}
