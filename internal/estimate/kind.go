package estimate

// ContentKind is what a text looks like, for how densely it is cut into tokens.
type ContentKind uint8

// The kinds. Prose is the zero value.
const (
	Prose ContentKind = iota // words of a language in a mostly Latin script
	Code                     // source code, JSON, markup
	CJK                      // mostly characters beyond ASCII, of any script
	Dense                    // base64, hexadecimal, tables of numbers
	kinds
)

// String returns the kind as it appears in logs.
func (k ContentKind) String() string {
	switch k {
	case Prose:
		return "prose"
	case Code:
		return "code"
	case CJK:
		return "cjk"
	case Dense:
		return "dense"
	}
	return "unknown"
}

// bytesPerToken is what is believed of a kind before anything was learned. It
// errs to the small side, which reserves more.
func (k ContentKind) bytesPerToken() float64 {
	switch k {
	case Prose:
		return 3.3
	case Code:
		return 2.5
	case CJK:
		return 2.4
	case Dense:
		return 1.3
	}
	return 1.3
}

// sampleBytes is how much of a text Kind looks at.
const sampleBytes = 1 << 10

// Kind tells what a text looks like from its first KiB.
func Kind(sample []byte) ContentKind {
	sample = sample[:min(len(sample), sampleBytes)]
	if len(sample) == 0 {
		return Prose
	}
	var count [classesOfByte]int
	run, longest := 0, 0
	for _, c := range sample {
		class := classOf[c]
		count[class]++
		run++
		if class == byteSpace {
			run = 0
		}
		longest = max(longest, run)
	}
	n := len(sample)
	switch {
	case count[byteWide]*10 >= n*3:
		return CJK
	case count[byteDigit]*3 >= n:
		return Dense
	case longest >= 96 && longest*3 >= n && count[byteMark]*22 < n:
		return Dense
	case count[byteMark]*22 >= n:
		return Code
	}
	return Prose
}

// Classes of bytes that tell the kinds apart.
const (
	byteOther = iota
	byteSpace
	byteDigit
	byteMark // frequent in code, rare in prose
	byteWide // beyond ASCII
	classesOfByte
)

var classOf = func() (table [256]uint8) {
	for c := range table {
		switch {
		case c >= 0x80:
			table[c] = byteWide
		case c >= '0' && c <= '9':
			table[c] = byteDigit
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			table[c] = byteSpace
		}
	}
	for _, c := range []byte(`{}[]()<>=:;"_*&|\$#@`) {
		table[c] = byteMark
	}
	return table
}()
