// Package quota decides whether a call may be sent to an upstream now, and if
// not, when: it keeps the upstream's limits the way the provider itself does.
//
// # Model
//
// A Quota is a list of windows, one per Limit, and a number of seats. A call
// reserves an Amount from all windows and one seat, or nothing; when it ends
// it settles to what was really charged, or cancels. A Meter says how a
// provider charges: what is held at the start, what of it is corrected, and
// when it counts.
//
// A window is made of at most two parts. A ring of 512 slots holds the sum of
// the last span (Paced, Sliding, Slice); an aligned window holds the sums
// between whole spans of the wall clock (Fixed). A bucket holds what may be
// sent at once (Bucket, and Paced, where it shapes what the ring allows).
// Amounts that a provider counts later are held: they count in full and have
// no time until they settle.
//
// The provider counts up to skew later than we do: the smaller of one second
// and a sixtieth of the span. A sum therefore covers span + skew, an aligned
// entry within skew of a boundary counts on both sides, and a bucket keeps
// skew's worth (at most a sixth of itself) in hand.
//
// A limit may be a shadow: metered and shown, but asked by nothing that decides. It
// learns from headers alone, for a 429 is about what was enforced.
//
// What is not known is learned. A paced bucket starts at one second's worth,
// doubles after a round in which all of it was spent and answered, and halves
// on a 429 (from then on it grows by an eighth). Where the provider's bucket is
// known it is 5/6 of that, for requests may arrive bunched: from configuration,
// or from headers, as the most that ever remained before a call. While anyone
// waits it fills to one second's worth. A request larger than the bucket goes
// when the bucket is full, and leaves it in debt. A 429 while the sum is near
// the limit (but the first one cuts the burst), or again when the burst is
// already at its least, lowers the limit by a tenth; it recovers by a
// hundredth per ten quiet seconds. No limit rises above what is configured.
//
// # Invariants
//
//   - I1 never over: what is counted in any span + skew, any aligned window,
//     or by any bucket, each as the provider may see it, is at most the limit,
//     but for settlements above what was reserved.
//   - I2 never idle: Reserve fails only while some limit, as enforced, would be
//     exceeded; the ring forgets at most one slot late.
//   - I3 exact next: with nothing else sent, Reserve fails before the time Next
//     names and succeeds at it.
//   - I4 all or nothing: a failed Reserve changes nothing.
//   - I5 conserved: at any time held + counted is what was reserved and not
//     canceled, corrected by what was settled; when nothing is outstanding
//     nothing is held.
//   - I6 debt first: after a settlement above the reservation nothing is
//     reserved in that dimension before the excess has been repaid.
//   - I7 learned is bounded: a tenth of the configured <= learned <= configured
//     unless headers state less; headers never raise it.
//   - I8 one lesson a round: 429s of calls sent before the last cut do not cut.
//   - I9 restart: after Restore, or a start as Unknown, a provider that saw
//     everything before it is not overrun.
//   - I10 time: a step of the wall clock neither frees nor freezes a window;
//     time that repeats or goes back changes nothing.
//   - I11 waiting: while anyone waits a paced bucket does not fill above one
//     second's worth.
//   - I12 foreign spending: when less remains at the provider than our calls
//     explain, the difference leaves our level once.
//   - I13 cheap: Reserve and Settle allocate nothing.
//   - I14 reload: Reconfigure forgets nothing that was counted, learned or is held.
//   - I15 shadow: a limit that is a shadow changes no answer but Snapshot; there it
//     stands as the calls that were sent make it, and counts those that it would have
//     kept waiting.
//
// # Concurrency
//
// A Quota belongs to one goroutine at a time; the gate above it decides whose.
// Nothing here starts a goroutine, takes a lock or reads a clock: now is the
// first argument of everything that depends on time.
//
// # Failure
//
// New returns all faults of its options at once. Restore returns what it could
// not use and assumes the worst for it. Amounts are clamped to 0 .. 2^50 and
// all sums saturate, so no input overflows. A bucket's debt ends at 64 times its
// limit, so that one absurd report cannot close an upstream for good. A reservation that never comes
// back keeps its seat; that is its holder's defect, and Outstanding shows it.
//
// # Not here
//
// Who goes next (fairqueue), retries and Retry-After forms (backoff), how large
// a call is (estimate), shares of a limit between replicas.
package quota
