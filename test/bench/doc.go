// Command bench decides whether the gateway is thin enough: it measures the
// built binary beside a bare httputil.ReverseProxy, on the same machine, in the
// same run, and fails if the gateway costs too many times as much.
//
// The proxy under test has one core. A mock provider and the load, both
// processes of their own, share another one. Each round measures both proxies,
// first the one and then the other, in an order that changes from round to
// round; every measurement starts a fresh process. A ratio is the median over
// the rounds of gateway / ReverseProxy, which holds on a busy machine where the
// figures themselves drift.
//
// Measured are the CPU time of a request that is not a stream, at a fixed rate
// that is far from what either can do; the CPU time of a chunk while many
// streams run at once; and the most memory meanwhile. A stream that does not
// arrive whole is cut, and the gateway may cut none.
//
// CPU time and memory are read from /proc, so the command needs Linux. Without
// taskset, or with one core only, the proxy is held to one core by GOMAXPROCS.
package main
