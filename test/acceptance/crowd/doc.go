// Package crowd decides whether everybody gets his own answer: 200 users of four
// tenants ask as fast as they are answered, for streams, tasks and plain answers,
// some leave before the end, and each answer is held against its prompt.
//
// The upstream has to echo what follows ECHO: in a prompt. A prompt to the model
// "mine" names its user, one to "ours" its tenant; the gateway may share answers
// between the users of a tenant only for the latter. Some prompts are the same for
// all: there the id that the upstream gave an answer tells whose it is. Each request
// counts as answered, canceled or an error; a foreign answer is one that is not the
// beginning of the right one, canceled or not.
package crowd
