package sim

import (
	"math/rand/v2"
	"strings"
	"unicode/utf8"
)

// corpus is English-like prose cut into tokens, written once: answers are
// slices of it, so that a completion costs no generation.
type corpus struct {
	text      string
	cuts      []int32 // token i is text[cuts[i]:cuts[i+1]]
	sentences []int32 // tokens that begin one
}

const corpusTokens = 1 << 14

func newCorpus(seed uint64) *corpus {
	rng := rand.New(rand.NewPCG(seed, 0x636f72707573))
	words := strings.Fields(vocabulary)
	c := &corpus{cuts: []int32{0}}
	var text strings.Builder
	token := func(s string) {
		text.WriteString(s)
		c.cuts = append(c.cuts, int32(text.Len()))
	}
	for len(c.cuts) <= corpusTokens {
		c.sentences = append(c.sentences, int32(len(c.cuts)-1))
		for i := range 6 + rng.IntN(9) {
			word := words[rng.IntN(len(words))]
			if i == 0 {
				word = strings.ToUpper(word[:1]) + word[1:]
			}
			half := len(word)
			if half > 5 {
				half = 3
			}
			token(" " + word[:half])
			if half < len(word) {
				token(word[half:])
			}
		}
		token(".")
	}
	c.text = text.String()
	return c
}

// append adds tokens from..to of the answer that begins at token start. The
// text needs no escaping in JSON. Past its end the corpus begins again.
func (c *corpus) append(dst []byte, start, from, to int64) []byte {
	n := int64(len(c.cuts) - 1)
	for from < to {
		at := (start + from) % n
		count := min(to-from, n-at)
		piece := c.text[c.cuts[at]:c.cuts[at+count]]
		if from == 0 {
			piece = strings.TrimPrefix(piece, " ")
		}
		dst = append(dst, piece...)
		from += count
	}
	return dst
}

// cutText cuts a given text into tokens of about four bytes.
func cutText(s string) []int32 {
	cuts := []int32{0}
	for i := 4; i < len(s); i += 4 {
		for i < len(s) && !utf8.RuneStart(s[i]) {
			i++
		}
		if i < len(s) {
			cuts = append(cuts, int32(i))
		}
	}
	if s == "" {
		return cuts
	}
	return append(cuts, int32(len(s)))
}

const hexDigits = "0123456789abcdef"

// appendEscaped adds s as the inside of a JSON string.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func appendQuoted(dst []byte, s string) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

const vocabulary = `a about above after again against all along also always among an and answer any area around as ask
at away back balance bank basin be because become before begin below better between both bridge bring broad build but by
call calm can carry case cause center change channel check clear close cold common compare complete consider contain
continue control corner cost could count course cover cross current curve daily decide deep depend design detail differ
direct distance divide down draw drive during each early earth easy edge effect either else end energy enough even every
example expect explain fall far fast few field figure fill final find first flow follow for form found four free fresh
from full further gate gather general gentle give go good gradual grain great green ground group grow half hand hard
have head hear heavy height help here high hold hour how if important in increase inside into just keep kind know land
large last later lay lead leave length less let level lie light like limit line list little long look low lower main
make many mark mean measure meet middle might mill minute more morning most move much must narrow near need never new
next night normal north note nothing now number observe of often old on once one only open order other our out over own
part pass path pattern people perhaps place plain plan point pond power present press process produce pull pulse purpose
quick quiet quite rain raise rate rather reach read ready reason record reduce remain report rest result return right
rise river road rock round rule run same sand say season second section see sense separate serve set several shall shape
share short should show side signal simple since single slope slow small smooth so some soon source south space speed
spread spring stand start state stay steady step still stone stop store stream strong study such sum summer support sure
surface system table take tell ten than that the their them then there these they thing think this those though three
through time to together toward track tree turn two under unit until up upon use usual valley value very view wait walk
wall want water way weather weight well west wet wheel when where whether which while whole why wide will wind winter
with within without wood work would year yet`
