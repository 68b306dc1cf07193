package explain

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// outcomeWords begin the sentence on each outcome.
var outcomeWords = map[string]string{
	"served":       "Answered in full",
	"failed":       "Failed, for no upstream helped,",
	"rejected":     "Called wrong by the provider",
	"canceled":     "Given up by its client",
	"refused":      "Turned away on arrival",
	"hold_expired": "Sent back when its client could not be held any longer,",
	"evicted":      "Taken out of the queue",
	"deadline":     "Ended by the time limit of its class",
	"cached":       "Answered from the cache",
	"coalesced":    "Answered by the call of an identical request",
	"disconnected": "Left by its client during the answer,",
}

// wants are what is waited for, by reason.
var wants = map[flow.Reason]string{
	flow.ReasonNone:     "its turn",
	flow.ReasonTurn:     "its turn, behind others",
	flow.ReasonRequests: "the upstream's requests per time",
	flow.ReasonInput:    "the upstream's input tokens per time",
	flow.ReasonOutput:   "the upstream's output tokens per time",
	flow.ReasonTokens:   "the upstream's tokens per time",
	flow.ReasonSeats:    "a free seat at the upstream",
	flow.ReasonRate:     "the rate of its class",
	flow.ReasonBreaker:  "an upstream that is not down",
	flow.ReasonRamp:     "a slow start after idle time",
	flow.ReasonTasks:    "the gateway's own bound on tasks at a time",
	flow.ReasonTenant:   "the limits of its own key",
	flow.ReasonPaused:   "an operator to let its class go on",
}

func wantOf(why flow.Reason) string {
	if words := wants[why]; words != "" {
		return words
	}
	return string(why)
}

// kindWords are failures of attempts.
var kindWords = map[string]string{
	"none":      "done",
	"throttle":  "it was throttled",
	"exhausted": "the account is used up",
	"overload":  "the provider is overloaded",
	"transient": "the provider or the connection to it failed",
	"timeout":   "it took too long",
	"canceled":  "it was canceled",
	"invalid":   "the provider called the request wrong",
	"too_large": "the request or its answer is too large",
	"auth":      "the provider refused the gateway's credential",
	"internal":  "a fault inside the gateway",
}

// causeWords are why requests do not run, or not to their end.
var causeWords = map[string]string{
	"queue_full":  "The queue was full",
	"flow_full":   "Its user had as many requests waiting as one user may",
	"too_long":    "The wait would have been longer than its client can be held",
	"too_large":   "It is larger than the whole quota, and can never run",
	"draining":    "The gateway was shutting down",
	"no_upstream": "No upstream could take it",
	"hold":        "Its turn had not come when its client could not be held any longer",
	"drained":     "The gateway shut down while it waited",
	"client_left": "Its client left",
	"hard_limit":  "It ran longer than its class may",
	"soft_limit":  "It ran up to the soft limit of its class, and was asked to finish",
	"removed":     "An operator took it out of the queue",
	"replaced":    "The same request came again and took its place",
	"behind":      "Its client read a shared answer too slowly",
}

// endOf says how it ended.
func endOf(r *event.Record) string {
	text := "ended: " + r.Outcome.String()
	if r.Status > 0 {
		text += fmt.Sprintf(", HTTP %d to the client", r.Status)
	}
	if r.RetryAfter > 0 && r.Attempts == 0 {
		text += ", to come back after " + span(r.RetryAfter)
	}
	return text
}

// longWait is a wait that is worth a word on how to shorten it.
const longWait = time.Second

