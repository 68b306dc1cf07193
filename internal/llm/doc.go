// Package llm is the vocabulary of calls to language models: how large a
// request is, what a provider says it used, and the kinds of ways it can fail.
//
// It knows no wire format and no HTTP client. Every floor above speaks in
// these nouns, so that a provider adapter, the gate and the load tester mean
// the same thing by "usage".
package llm
