package load

import "time"

// Record is one request when it has ended, or an arrival that was not sent.
type Record struct {
	Target  string
	User    string
	Loop    int // among the user's loops, or the number of the arrival
	Session int // number of the loop's conversation, from 1
	Turn    int // within the conversation, from 1
	Path    string
	Stream  bool
	Task    bool   // the answer was that of a task
	Class   string // as told by the gateway, else as asked for; may be empty
	WarmUp  bool   // not in the statistics

	Speed      float64       // how many times as fast as the machine's the times below passed
	Intended   time.Time     // when the user meant to ask, by the machine's clock
	At         time.Duration // likewise, since the target was first asked: everything is counted from here
	Late       time.Duration // from there to the sending
	FirstByte  time.Duration // from the intended start; negative when none came
	Latency    time.Duration // to the end, whatever end that was; negative when it was not sent
	Wait       time.Duration // in the queue, as told; negative when it was not told
	Attempts   int           // as told; 0 when they were not told
	Outcome    string        // answered, error, canceled, disconnected, stalled, unfinished or unsent
	Status     string        // HTTP status, or the kind of error; empty where we ended the request
	Prompt     int64         // tokens, as reported
	Completion int64
	Cost       int64 // tokens served: reported or estimated
}

// String is how reports call a bucket.
func (b bucket) String() string {
	return [...]string{"answered", "error", "canceled", "disconnected", "stalled", "unfinished", "unsent"}[b]
}

// record hands the request on, if anybody wants it.
func (r *run) record(o *outcome) {
	if r.options.Record == nil {
		return
	}
	part := &r.options.mix()[o.part]
	rec := Record{
		Target: r.target.Name, User: userName(o.user), Loop: o.loop, Session: o.session, Turn: len(o.earlier) + 1,
		Path: part.Path, Stream: o.stream, Task: o.task, Class: o.class, WarmUp: o.intended.Before(r.book.from),
		Speed: r.clock.speed, At: o.intended.Sub(r.clock.begun), Late: o.sent.Sub(o.intended), FirstByte: -1, Latency: o.end.Sub(o.intended),
		Wait: o.wait, Attempts: o.attempts, Outcome: o.bucket.String(), Status: o.label,
		Prompt: o.tally.Prompt, Completion: o.tally.Completion, Cost: o.cost,
	}
	rec.Intended = r.clock.begun.Add(r.clock.real(rec.At))
	if rec.Class == "" {
		rec.Class = part.Class
	}
	if !o.first.IsZero() {
		rec.FirstByte = o.first.Sub(o.intended)
	}
	if o.bucket == unsent {
		rec.Late, rec.Latency = 0, -1
	}
	r.options.Record(rec)
}
