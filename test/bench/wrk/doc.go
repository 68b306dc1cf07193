// Command wrk decides whether millrace load measures what wrk measures: both
// ask the same target over as many connections, without a pause between an
// answer and the next request, and their percentiles may differ by 5 %.
//
// Two targets are asked: a server whose answers take between 5 and 50 ms,
// evenly spread, and millrace sim with one latency for all. wrk adds what it
// believes to have missed for every answer that takes twice as long as the
// mean, as some do on a busy machine; the same is added to what load recorded.
// Its report, which adds nothing because it counts from the intended start,
// must agree with its records, and is printed beside.
//
// Both ask at the same time, for several rounds, and the median of the rounds
// counts: what delays the target or the machine delays both. With -turns they
// take turns, in an order that changes from round to round.
//
// Without wrk nothing is measured, and one line says so.
package main
