package sim

import (
	"slices"
	"time"
)

// The kinds of window by which a limit is enforced.
const (
	WindowBucket  = "bucket"  // refills continuously, holds Burst worth
	WindowSliding = "sliding" // at most the limit in any span
	WindowFixed   = "fixed"   // starts anew with each span of the wall clock
	WindowSlice   = "slice"   // the span is cut in slices of the wall clock
	WindowPaced   = "paced"   // sliding and bucket together
)

// Shape is how limits are enforced.
type Shape struct {
	Kind  string        // one of the Window constants
	Slice time.Duration // length of a slice; for WindowSlice
	Burst time.Duration // what a bucket holds, as the time in which it refills
}

// reserve is what a request costs when it is admitted.
type reserve uint8

const (
	reserveNothing reserve = iota
	reserveChars           // ceil(characters of prompt / 4)
	reserveLargest         // the larger of the token bound and ceil(characters / 4)
	reserveSum             // ceil(characters / 4) + token bound of every choice
	reservePrompt          // true prompt tokens
)

// rule is how one token dimension is charged: at admission, and whether
// output is added as it is produced.
type rule struct {
	reserve  reserve
	produced bool
}

// meter is a provider's accounting.
type meter struct {
	name  string
	rules [dimensions]rule
}

func meters() []meter {
	var openai, azure, usage meter
	openai.name, azure.name, usage.name = "openai", "azure", "usage"
	for _, d := range []dimension{dimTokens, dimDayTokens} {
		openai.rules[d] = rule{reserve: reserveLargest}
		azure.rules[d] = rule{reserve: reserveSum}
		usage.rules[d] = rule{reserve: reservePrompt, produced: true}
	}
	for _, m := range []*meter{&openai, &azure, &usage} {
		m.rules[dimInput] = rule{reserve: reserveChars}
		m.rules[dimOutput] = rule{produced: true}
		m.rules[dimRamp] = rule{reserve: reserveChars}
	}
	usage.rules[dimInput] = rule{reserve: reservePrompt}
	return []meter{openai, azure, usage}
}

// style is a dialect of headers or of error bodies.
type style uint8

const (
	styleOpenAI style = iota
	styleAzure
	styleVLLM
)

// profile is a provider as data.
type profile struct {
	name           string
	meter          string
	requests       Shape // of requests a minute
	tokens         Shape // of tokens a minute, in every token dimension
	style          style
	countThrottled bool // a 429 takes one request
	countFailed    bool // a request refused for another reason takes one request
	queue          int  // who may wait for a seat; 0: over the seats is a throttle
	context        int64
}

func profiles() []profile {
	burst := Shape{Kind: WindowBucket, Burst: defaultBurst}
	return []profile{
		{
			name: "openai", meter: "openai", requests: burst, tokens: burst, style: styleOpenAI,
			countThrottled: true, countFailed: true, context: 128_000,
		},
		{
			name: "azure", meter: "azure", style: styleAzure, context: 128_000,
			requests: Shape{Kind: WindowSlice, Slice: 10 * time.Second}, tokens: Shape{Kind: WindowFixed},
		},
		{
			name: "vllm", meter: "usage", requests: burst, tokens: burst, style: styleVLLM,
			queue: 1000, context: 32_768,
		},
	}
}

// Profiles names the providers that can be simulated.
func Profiles() []string {
	var names []string
	for _, p := range profiles() {
		names = append(names, p.name)
	}
	return names
}

// Meters names the ways of accounting.
func Meters() []string {
	var names []string
	for _, m := range meters() {
		names = append(names, m.name)
	}
	return names
}

// Windows names the kinds of window.
func Windows() []string {
	return []string{WindowBucket, WindowSliding, WindowFixed, WindowSlice, WindowPaced}
}

func profileNamed(name string) (profile, bool) {
	all := profiles()
	i := slices.IndexFunc(all, func(p profile) bool { return p.name == name })
	if i < 0 {
		return profile{}, false
	}
	return all[i], true
}

func meterNamed(name string) (meter, bool) {
	all := meters()
	i := slices.IndexFunc(all, func(m meter) bool { return m.name == name })
	if i < 0 {
		return meter{}, false
	}
	return all[i], true
}

// cost is what a request charges to every dimension at admission.
type cost [dimensions]int64

func (m meter) cost(r *request, prompt int64) cost {
	var c cost
	for d := range c {
		c[d] = m.rules[d].amount(r, prompt)
	}
	c[dimRequests], c[dimDayRequests] = 1, 1
	return c
}

func (u rule) amount(r *request, prompt int64) int64 {
	chars := (r.chars + 3) / 4
	switch u.reserve {
	case reserveChars:
		return chars
	case reserveLargest:
		return max(chars, r.maxTokens)
	case reserveSum:
		return chars + r.maxTokens*r.choices
	case reservePrompt:
		return prompt
	case reserveNothing:
	}
	return 0
}
