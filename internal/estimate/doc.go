// Package estimate decides how many tokens a request will need and how long it
// will run, before it runs. It has no tokenizer: it learns from what providers
// report.
//
// # Model
//
// Prompt tokens are taken to be
//
//	mean = 4 * messages + 1000 * images + text bytes * r
//
// with r, tokens per byte, the ratio of two exponentially weighted sums. Beside
// it stands the distribution of actual/mean; its 90th percentile times the mean
// is the estimate to reserve. Output tokens and service time are predicted by
// the median and the 90th percentile of what was seen.
//
// A percentile comes from a histogram of logarithmic buckets whose weights decay
// by half every [halfLife] samples. Each bucket knows its least and greatest
// value, so a constant is predicted exactly. After a step in the input, nine
// tenths of the weight is new within 170 samples.
//
// Figures are kept per [Key] (model, class, kind of content), per class and for
// everything. A prediction takes the narrowest of these that has seen minSamples,
// else the priors: conservative bytes per token of each [ContentKind], and the
// Options for output and time.
//
// # Invariants
//
//	I1  On stationary output, 87 to 93 % of the answers are within OutputP90.
//	I2  After a step in the output the same holds again within 200 samples.
//	I3  With the kinds of text we know, 50 samples bring the mean within 10 % and
//	    the reserve covers at least 85 % (checked against a real tokenizer).
//	I4  No number, however absurd, makes a prediction negative, smaller at the
//	    90th percentile than at the median, or larger than maxTokens.
//	I5  At most Keys keys and maxClasses classes are kept; the least recently used
//	    key goes first.
//	I6  Predict and Learn on a known key allocate nothing.
//
// # Concurrency
//
// None: the caller holds a lock. Predict changes the order of use and fills
// caches, so it needs the lock too.
//
// # Failure
//
// Usage that reports nothing teaches nothing. Numbers out of range are cut to
// it.
//
// # Not here
//
// Reading requests, and choosing what a provider reserves: meters in quota do
// that. Answers that broke off should not be learned; the caller knows which.
package estimate