// help says what would have helped. It names settings, which are the operator's.
func (t teller) help() []string {
	r := t.r
	var all []string
	switch r.Cause {
	case "queue_full":
		all = append(all, "Fewer requests at a time, more quota, or a longer queue (limits.queue).")
	case "flow_full":
		all = append(all, "Fewer requests of this user at a time, or a higher limits.queue_per_user.")
	case "too_long":
		all = append(all, t.patience(r.Expected))
		all = append(all, lift(r, r.Reason, r.Upstream)...)
	case "hold":
		all = append(all, t.patience(r.Queued+r.Expected))
		all = append(all, lift(r, t.chief(), t.where())...)
	case "too_large":
		all = append(all, "A shorter prompt or a smaller max_tokens; a larger quota, if the provider allows more.")
	case "no_upstream":
		all = append(all, "A second upstream on its route (routes.upstreams).")
	case "hard_limit":
		all = append(all, "A smaller max_tokens, or a higher classes."+string(r.Key.Class)+".hard.")
	case "":
		if r.Queued >= longWait {
			all = append(all, lift(r, t.chief(), t.where())...)
		}
	}
	all = append(all, t.mend()...)
	scarce := t.chief() == flow.ReasonTokens || t.chief() == flow.ReasonOutput
	if over := r.Estimated.Output - r.Used.Output; scarce && r.Attempts > 0 && r.Used.Output > 0 && over > r.Used.Output && r.Queued >= longWait {
		all = append(all, fmt.Sprintf("A max_tokens near what is used: %d tokens of answer were reserved and %d used, so others waited for nothing.",
			r.Estimated.Output, r.Used.Output))
	}
	return all
}

// patience says how long a hold it would have needed, in all.
func (t teller) patience(all time.Duration) string {
	need := "A client that waits longer"
	if t.r.Expected > 0 {
		need += fmt.Sprintf(" (%s, 9 times of 10 enough)", span(all))
	}
	return need + ", or one that sends Prefer: respond-async and asks for the result later."
}

// lift says what makes a wait for a reason shorter, at an upstream if that is known.
func lift(r *event.Record, why flow.Reason, upstream string) []string {
	quota := func(key string) []string {
		where := "upstreams." + upstream + ".quota." + key
		if upstream == "" {
			where = key + " in the quota of its upstream"
		}
		return []string{"More quota (" + where + "), or an upstream to spill to (routes.on_full: spill)."}
	}
	switch why {
	case flow.ReasonRequests:
		return quota("requests")
	case flow.ReasonInput:
		return quota("input_tokens")
	case flow.ReasonOutput:
		return quota("output_tokens")
	case flow.ReasonTokens:
		return quota("tokens")
	case flow.ReasonSeats:
		return quota("seats")
	case flow.ReasonRate:
		return []string{"A higher classes." + string(r.Key.Class) + ".rate: this limit is the gateway's own."}
	case flow.ReasonBreaker:
		return []string{"An upstream to fall back to (routes.upstreams): the only one was down."}
	case flow.ReasonTasks:
		return []string{"A higher tasks.concurrency."}
	case flow.ReasonTurn:
		return []string{"Others were ahead in the fair order: more quota, or a larger weight of its class (classes." + string(r.Key.Class) + ".weight) or key."}
	case flow.ReasonTenant:
		return []string{"Higher limits of its key (requests, tokens and seats in keys): these are the gateway's own."}
	case flow.ReasonPaused:
		return []string{"An operator who lets the class " + string(r.Key.Class) + " go on."}
	case flow.ReasonRamp:
		return []string{"Nothing but time: the provider wants a slow start."}
	case flow.ReasonNone:
	}
	return nil
}

// mend says what failures of attempts ask for.
func (t teller) mend() []string {
	var all []string
	said := make(map[llm.ErrorKind]bool)
	for i := range t.tries {
		a := &t.tries[i]
		words := mends[a.Kind]
		if a.Kind == llm.KindOverload && a.Upstream != t.r.Upstream {
			words = "" // there was one, and it was asked
		}
		if words != "" && !said[a.Kind] {
			all = append(all, fmt.Sprintf(words, a.Upstream))
		}
		said[a.Kind] = true
	}
	return all
}

// mends are by the kind of failure, about an upstream.
var mends = map[llm.ErrorKind]string{
	llm.KindThrottle:  "A quota as the provider really has it: upstreams.%s.quota is too high, or somebody else uses the same account.",
	llm.KindExhausted: "Credit on the account of %s.",
	llm.KindAuth:      "A valid upstreams.%s.api_key.",
	llm.KindOverload:  "An upstream to fall back to: %s was overloaded.",
	llm.KindTimeout:   "A smaller max_tokens, or longer limits: upstreams.%s.timeout, and soft and hard of its class.",
}
