package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// teller makes sentences out of a record.
type teller struct {
	r     *event.Record
	tries []event.Attempt
}

// timeline is what happened, in order.
func (t teller) timeline() []Moment {
	all := t.begun()
	if r := t.r; r.FirstByte > 0 {
		all = append(all, Moment{ms(r.FirstByte), Began, "the first byte went to the client"})
	}
	slices.SortStableFunc(all, func(a, b Moment) int {
		switch {
		case a.At < b.At:
			return -1
		case a.At > b.At:
			return 1
		}
		return 0
	})
	end := ms(t.r.Total)
	for i := range all { // clocks of several readings differ by microseconds
		all[i].At = min(max(all[i].At, 0), end)
	}
	return append(all, Moment{end, Closed, endOf(t.r)})
}

// begun is what happened up to the end of the attempts.
func (t teller) begun() []Moment {
	r := t.r
	all := []Moment{{0, Arrived, "arrived, class " + string(r.Key.Class)}}
	if r.Quoted {
		all = append(all, Moment{0, Queued, fmt.Sprintf("queued: %s, wait about %s, 9 times of 10 at most %s, for %s",
			placeOf(r.Position), span(r.EtaP50), span(r.EtaP90), wantOf(r.First))})
	}
	upstream := ""
	for i := range t.tries {
		a := &t.tries[i]
		start := a.Started.Sub(r.Arrived)
		all = append(all, Moment{ms(start), Sent, sentTo(a, upstream)})
		upstream = a.Upstream
		if a.FirstByte > 0 && a.Kind == llm.KindNone {
			all = append(all, Moment{ms(start + a.FirstByte), Answered, fmt.Sprintf("%s began its answer (HTTP %d)", a.Upstream, a.Status)})
		}
		if a.Kind != llm.KindNone {
			all = append(all, Moment{ms(start + a.Total), Failed, failureOf(a)})
		}
	}
	return all
}

func sentTo(a *event.Attempt, before string) string {
	text := fmt.Sprintf("attempt %d sent to %s", a.Number, a.Upstream)
	switch {
	case before == a.Upstream:
		text += " again"
	case before != "":
		text += ", as fallback for " + before
	}
	if a.Queued > 0 {
		text += ", after " + span(a.Queued) + " in the queue"
		if parts := partsOf(&a.Waits); parts != "" {
			return text + parts
		}
		text += ", at last for " + wantOf(a.Reason)
	}
	return text
}

// failureOf says how an attempt failed.
func failureOf(a *event.Attempt) string {
	text := fmt.Sprintf("attempt %d at %s: %s", a.Number, a.Upstream, kindWords[a.Kind.String()])
	if kindWords[a.Kind.String()] == "" {
		text += a.Kind.String()
	}
	if a.Status > 0 {
		text += " (HTTP " + strconv.Itoa(a.Status) + ")"
	}
	if a.RetryAfter > 0 {
		text += ", asked to come back after " + span(a.RetryAfter)
	}
	return text
}

// summary is the story in one sentence.
func (t teller) summary() string {
	r := t.r
	text := outcomeWords[r.Outcome.String()]
	if text == "" {
		text = "Ended as " + r.Outcome.String()
	}
	if r.Outcome == flow.OutcomeServed && r.Upstream != "" {
		text += " by " + r.Upstream
	}
	text += " after " + span(r.Total)
	switch {
	case r.Queued > 0 && r.Attempts > 0:
		text += ", of which " + span(r.Queued) + " in the queue, " + t.mostly() + wantOf(t.chief())
	case r.Queued > 0:
		text += ", all of it in the queue " + t.mostly() + wantOf(t.chief())
		if r.Queued < r.Total*9/10 {
			text = strings.Replace(text, "all of it", span(r.Queued)+" of it", 1)
		}
	}
	if r.Attempts > 1 {
		text += fmt.Sprintf(", with %d attempts", r.Attempts)
	}
	return text + "."
}

