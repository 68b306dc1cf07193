package quota

import (
	"math/bits"

	"github.com/millrace/millrace/internal/flow"
)

// Dim is what a limit counts.
type Dim uint8

// The dimensions. Total is input and output together.
const (
	Requests Dim = iota
	Input
	Output
	Total

	// NumDims is the number of dimensions.
	NumDims = 4
)

var dimNames = [NumDims]string{"requests", "input", "output", "tokens"}

// String returns the dimension as it appears in configuration and metrics.
func (d Dim) String() string {
	if int(d) < len(dimNames) {
		return dimNames[d]
	}
	return "unknown"
}

var dimReasons = [NumDims]flow.Reason{
	flow.ReasonRequests, flow.ReasonInput, flow.ReasonOutput, flow.ReasonTokens,
}

// DimSet is a set of dimensions. The zero value is empty.
type DimSet uint8

const everyDim DimSet = 1<<NumDims - 1

// Dims returns the set of the given dimensions.
func Dims(dims ...Dim) DimSet {
	var s DimSet
	for _, d := range dims {
		s |= 1 << d
	}
	return s
}

// Has reports whether d is in the set.
func (s DimSet) Has(d Dim) bool { return s&(1<<d) != 0 }

// Amount is how much a call needs or used, in units of each dimension. Where
// Total is counted as output is produced, Amount[Output] is the part of
// Amount[Total] that is. Negative or absurd entries are clamped.
type Amount [NumDims]int64

// most bounds one amount and maxSum bounds a window's sum, so that no sum of
// the two leaves int64.
const (
	most   = int64(1) << 50
	maxSum = int64(1) << 60
	far    = int64(1) << 61 // a time or a bound that is never reached
)

func (a Amount) clamped() Amount {
	for d, n := range a {
		if uint64(n) > uint64(most) { // one comparison for negative and absurd
			a[d] = min(max(n, 0), most)
		}
	}
	return a
}

// mulDiv returns a*b/c, rounded down and saturated at far. The arguments are
// not negative, c is positive.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return far
	}
	n, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(n, uint64(far)))
}
