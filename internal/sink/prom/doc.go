// Package prom decides what Prometheus is told: counts and histograms of the
// records it is given, and gauges read from their owners when it scrapes.
//
// # Model
//
//	millrace_requests_total{class,outcome}           requests by how they ended
//	millrace_unrouted_total{cause}                   those that came to no route, by what was unknown
//	millrace_queue_wait_seconds{class}               wait of those that were dispatched
//	millrace_time_to_first_byte_seconds{class}       arrival to first answer byte
//	millrace_request_duration_seconds{class}         arrival to end, all that were dispatched
//	millrace_eta_quoted_total{class,held}            promises about the wait, kept or broken
//	millrace_attempts_total{upstream,kind}           attempts by what became of them
//	millrace_tokens_total{upstream,direction}        input, output, cache_read, cache_write
//
// Whatever Options.Snapshot returns comes beside these.
//
// # Invariants
//
//	I1  Every label value comes from a closed list or from the configuration;
//	    any other class or upstream counts as "other". No user, tenant, key or
//	    request appears.
//	I2  Every series exists from the start, at zero.
//	I3  Record and Attempt allocate nothing.
//	I4  A snapshot that panics, repeats itself or is malformed costs its own
//	    series, never the page.
//	I5  The page passes the linter of the Prometheus project.
//	I6  What came to no route counts as that alone, and not as a request.
//
// # Concurrency
//
// All methods are safe for concurrent use. Options.Snapshot is called by each
// scrape, also by several at once.
//
// # Failure
//
// New fails on names that cannot be labels. Nothing fails later.
//
// # Not here
//
// Serving: the owner mounts Handler where operators, and nobody else, can reach
// it.
package prom