// partsOf says what a wait was for, the longest first. What is below a hundredth of
// it is left out; empty if nothing is known. It goes on in a sentence about the whole.
func partsOf(w *flow.Waits) string {
	var words []string
	shares := sharesOf(w)
	for _, s := range shares {
		if d := of(s.Time); d*100 >= w.Total() {
			words = append(words, span(d)+" for "+wantOf(flow.Reason(s.Reason)))
		}
	}
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return " for " + wantOf(flow.Reason(shares[0].Reason))
	default:
		return ": " + strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// where is the upstream at which it waited the longest for its chief reason.
func (t teller) where() string {
	upstream, longest, why := t.r.Upstream, time.Duration(0), t.chief()
	for i := range t.tries {
		a := &t.tries[i]
		d := a.Waits.Of(why)
		if a.Waits.Total() == 0 && a.Reason == why {
			d = a.Queued
		}
		if d > longest {
			upstream, longest = a.Upstream, d
		}
	}
	return upstream
}

// chief is what it waited for the longest, as far as that is known.
func (t teller) chief() flow.Reason {
	if shares := sharesOf(&t.r.Waits); len(shares) > 0 {
		return flow.Reason(shares[0].Reason)
	}
	why, longest := t.r.Reason, time.Duration(0)
	for i := range t.tries {
		if a := &t.tries[i]; a.Queued > longest && a.Reason != flow.ReasonNone {
			why, longest = a.Reason, a.Queued
		}
	}
	return why
}

// mostly begins to tell what it waited for.
func (t teller) mostly() string {
	if longest := t.r.Waits.Of(t.chief()); longest > 0 {
		if longest*100 < t.r.Waits.Total()*99 {
			return "mostly for "
		}
		return "for "
	}
	for i := range t.tries {
		if a := &t.tries[i]; a.Queued > 0 && a.Reason != t.chief() {
			return "mostly for "
		}
	}
	return "for "
}

// why says why it waited, was tried more than once, was turned away or failed.
func (t teller) why() []string {
	r := t.r
	var all []string
	if words := causeWords[r.Cause]; words != "" {
		all = append(all, words+detail(r)+".")
	} else if r.Cause != "" {
		all = append(all, "It was turned away: "+r.Cause+detail(r)+".")
	}
	if more := r.Expected; more > 0 && r.Cause == "hold" {
		all = append(all, "It would have waited up to "+span(more)+" more.")
	} else if more > 0 && r.Attempts == 0 {
		all = append(all, "It would have waited up to "+span(r.Expected)+" for "+wantOf(r.Reason)+held(r)+".")
	}
	if r.Queued > 0 {
		all = append(all, t.waited())
	}
	if r.Quoted && r.Attempts > 0 {
		all = append(all, promise(r))
	}
	all = append(all, t.failures()...)
	switch r.Cache {
	case "hit":
		all = append(all, "The answer came from the cache; no upstream was asked.")
	case "coalesced":
		all = append(all, "An identical request was under way, and this one shared its call.")
	}
	return append(all, t.tokens()...)
}

func detail(r *event.Record) string {
	if r.Detail == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(r.Detail, ".")
}

func held(r *event.Record) string {
	if r.Hold <= 0 {
		return ""
	}
	return ", and its client can be held for " + span(r.Hold)
}

// waited says what the time in the queue was for.
func (t teller) waited() string {
	r := t.r
	text := "It waited " + span(r.Queued)
	if r.Quoted {
		text += ", from " + placeOf(r.Position) + " on"
	}
	if parts := partsOf(&r.Waits); parts != "" {
		return text + parts + "."
	}
	if r.First != r.Reason && r.First != flow.ReasonNone {
		return text + ": at first for " + wantOf(r.First) + ", at last for " + wantOf(r.Reason) + "."
	}
	return text + " for " + wantOf(r.Reason) + "."
}

// promise holds what was foretold against what happened.
func promise(r *event.Record) string {
	kept := "longer than foretold"
	if r.EtaHeld() {
		kept = "as foretold"
	}
	return fmt.Sprintf("On arrival it was told: about %s, 9 times of 10 at most %s. It took %s, %s.", span(r.EtaP50), span(r.EtaP90), span(r.Queued), kept)
}

// failures are the attempts that did not succeed.
func (t teller) failures() []string {
	var all []string
	for i := range t.tries {
		if a := &t.tries[i]; a.Kind != llm.KindNone {
			text := failureOf(a)
			all = append(all, strings.ToUpper(text[:1])+text[1:]+".")
		}
	}
	if missing := t.r.Attempts - len(t.tries); missing > 0 && t.r.Outcome != flow.OutcomeNone {
		all = append(all, fmt.Sprintf("%d of its %d attempts are no longer kept.", missing, t.r.Attempts))
	}
	return all
}

// tokens holds what was reserved against what was used.
func (t teller) tokens() []string {
	r := t.r
	if r.Attempts == 0 {
		return nil
	}
	by := "as the provider counts"
	if r.Counted {
		by = "as counted here, for the provider did not say"
	}
	return []string{fmt.Sprintf("Reserved were %d tokens of prompt and %d of answer; used were %d and %d, %s.",
		r.Estimated.Input, r.Estimated.Output, r.Used.Prompt(), r.Used.Output, by)}
}

// span is a time for people: two digits that matter.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return strconv.FormatInt(int64(d.Round(time.Second)/time.Second), 10) + " s"
	case d < 2*time.Hour:
		return strconv.FormatInt(int64(d.Round(time.Minute)/time.Minute), 10) + " min"
	case d < 10*time.Hour:
		return strconv.FormatFloat(d.Hours(), 'f', 1, 64) + " h"
	}
	return strconv.FormatInt(int64(d.Round(time.Hour)/time.Hour), 10) + " h"
}

func placeOf(position int) string { return "place " + strconv.Itoa(position) }
