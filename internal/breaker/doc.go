// Package breaker decides whether an upstream may be sent work, from how its
// last answers went.
//
// # Model
//
// Closed lets everything pass and watches two rules: a run of consecutive
// failures (Failures), and a share of failures among at least MinVolume
// verdicts of the last Window (Ratio). Either one trips it.
//
// Open lets nothing pass for the time Open, and becomes half-open by time alone.
//
// Trip opens it by hand: nothing but Reset closes it then.
//
// Half-open lets at most Probes requests be outstanding. A failed probe opens
// it again; Successes good ones close it.
//
// Only [llm.ErrorKind.Faulty] kinds are failures and only KindNone is a success.
// A throttle corrects the quota, and a canceled or invalid request says nothing
// about the upstream: such an end has no verdict. It gives a probe back and
// changes nothing else.
//
// Every [Pass] carries the generation it was given in. Tripping, closing,
// [Breaker.Reset] and [Breaker.Restore] begin a new one, and the end of a pass
// of an older generation is no verdict: what was sent to a sick upstream says
// nothing about the one that has recovered.
//
// # Invariants
//
//	I1  At no time are more than Probes probes outstanding that are neither
//	    given back nor older than ProbeTimeout, over all generations.
//	I2  It is never stuck: without any call to Done it is ready again no later
//	    than Open + ProbeTimeout after the last event, unless it was opened by
//	    hand; then it stays open, whatever time passes and whatever ends, until
//	    Reset.
//	I3  Throttles, cancellations, invalid requests and every other kind that is
//	    not faulty never trip it, never close it, and give their probe back.
//	I4  A pass of an older generation, a reclaimed probe and a probe given back
//	    twice change no state.
//	I5  Ready(now) is true exactly when Allow(now) would succeed.
//	I6  NextProbe(now) is zero exactly when Ready(now) or when it is held open by
//	    hand, else it lies in the future, and at that time it is ready if nothing
//	    happens until then.
//
// # Concurrency
//
// None: the caller holds a lock. No method calls out, blocks or allocates,
// Snapshot and Save included.
//
// # Failure
//
// Time is expected not to go back, and readings of time.Now do not. If it
// does, an open breaker stays open until the clock has caught up, and verdicts
// are booked in the newest slot.
//
// # Not here
//
// Which upstream to take instead, active health checks, and a ramp after
// closing: quota windows hold the slope.
package breaker
