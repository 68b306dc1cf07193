package dispatch

import (
	"strings"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// Sets of dimensions that a throttle can be about. A provider that says tokens
// means whatever kind of tokens its quota is in.
var (
	anyTokens   = quota.Dims(quota.Total, quota.Input, quota.Output)
	requestDims = quota.Dims(quota.Requests)
)

// throttleWords are how messages name what ran out, the more exact ones first.
var throttleWords = [...]struct {
	words string
	dims  quota.DimSet
}{
	{"input tokens per", quota.Dims(quota.Input)},
	{"output tokens per", quota.Dims(quota.Output)},
	{"tokens per", anyTokens},
	{"token rate limit", anyTokens},
	{"requests per", requestDims},
	{"request rate limit", requestDims},
}

// limitDims are what headers count.
var limitDims = [...]quota.DimSet{
	backoff.Requests: requestDims,
	backoff.Tokens:   anyTokens,
	backoff.Input:    quota.Dims(quota.Input),
	backoff.Output:   quota.Dims(quota.Output),
}

// throttled is what a throttle was about: as its message says, else its type,
// else the limits of which nothing remains. 0 where none of them tells.
func throttled(e *llm.Error, limits []backoff.Limit) quota.DimSet {
	message := strings.ToLower(e.Message)
	for _, w := range throttleWords {
		if strings.Contains(message, w.words) {
			return w.dims
		}
	}
	switch e.Type {
	case "tokens":
		return anyTokens
	case "requests":
		return requestDims
	}
	var dims quota.DimSet
	for _, l := range limits {
		if l.Remaining == 0 && int(l.Dim) < len(limitDims) {
			dims |= limitDims[l.Dim]
		}
	}
	return dims
}
