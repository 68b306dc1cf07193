package field

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/llm"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\r\nb": "a__b", "\x1b[31m": "_[31m", "é": "é", "\x80": "_", "a\u2028b": "a_b",
		strings.Repeat("x", 300): strings.Repeat("x", 256),
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestI4NamesThatBeginAlikeStayTwo: however a user is named, by a header or by any
// spelling of a body, the same name is the same user, and another one is another.
func TestI4NamesThatBeginAlikeStayTwo(t *testing.T) {
	long := strings.Repeat("tenant-with-a-long-prefix/", 20)
	names := []string{
		"plain", "é", "a\nb", "a_b", "a\tb", long, long + "1", long + "2", long + "1\n", strings.Repeat("é", 200), strings.Repeat("é", 201),
		strings.Repeat("\n", 300), strings.Repeat("\n", 301), strings.Repeat("x", MaxName), strings.Repeat("x", MaxName+1), strings.Repeat("x", 8*MaxName),
	}
	seen := make(map[string]string)
	for _, name := range names {
		got := Name(name)
		if other, twice := seen[got]; twice {
			t.Errorf("%.20q and %.20q are one: %q", name, other, got)
		}
		if seen[got] = name; len(got) > MaxName || Clean(got) != got {
			t.Errorf("Name(%.20q) = %q", name, got)
		}
		plain, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{string(plain), strconv.QuoteToASCII(name)} {
			for _, member := range []string{"user", "safety_identifier"} {
				body := `{"model":"m","messages":[],"` + member + `":` + text + `}`
				if f, err := Read([]byte(body), llm.OpChat); err != nil || f.User != got {
					t.Errorf("%s %.30s is %q, want %q: %v", member, text, f.User, got, err)
				}
			}
		}
	}
}

// TestI3LongNamesAreNotCopied: what is surely too long is only read.
func TestI3LongNamesAreNotCopied(t *testing.T) {
	for _, letter := range []string{"x", `\n`} {
		body := func(n int) []byte {
			return []byte(`{"model":"m","messages":[],"user":"` + strings.Repeat(letter, n) + `"}`)
		}
		short, long := body(7*MaxName), body(700*MaxName)
		few := testing.AllocsPerRun(20, func() { _, _ = Read(short, llm.OpChat) })
		if many := testing.AllocsPerRun(20, func() { _, _ = Read(long, llm.OpChat) }); many > few {
			t.Errorf("%q: %v allocations for a long name, %v for a shorter one", letter, many, few)
		}
	}
}
