// Package gateway decides how HTTP clients meet the gateway: what it accepts,
// whom it takes them for, and in which form they get an answer, a place in line
// or an error.
//
// # Model
//
// Every pattern stands in a table with its access and its dialect of errors, the
// gateway's own as well as what others mount, and is reached through one guard,
// which decides on the pattern that matched and on nothing else. The table is all
// that Options decide; a reload swaps it, and who is under way keeps his.
//
// A request to /v1 is identified first, then its body is read whole and walked
// over once for the few members that matter; it is forwarded as it came. Its key
// names the tenant; its user is the first of the Millrace-User header, the body's
// safety_identifier and user, the token, the address. Its class is that of its
// key or route; the Millrace-Class header may only lower it. Then package dispatch
// runs it, and the [reply] puts into HTTP what dispatch says.
//
// A stream's header is kept back until its answer begins or dispatch tells where
// it stands; from then on the answer is 200 and events, waiting is told in
// comments and errors in a frame of OpenAI's shape. An answer that is not a
// stream is held in silence, or, where Prefer says respond-async, becomes a task
// whose place is told. A stream is told its place anyway: to it respond-async
// means nothing.
//
// # Invariants
//
//   - I1: nothing is forwarded before the body is read whole, valid JSON, within
//     its bounds, and free of members that two parsers could read differently.
//   - I2: a client can lower its class, never raise it; a key alone names the
//     tenant, and the classes it may have.
//   - I3: every error has its dialect's shape and words of our own, or is the
//     provider's own verdict on the request; nothing else of an error gets out.
//   - I4: Retry-After is a whole number from 1 to 59, or absent.
//   - I5: once a stream has begun, it ends with its own end, an error frame, or a
//     connection that breaks; an answer cut short never looks whole.
//   - I6: a client that does not read holds nothing longer than 30 s per write of
//     at most 64 KiB; one that reads slowly gets all.
//   - I7: while draining new requests are refused with 503 and running ones go on,
//     until Shutdown's grace ends; then each is told.
//   - I8: what a pattern's access does not open stays shut, however path, method
//     and header are written; models and tasks that are not the key's do not exist.
//   - I9: two requests share a call or an answer only if tenant, route, operation,
//     forwarded headers and body are the same, and, but for a route that says
//     otherwise, the user.
//   - I10: connections, headers, bodies and the time they take are bounded, and
//     forged addresses make nobody more than one user.
//   - I11: a reload touches nothing that runs or is kept.
//   - I12: without keys a page of another site learns and spends nothing, not even
//     by a name of its own that has been pointed here.
//
// # Concurrency
//
// A Gateway is safe for concurrent use. It starts no goroutine but those of
// net/http. The table is read through one atomic pointer.
//
// # Failure
//
// Everything becomes an HTTP answer in errors.go and dialect.go, the only places
// that know how. A panic of a handler is logged and answered with 500. A request
// that is turned away here leaves one event.Record, as dispatch does for all
// others; its cause is one of our own words. A client of HTTP/1 that closes only
// its sending side is taken to have left: net/http cannot tell the two apart.
//
// # Not here
//
// Queueing, retries, fallback (dispatch and below); the protocols of upstreams
// (provider); what bodies and wishes say (field); who is behind a proxy (peer);
// the application's endpoints; CORS: scripts of other origins need a proxy that
// answers their preflights.
package gateway
