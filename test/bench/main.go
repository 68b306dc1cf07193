package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	gateway string // path of the binary
	rounds  int

	rate  float64       // requests per second
	time  time.Duration // that requests are measured, in each round
	delay time.Duration // of the provider's answer
	conns int           // that carry the requests

	streams int // in all rounds together
	atOnce  int // streams that run at the same time
	chunks  int // of a stream
	every   time.Duration

	maxCPU, maxChunk, maxRSS float64 // bounds of the ratios; 0 = none

	role   string // of a child; empty in the process that compares
	listen string // of a child that is a server
	target string // address that a child's requests go to
	pid    int    // of the proxy whose cost a child measures
}

func (o *options) register(f *flag.FlagSet) {
	f.StringVar(&o.gateway, "gateway", "bin/millrace", "the built gateway")
	f.IntVar(&o.rounds, "rounds", 3, "rounds; each measures both proxies")
	f.Float64Var(&o.rate, "rate", 2000, "requests per second")
	f.DurationVar(&o.time, "time", 5*time.Second, "how long requests are measured in a round")
	f.DurationVar(&o.delay, "delay", 60*time.Millisecond, "time the provider takes to answer")
	f.IntVar(&o.conns, "conns", 256, "connections that carry the requests")
	f.IntVar(&o.streams, "streams", 12000, "streams through each proxy, all rounds together")
	f.IntVar(&o.atOnce, "at-once", 1000, "streams at the same time")
	f.IntVar(&o.chunks, "chunks", 100, "chunks of a stream")
	f.DurationVar(&o.every, "every", 20*time.Millisecond, "time between two chunks")
	f.Float64Var(&o.maxCPU, "max-cpu", 1.3, "most CPU per request, as a multiple of ReverseProxy; 0 for any")
	f.Float64Var(&o.maxChunk, "max-chunk", 1.3, "most CPU per chunk, likewise")
	f.Float64Var(&o.maxRSS, "max-rss", 1.5, "most memory while streams run, likewise")
	f.StringVar(&o.role, "role", "", "what a child process is; for internal use")
	f.StringVar(&o.listen, "listen", "", "where a child listens; for internal use")
	f.StringVar(&o.target, "target", "", "whom a child asks; for internal use")
	f.IntVar(&o.pid, "pid", 0, "whose cost a child measures; for internal use")
}

func (o *options) validate() error {
	var faults []error
	if o.rounds < 1 {
		faults = append(faults, errors.New("-rounds: at least 1"))
	}
	if o.rate <= 0 || o.time <= 0 || o.delay < 0 || o.conns < 1 {
		faults = append(faults, errors.New("-rate, -time and -conns must be positive, -delay not negative"))
	}
	if o.atOnce < 1 || o.chunks < 1 || o.every <= 0 {
		faults = append(faults, errors.New("-at-once, -chunks and -every must be positive"))
	}
	if o.streams < o.atOnce*o.rounds {
		faults = append(faults, fmt.Errorf("-streams: at least -at-once times -rounds, %d", o.atOnce*o.rounds))
	}
	if o.rate*o.delay.Seconds() > 0.9*float64(o.conns) {
		faults = append(faults, errors.New("-conns: too few to keep the rate, since each carries one request at a time"))
	}
	return errors.Join(faults...)
}

// run is the whole program: the comparison, or one of its children.
func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	o.register(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	switch o.role {
	case roleProvider:
		return serveProvider(ctx, &o)
	case roleProxy:
		return serveProxy(ctx, &o)
	case roleRequests, roleStreams:
		return measure(ctx, &o, out)
	}
	return compare(ctx, &o, out)
}
