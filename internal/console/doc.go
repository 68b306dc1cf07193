// Package console decides what people see of a running gateway, and what they
// may do to it: pages under /ui/, and the JSON under /api/v1/console/ that they
// are made of.
//
// # Model
//
// A frame is everything that changes by itself: who waits, the quotas, the
// breakers, what was answered lately. It is built at most once a second, when
// somebody asks, and shared: one stream of server-sent events per page carries
// each frame, and GET state answers the same bytes, so that a page and a program
// see the same numbers. What people look for by hand (settings, the latest
// requests, the story of one) is asked for apart.
//
// A Meter is a sink of package event: it counts what ended by time slices, for
// the figures of the last five minutes and of the day. What is true right now is
// read from its owner through Deps. A Shadow, another sink, sends the same
// arrivals to the same quotas without a queue, to know what the queue is good for.
//
// Where keys are configured a person logs in with one. The browser gets a random
// session in a cookie that no script can read and no other site can send; the key
// itself is not kept. A program may send its key with each request instead.
//
// # Invariants
//
//   - I1 Closed: where keys are configured nothing but the page's own files and
//     the login is answered to those without one; a key that is revoked ends its
//     sessions, streams included.
//   - I2 Same site: no request that a page of another site caused is answered
//     with data, and none changes anything. Without keys the name in Host must be
//     a loopback one, so that no foreign name can be pointed here: people have no
//     need of the other names that package gateway lets programs use.
//   - I3 Roles: a viewer changes nothing.
//   - I4 Audit: every login, and every action whether done, refused or without
//     effect, is one line of the log: who, what, on what, from where.
//   - I5 Inert: every answer forbids inline script and style, frames and foreign
//     sources; the pages write text as text alone. The report of a load run, which
//     styles itself, is in a sandbox that runs nothing.
//   - I6 One truth: all pages and GET state get the same frame, built at most
//     once a second, and after an act, however many there are.
//   - I7 Bounds: streams, sessions, classes, flows, users and requests shown are
//     bounded, and so is how often the gate is asked for them: once a second, and after
//     an act, however many people look, and for how many flows at once. No key's
//     sessions push out those of another while it has its own, nor do its streams. A
//     session, or without keys a page, has one plan, the newest, for as long as it asks
//     and at most 30 s; one is played at a time, and after it none for as long as it
//     took. What a search has found is kept for as long as it is used.
//   - I8 Drift: dist is what the bundler makes of web.
//   - I9 Avoided: the count of avoided 429s follows from the arrivals alone, in
//     whatever order they are told: what the same quotas would have refused
//     without a queue, of what was answered here.
//
// # Concurrency
//
// All methods may be called from any goroutine. No goroutine is started, but by the
// timer that forgets a search: a stream lives in the goroutine of its request.
//
// # Failure
//
// Errors are application/problem+json (RFC 9457). A stream that cannot be
// written ends; the page asks again, and by polling if that fails.
//
// # Not here
//
// Who listens where and the guard before every pattern (gateway), names of
// settings (config), what is done to a breaker (gate).
package console
