// Package endpoint decides what an application's own route does: what it asks of
// a request, what it asks a model, and which answer it takes for one.
//
// # Model
//
// An [Endpoint] is configuration: a path, the members a request must have, a
// prompt around them, and the form of the answer. There is no code for single
// applications. A POST on its path becomes a task.Task with the request's body
// as payload; the handler waits for it up to the endpoint's wait and then either
// hands out the result or the task's id. [Set.Work] is what runs such a task: it
// reads the payload again, renders the prompt, lets package dispatch ask the
// model for a stream, tells how far it is, and brings what came into the form.
//
//	POST path ------> request -> task -> wait -> result | failure | task id
//	runner ---> Work: request -> prompt -> dispatch -> stream -> answer -> result
//
// Beside the endpoints' own paths there are GET /task_status/{id}, POST
// /cancel_task/{id}, GET /queue_stats, GET /model_stats, POST
// /reset_model_cooldowns and GET /health.
//
// The forms of an answer are text, JSON, and feedback: a list of findings with
// known members. Models write JSON with fences, prose, trailing commas or a
// missing end; package repair reads what is meant, but nothing is invented. A list that was cut short gives its complete items and says "partial".
//
// A client is held as long as the endpoint's wait says. Prefer: wait=N (RFC 7240)
// makes that N seconds, at most 110, shorter or longer; respond-async alone makes
// it none.
//
// # Invariants
//
//   - I1: a request is taken only if it is one JSON object, no member of it twice
//     on any level, and what the endpoint names in it is there and of its type.
//   - I2: a placeholder is replaced once; what a client sent is never looked at
//     for placeholders again.
//   - I3: an answer that is not of the endpoint's form ends as a failure, never as
//     a success.
//   - I4: of an answer that was cut short only complete items stay, and it says
//     that it is partial; without one it is a failure.
//   - I5: valid JSON is read as it stands; repair changes nothing in it.
//   - I6: a task whose id its client can never have learned is canceled: the client
//     left while it was held.
//   - I7: another tenant's task looks like one that does not exist, to every route.
//   - I8: the class of a task is the endpoint's or, by Millrace-Class, a known one
//     of no more weight; a key's lists of classes and models hold.
//   - I9: a conversation grows by a question and its answer, or not at all.
//
// # Concurrency
//
// A Set is immutable and its methods are safe for concurrent use. It starts no
// goroutine and holds no lock.
//
// # Failure
//
// A request that is refused gets 400, 403 or 413 and {"success":false,"error"}.
// What the gateway or the runner refuses goes through Deps.Refuse. Work returns
// *task.Failure with words of our own; the runner decides on retries. The words
// of a failed task are looked up in the same table to give it an HTTP status.
//
// # Not here
//
// Keys, bounds of bodies, panics (gateway); retries and where tasks are kept
// (runner, store); queueing and limits of classes (admission, dispatch).
package endpoint
