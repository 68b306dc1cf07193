package field

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

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

// Name is a user's name as Clean leaves it, told from those that begin alike or differ
// in what is taken out: who is one user waits in one line, and may share answers.
func Name(s string) string {
	if clean := Clean(s); clean != s {
		return marked(clean, sha256.Sum256([]byte(s)))
	}
	return s
}

// marked is a clean name with a mark of what it was.
func marked(clean string, sum [sha256.Size]byte) string {
	const mark = 8 // bytes
	return strings.ToValidUTF8(clean[:min(len(clean), MaxName-1-2*mark)], "") + "~" + hex.EncodeToString(sum[:mark])
}
