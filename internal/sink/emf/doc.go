// Package emf decides what Amazon CloudWatch is told: lines of JSON in its
// embedded metric format, from which the service makes metrics by itself.
//
// # Model
//
// Records and attempts are only counted. Once an Interval the counts become one
// batch of lines: one for each class, one for each upstream, one for each
// window of a quota and one for what came to no route. All are in Options.Namespace.
//
//	dimensions             metrics
//	[Class], []            Requests, Served, Refused, HoldExpired, Failed, Rejected, Canceled,
//	                       Answers429, Waiting
//	[]                     Unrouted: came to no route, and counts for nothing else
//	[Class]                QueueWaitP50, QueueWaitP95 (Milliseconds)
//	[Class], []            QueueWaitMax (Milliseconds)
//	[Upstream], []         Attempts, Throttles, Errors, InputTokens, OutputTokens
//	[Upstream]             SeatsUsed, BreakerOpen, and SeatsUse (Percent) where seats are limited
//	[Upstream,Limit,Span]  QuotaUsed, QuotaReserved, QuotaLimit, QuotaLearned, QuotaUse (Percent)
//
// Counts are of the interval, so their Sum is the total. Percentiles are of the
// requests that were dispatched within it; they are left out where there were
// none. The metrics without a dimension are the sums of all classes or upstreams.
//
// # Invariants
//
//   - I1 Valid: every line is a document by the published schema, names at most 100
//     metrics and 30 dimensions, holds every member it names, and is at most 256 KB.
//   - I2 Closed: dimension values come from the configuration or a closed list; any
//     other class or upstream counts as "other". No user, tenant, key or request appears.
//   - I3 Once: what is counted is told in exactly one batch.
//   - I4 Cheap: Record and Attempt allocate nothing and take no lock; nothing is
//     written for a request.
//   - I5 Followed: a batch stands in the file that bears the name when it is written,
//     whatever was renamed or removed before, and no other file stays open.
//
// # Concurrency
//
// All methods are safe for concurrent use. Run belongs to one goroutine of its
// owner's. A File is looked at when it is written to; nothing watches it.
//
// # Failure
//
// A batch that cannot be written, or whose [File] cannot be opened anew, is lost and
// logged; the next one is tried. A
// snapshot that panics costs its own lines.
//
// # Not here
//
// Sending: whoever takes the lines to CloudWatch Logs does (the runtime of a
// function or container, or the CloudWatch agent).
package emf
