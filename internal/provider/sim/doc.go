// Package sim decides what a real LLM provider would have answered: it admits
// or throttles by that provider's windows and accounting, answers with its
// bodies, headers, delays and faults, and keeps the books by which a caller is
// judged. It serves tests in process, the built-in model, and `millrace sim`.
//
// It is a judge: it has its own clock, its own windows and its own tokenizer,
// and shares no code with the gateway it judges.
//
// # Model
//
// A profile is a provider as data: the shape of its windows, the meter that
// says what a request costs, the style of headers and errors, and whether
// refused requests count. New profiles are new rows in profiles and meters.
//
//	profile  meter   requests/min     tokens/min      over the seats
//	openai   openai  bucket of 6 s    bucket of 6 s   429
//	azure    azure   slices of 10 s   fixed minute    429
//	vllm     usage   bucket of 6 s    bucket of 6 s   queue of 1,000, then 503
//
//	meter    at admission                                  later
//	openai   max(token bound, ceil(characters / 4))        nothing, no refund
//	azure    ceil(characters / 4) + token bound x choices  nothing, no refund
//	usage    true prompt tokens                            output as produced
//
// The token bound is max_completion_tokens or max_tokens as the client sent
// it; none sent counts as 0. Windows, each exact to the nanosecond:
//
//   - bucket: refills at limit/minute and holds Burst worth, at least 1. A cost
//     above the capacity fits only a full bucket, which then is in debt.
//   - sliding: at most the limit in any [t, t+minute).
//   - fixed: at most the limit in each minute of the wall clock.
//   - slice: the minute cut in slices of the wall clock, each with its part.
//     A cost above that part fits an untouched slice and weighs on the next.
//   - paced: sliding, and a bucket of 1 s.
//
// A day is a bucket that holds a whole day. x-ratelimit-limit is the figure of
// the minute, remaining is what would be admitted at this moment, reset is how
// long until nothing charged weighs any more; x-ratelimit-remaining of a
// bucket of 6 s is thus at most a tenth of the limit.
//
// A Speed above 1 makes all of this time pass so many times as fast: a minute
// of a window takes 60/Speed seconds. Only what a client is told is in its own
// time: waits (Retry-After, reset, the words of a 429), rounded up, and in
// x-ratelimit-limit what a minute of its own brings, Speed times the limit.
//
// A prompt has one token per 4.1 bytes, up to 10 % off by the text's hash, and
// 4 per message. The prose of an answer is a slice of a text written once;
// JSON for a response_format, a prompt that asks for feedback as JSON, and the
// arguments of tools are made for the schema. "ECHO:word" in a prompt answers
// the word. A fault is asked for by the header Sim-Fault (500, cut, hang, ...)
// or the model sim-500, sim-cut, ...; or comes from the fault script.
//
// # Invariants
//
//	I1  A window never admits more than it allows by this package's clock.
//	    Only output counted as it is produced puts one in debt.
//	I2  Each admitted request is charged its meter's formula exactly once, to
//	    every limit or to none.
//	I3  However a request ends, its seat is free at that moment.
//	I4  The same options and the same requests in the same order get the same
//	    answers at the same times.
//	I5  The statistics equal the log: requests = accepted + throttled + refused
//	    for other reasons; accepted + carried = answered + aborted + faulted +
//	    in_flight + waiting.
//	I6  At a speed of K all of it happens K times as fast, and is otherwise the
//	    same: windows, latencies, fault scripts, books.
//
// # Concurrency
//
// One mutex guards all windows and counters and is never held while waiting;
// one guards the fault script. There is no goroutine: each handler waits on
// its timer and its request's context, so that a synctest bubble can hold a
// whole provider. Randomness is a generator per request, seeded by the order
// of arrival; what an answer says depends on the prompt and the seed alone.
//
// # Failure
//
// A client that leaves is noticed through the request's context; what was
// produced until then stays charged. A cut ends the handler by
// http.ErrAbortHandler, as net/http asks. Bodies are bounded by 10 MB, nesting
// by 100, generated JSON by the work it takes. Bad options are all reported
// together.
//
// # Not here
//
// Other dialects than OpenAI's, prompt caches, prices, and whatever the
// gateway does about an answer.
package sim
