package estimate

import (
	"math"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// What is believed, counted and learned.
const (
	tokensPerMessage = 4
	tokensPerImage   = 1000
	minSamples       = 8       // below this the wider figures are taken
	maxTokens        = 1 << 40 // bounds every count of bytes and tokens
	maxTook          = 12 * time.Hour
	leastRatio       = 1.0 / 64 // tokens per byte
	mostRatio        = 4.0
	memory           = 64 // samples over which the ratio is averaged
	caution          = 1.25
)

// prompt is what is known of the input of one kind of text.
type prompt struct {
	tokens, bytes float64 // exponentially weighted sums
	factor        histogram
}

// ratio is tokens per byte.
func (p *prompt) ratio() float64 { return min(max(p.tokens/p.bytes, leastRatio), mostRatio) }

func (p *prompt) ready() bool { return p.factor.samples >= minSamples && p.bytes > 0 }

// mean predicts the prompt's tokens.
func (p *prompt) mean(s llm.Size) float64 { return fixed(s) + float64(s.TextBytes)*p.ratio() }

// learn books a prompt of size s that had so many tokens. Prompts with images
// teach nothing about text, and what an image costs is not known well enough.
func (p *prompt) learn(s llm.Size, tokens float64) {
	if tokens <= 0 || s.TextBytes <= 0 || s.Images > 0 {
		return
	}
	size := float64(s.TextBytes)
	text := min(max(tokens-fixed(s), size*leastRatio), size*mostRatio)
	factor := 1.0
	if p.bytes > 0 { // from what was believed before, as a prediction would be
		factor = tokens / p.mean(s)
	}
	p.factor.add(factorScale, factor)
	const decay = 1 - 1.0/memory
	p.tokens = p.tokens*decay + text
	p.bytes = p.bytes*decay + size
}

// fixed is what does not depend on the text.
func fixed(s llm.Size) float64 {
	return float64(s.Messages*tokensPerMessage + s.Images*tokensPerImage)
}

// figures are what is known of one key.
type figures struct {
	prompt prompt
	result result
}

// result is what is known of answers.
type result struct {
	output histogram // tokens
	took   histogram // seconds
}

func (r *result) learn(output int64, took time.Duration) {
	r.output.add(tokenScale, float64(output))
	if took > 0 {
		r.took.add(timeScale, min(took, maxTook).Seconds())
	}
}

// shared are the figures of many keys: prompts by kind of text, for that is
// what they depend on.
type shared struct {
	prompt [kinds]prompt
	result result
}

// bounded cuts every number of s to what can be calculated with.
func bounded(s llm.Size) llm.Size {
	for _, n := range [...]*int64{&s.TextBytes, &s.MaxOutput} {
		*n = min(max(*n, 0), maxTokens)
	}
	for _, n := range [...]*int64{&s.Messages, &s.Images} {
		*n = min(max(*n, 0), maxTokens/tokensPerImage)
	}
	return s
}

// count makes a whole number of tokens within 0..maxTokens, rounded up but for
// the noise of the arithmetic.
func count(v float64) int64 {
	v = min(max(v, 0), maxTokens)
	return int64(math.Ceil(v - 1e-9*v))
}

func duration(seconds float64) time.Duration {
	return time.Duration(min(max(seconds, 0), maxTook.Seconds()) * float64(time.Second))
}
