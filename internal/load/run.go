package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/load/arrival"
	"github.com/millrace/millrace/internal/load/footprint"
	"github.com/millrace/millrace/internal/load/judge"
)

// errorPause is what a loop that does not think waits after an error, so that
// a target which refuses at once is not asked as fast as the machine can.
const errorPause = 100 * time.Millisecond

// Run asks the targets, in turn or together, and reports. It returns when nothing of the run
// is left. When ctx is canceled it reports what was measured until then, with
// Interrupted set. With an error from the judge, or when no more connections can
// be opened, the report holds what was measured until then.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Transport == nil {
		own := newTransport()
		defer own.CloseIdleConnections()
		o.Transport = own
	}
	report := newReport(&o)
	text := lorem(o.largestPrompt())
	results, err := askAll(ctx, &o, text)
	for _, result := range results {
		if result != nil {
			report.Targets = append(report.Targets, *result)
		}
	}
	report.Interrupted = err == nil && ctx.Err() != nil
	return report, err
}

// askAll asks the targets in turn, or all at once. A result is nil where nothing
// was measured.
func askAll(ctx context.Context, o *Options, text string) ([]*Result, error) {
	results, errs := make([]*Result, len(o.Targets)), make([]error, len(o.Targets))
	ask := func(i int) {
		var err error
		if results[i], err = askTarget(ctx, o, o.Targets[i], text); err != nil {
			errs[i] = fmt.Errorf("target %s: %w", o.Targets[i].Name, err)
		}
	}
	if o.Together {
		var all sync.WaitGroup
		for i := range o.Targets {
			all.Go(func() { ask(i) })
		}
		all.Wait()
		return results, errors.Join(errs...)
	}
	for i := range o.Targets {
		if i > 0 && !newClock(o.Speed).sleep(ctx, o.Pause) {
			break
		}
		if ask(i); errs[i] != nil {
			break
		}
	}
	return results, errors.Join(errs...)
}

// newTransport is made for many users of one host and cheap requests: whole
// prompts fit its write buffer, nothing is decompressed, no proxy is asked.
func newTransport() *http.Transport {
	return &http.Transport{
		MaxIdleConns: maxInFlight, MaxIdleConnsPerHost: maxInFlight, IdleConnTimeout: 90 * time.Second,
		DisableCompression: true, WriteBufferSize: 32 << 10, ReadBufferSize: 8 << 10,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// run is the asking of one target.
type run struct {
	options   *Options
	target    Target
	transport http.RoundTripper
	composer  *composer
	judge     *judge.Client
	book      *book
	profile   arrival.Profile // of users or arrivals
	clock     clock
	stop      context.CancelFunc // ends the load: no new requests
	users     sync.WaitGroup     // loops and arrivals
}

func askTarget(ctx context.Context, o *Options, t Target, text string) (*Result, error) {
	r := &run{options: o, target: t, transport: o.Transport}
	var err error
	if r.composer, err = newComposer(o, t, text); err != nil {
		return nil, err
	}
	if r.profile, err = o.profile(); err != nil {
		return nil, err
	}
	if r.judge, err = newJudge(cmp.Or(t.Judge, o.Judge), o.Transport); err != nil {
		return nil, err
	}
	if err = r.judge.Reset(ctx); err != nil {
		return nil, err
	}
	return r.do(ctx)
}

// do runs the load to its end, waits for what is in flight, and sums up.
func (r *run) do(ctx context.Context) (*Result, error) {
	asking, abandon := context.WithCancelCause(ctx) // the requests
	defer abandon(errOver)
	load, stop := context.WithCancel(asking) // the loops that start them
	defer stop()
	r.stop = stop
	r.clock = newClock(r.options.Speed)
	r.book = newBook(r.options, r.clock, stop)
	if r.options.Duration > 0 {
		defer r.clock.after(r.options.WarmUp+r.options.Duration, stop).Stop()
	}
	side := r.startSide(load)
	r.generate(load, asking)
	<-load.Done()
	ended := r.clock.now()
	err := side.wait()
	cpu := footprint.CPU() - side.cpu
	atEnd, readErr := r.judge.Read(ctx)
	r.awaitUsers(ctx, abandon)
	final, finalErr := r.judge.Final(ctx)
	result := r.book.result(r.target, max(ended.Sub(r.book.from), 0))
	result.WarmUpSeconds = r.options.WarmUp.Seconds()
	result.Generator.cost(cpu, result.Seconds/r.options.Speed)
	if r.judge != nil {
		result.Judge = &JudgeReport{AtEnd: atEnd, Final: final, Series: side.judged}
	}
	result.Caveats = r.caveats(result)
	return result, errors.Join(r.book.fault, err, readErr, finalErr)
}

// awaitUsers waits for the requests in flight for as long as Grace allows, then
// ends them.
func (r *run) awaitUsers(ctx context.Context, abandon context.CancelCauseFunc) {
	defer r.clock.after(r.options.Grace, func() { abandon(errOver) }).Stop()
	progress, stop := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { r.reportProgress(progress) })
	r.users.Wait()
	stop()
	reporter.Wait()
}

// side is what runs beside the load: the end of the warm-up, the progress.
type side struct {
	group  sync.WaitGroup
	cpu    time.Duration // of the process when the measured time began
	err    error
	judged []JudgePoint
}

func (r *run) startSide(load context.Context) *side {
	s := &side{cpu: footprint.CPU()}
	if r.options.WarmUp > 0 {
		s.group.Go(func() {
			if r.clock.sleep(load, r.options.WarmUp) {
				s.cpu = footprint.CPU()
				s.err = r.judge.Reset(load)
			}
		})
	}
	s.group.Go(func() { r.reportProgress(load) })
	if r.judge != nil {
		s.group.Go(func() { s.judged = r.watchJudge(load, max(r.options.interval(), judgeEvery)) })
	}
	return s
}

func (s *side) wait() error {
	s.group.Wait()
	return s.err
}

func (r *run) reportProgress(ctx context.Context) {
	if r.options.Progress == nil {
		return
	}
	every := r.options.ProgressEvery
	for sleep(ctx, every) {
		s := r.book.snapshot(r.clock.stretch(every))
		s.Target, s.Elapsed, s.Of = r.target.Name, r.clock.now().Sub(r.clock.begun), r.options.span()
		r.options.Progress(s)
	}
}

// ask sends one planned request and books it.
func (r *run) ask(ctx context.Context, p plan, intended time.Time) (bucket, time.Time) {
	r.book.begin(intended)
	o := r.exchange(ctx, p, intended)
	r.book.end(&o)
	r.record(&o)
	return o.bucket, o.end
}

// skip counts an arrival that is not sent because too many requests are in
// flight, and reports whether it must be.
func (r *run) skip(p plan, intended time.Time) bool {
	if !r.book.skip(r.options.MaxInFlight) {
		return false
	}
	r.record(&outcome{plan: p, bucket: unsent, intended: intended, wait: -1})
	return true
}
