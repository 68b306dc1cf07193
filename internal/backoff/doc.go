// Package backoff decides what a provider's refusal means and how long to wait
// before the next try.
//
// # Model
//
// [Read] turns a failed answer into an [llm.Error]: status, header and body
// give its kind, code, message and hint. [Classify] gives the kind alone.
// Throttling is matched before everything that sounds like it, for "too many
// tokens, please wait" is a throttle while "request too large" is final, though
// both arrive as 429. Words that mean spent money count only as codes, or at
// the start of a message, so that a client's own text echoed in an error
// cannot take an upstream out of service.
//
// The hint is the wait the provider asks for, the first that is there of
//
//	retry-after-ms, Retry-After, x-amz-retry-after
//	retryDelay or retry_after in the body, "try again in 84ms" in its text
//	the longest reset of a limit that has nothing left (RateLimit, X-RateLimit)
//
// A number may be seconds (with a fraction), or the seconds or milliseconds of
// an epoch within a year of now; a text may be an HTTP date, RFC 3339 or a span
// such as 6m0s. Every hint is cut to 0..[MaxHint].
//
// [AppendLimits] reads what a provider says about its limits:
//
//	x-ratelimit-{limit,remaining,reset}-{requests,tokens,project-tokens,
//	    input-tokens,output-tokens}: OpenAI, Azure (remaining only), Groq, LiteLLM
//	anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-...
//	RateLimit and RateLimit-Policy, draft 7 and since draft 8; RateLimit-* of draft 6
//	X-RateLimit-{Limit,Remaining,Reset}
//
// The same OpenAI names mean a minute at OpenAI and a day at Groq for requests,
// so Window is 0 there. Pools apart from the common one (anthropic-priority-*, -fast-*) are
// not read. A remaining amount may only lower what is believed to be left:
// others share the quota.
//
// [Delay] is exponential with full jitter. [Budget] bounds retries by
//
//	retries <= Floor + Ratio * requests    over the last Window
//
// so that attempts stay within 1.1 times the requests however much fails.
//
// # Invariants
//
//	I1  Every hint is within 0..MaxHint; every number of a Limit is -1 or not
//	    negative, and Reset is at most MaxReset.
//	I2  Without rate-limit headers AppendLimits allocates nothing.
//	I3  0 <= Delay <= min(Cap, Base * 2^attempt), for any attempt.
//	I4  At every retry that Budget allows, the retries of the window, this one
//	    included, are within the bound above.
//	I5  No key, token or password that Redact knows leaves Read in Message or Body.
//	I6  Any status, header and body yield a kind; none panics.
//
// # Concurrency
//
// Everything but Budget is a function of its arguments. Budget belongs to one
// goroutine at a time.
//
// # Failure
//
// What cannot be understood is treated as not said. Only the first 64 KiB of a
// body and 4 KiB of a header are looked at.
//
// # Not here
//
// Deciding whether to retry: that takes the route, the deadline and the place in
// line. Changing a quota: quota does it with the limits read here.
package backoff
