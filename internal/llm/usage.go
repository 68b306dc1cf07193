package llm

// Usage is what a provider reports that a call consumed, in tokens. The zero
// value means that nothing was reported. Fields never overlap: Input excludes
// what was read from or written to a prompt cache, and Output includes
// reasoning tokens.
type Usage struct {
	Input      int64 // prompt tokens processed at full price
	CacheRead  int64 // prompt tokens answered from the provider's cache
	CacheWrite int64 // prompt tokens stored in the provider's cache
	Output     int64 // completion tokens, reasoning included
}

// Prompt is all prompt tokens, cached or not.
func (u Usage) Prompt() int64 { return u.Input + u.CacheRead + u.CacheWrite }

// Total is every token of the call.
func (u Usage) Total() int64 { return u.Prompt() + u.Output }

// IsZero reports whether the provider reported nothing.
func (u Usage) IsZero() bool { return u == Usage{} }

// Size is how large a request is before it runs. TextBytes is measured; the
// token counts are estimates, except MaxOutput, which the client asked for.
type Size struct {
	TextBytes int64 // bytes of prompt text, JSON syntax excluded
	Messages  int64 // messages or inputs in the request
	Images    int64 // image parts
	Input     int64 // estimated prompt tokens, at the reserve quantile (p90)
	Output    int64 // predicted completion tokens, at the reserve quantile (p90)
	MaxOutput int64 // the client's bound on completion tokens, of all choices; 0 when not set
	Choices   int64 // answers that were asked for at once; 0 counts as 1
}
