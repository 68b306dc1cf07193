package load

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/millrace/millrace/internal/load/wire"
)

// bucket is how a started request ended. Each ends in exactly one.
type bucket uint8

const (
	answered     bucket = iota
	failed              // an error of the target: outcome.label says which
	canceled            // we left, as drawn
	disconnected        // we hung up, as drawn
	stalled             // we stopped reading, as drawn, however it ended after that
	unfinished          // the run was over
	unsent              // never started: too many were in flight, or no connection could be opened
)

// Why we end a request ourselves.
var (
	errOurCancel = errors.New("left as drawn")
	errOurHangUp = errors.New("hung up as drawn")
	errTimedOut  = errors.New("timed out")
	errOver      = errors.New("the run is over")
	errSpent     = errors.New("the answer has ended")
)

// The labels of errors that are no HTTP status.
const (
	labelTimeout = "timeout"
	labelReset   = "reset"
	labelRefused = "refused"
	labelEOF     = "eof"
	labelCut     = "cut"         // a stream without its end
	labelFrame   = "error_frame" // an error inside a stream that had begun well
	labelFormat  = "format"      // a success that is no answer to what was asked
	labelOther   = "transport"
)

// outcome is what became of one request.
type outcome struct {
	plan
	clock    clock
	bucket   bucket
	label    string // status, or one of the labels
	class    string // Millrace-Class of the answer
	stream   bool   // the answer was a stream
	task     bool   // the answer was that of a task
	passed   bool   // the answer came through a gateway
	intended time.Time
	sent     time.Time
	first    time.Time // first byte of the answer itself; zero if none came
	end      time.Time
	wait     time.Duration // as told by the gateway; negative when it told none
	attempts int           // as told by the gateway; 0 when it told none
	cost     int64
	tally    wire.Tally
}

// exchange sends one request and reads its answer to the end, whatever end that
// is. It returns when nothing of the request is left.
func (r *run) exchange(ctx context.Context, p plan, intended time.Time) outcome {
	o := outcome{plan: p, clock: r.clock, intended: intended, sent: r.clock.now(), wait: -1}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errSpent)
	defer r.clock.after(r.options.Timeout, func() { cancel(errTimedOut) }).Stop()
	if p.mischief == cancelEarly {
		defer r.clock.after(p.after, func() { cancel(errOurCancel) }).Stop()
	}
	resp, err := r.transport.RoundTrip(r.composer.request(ctx, p))
	if err != nil {
		o.fail(ctx, err, labelEOF)
		return o
	}
	defer func() { _ = resp.Body.Close() }()
	if ctx.Err() != nil { // we have left: this is the target's farewell
		o.fail(ctx, ctx.Err(), labelEOF)
		return o
	}
	o.readHeader(resp)
	x := exchange{run: r, options: r.options, plan: p, out: &o, cancel: cancel}
	x.read(ctx, resp)
	return o
}

// readHeader notes what the gateway tells.
func (o *outcome) readHeader(resp *http.Response) {
	o.label = strconv.Itoa(resp.StatusCode)
	o.class = className(resp.Header.Get("Millrace-Class"))
	o.passed = resp.Header.Get("Millrace-Request-Id") != ""
	o.attempts, _ = strconv.Atoi(resp.Header.Get("Millrace-Attempts"))
	if ms, err := strconv.ParseFloat(resp.Header.Get("Millrace-Queue-Wait-Ms"), 64); err == nil && ms >= 0 && ms < 1e9 {
		o.wait = o.clock.stretch(time.Duration(ms * float64(time.Millisecond)))
	}
}

// className is a class as reports show it: what no class is called is another's.
func className(told string) string {
	foreign := strings.ContainsFunc(told, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && !(c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c)))
	})
	if foreign || len(told) > 64 {
		return otherClass
	}
	return told
}

// finish ends the request now.
func (o *outcome) finish(b bucket, label string) {
	o.bucket, o.label, o.end = b, label, o.clock.now()
}

// fail ends the request with the error that stopped it: ours if we caused it.
func (o *outcome) fail(ctx context.Context, err error, atEOF string) {
	if ctx.Err() == nil {
		if outOfFiles(err) {
			o.finish(unsent, labelFiles)
			return
		}
		o.tally.Say(err.Error())
		o.finish(failed, errorLabel(err, atEOF))
		return
	}
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errTimedOut):
		o.finish(failed, labelTimeout)
	case errors.Is(cause, errOurCancel):
		o.finish(canceled, "")
	case errors.Is(cause, errOurHangUp):
		o.finish(disconnected, "")
	default:
		o.finish(unfinished, "")
	}
}

// succeed ends the request with a whole answer; whoever has left gets none.
func (o *outcome) succeed(ctx context.Context) {
	if ctx.Err() != nil {
		o.fail(ctx, ctx.Err(), labelEOF)
		return
	}
	o.finish(answered, o.label)
}

// errorLabel names a transport error. What EOF means depends on where it came.
func errorLabel(err error, atEOF string) string {
	var network net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return atEOF
	case errors.Is(err, wire.ErrTooLarge), errors.Is(err, wire.ErrFormat):
		return labelFormat
	case errors.Is(err, syscall.ECONNREFUSED):
		return labelRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return labelReset
	case errors.As(err, &network) && network.Timeout():
		return labelTimeout
	case strings.Contains(err.Error(), "server closed idle connection"):
		return labelReset
	}
	return labelOther
}

// exchange is the reading half of one request.
type exchange struct {
	run     *run
	options *Options
	plan    plan
	out     *outcome
	cancel  context.CancelCauseFunc
}

func (x *exchange) read(ctx context.Context, resp *http.Response) {
	o := x.out
	if resp.StatusCode != http.StatusOK {
		o.tally.ReadSample(resp.Body)
		if ctx.Err() != nil {
			o.fail(ctx, ctx.Err(), labelEOF)
			return
		}
		o.finish(failed, o.label)
		return
	}
	if !x.run.composer.routes[x.plan.part].part.chat() {
		x.readEndpoint(ctx, resp.Body)
		o.cost = o.tally.Cost(x.plan.size(x.options))
		return
	}
	o.stream = strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	switch {
	case o.stream != x.plan.stream:
		o.tally.Say("not what was asked for, but " + cmp.Or(resp.Header.Get("Content-Type"), "an answer without Content-Type"))
		o.finish(failed, labelFormat)
	case o.stream:
		x.readStream(ctx, resp.Body)
	default:
		x.readJSON(ctx, resp.Body)
	}
	o.cost = o.tally.Cost(x.plan.size(x.options))
}

// hangsUp does what the plan's mischief does to an answer that is no stream, and reports
// whether nothing of it is read.
func (x *exchange) hangsUp(ctx context.Context) bool {
	switch x.plan.mischief {
	case hangUp:
		x.cancel(errOurHangUp)
		x.out.finish(disconnected, "")
		return true
	case stallReading:
		x.out.clock.sleep(ctx, x.options.Mischief.StallFor)
	case behave, cancelEarly:
	}
	return false
}

func (x *exchange) readJSON(ctx context.Context, r io.Reader) {
	o := x.out
	o.first = o.clock.now()
	if x.hangsUp(ctx) {
		return
	}
	err := o.tally.ReadJSON(r)
	switch {
	case x.plan.mischief == stallReading:
		o.finish(stalled, "")
	case err != nil:
		o.fail(ctx, err, labelEOF)
	default:
		o.succeed(ctx)
	}
}

func (x *exchange) readStream(ctx context.Context, body io.Reader) {
	lines := wire.TakeReader(body)
	defer wire.GiveReader(lines)
	o := x.out
	for {
		kind, err := o.tally.Next(lines)
		if kind != wire.None && o.first.IsZero() {
			o.first = o.clock.now()
			if x.plan.mischief == stallReading {
				o.clock.sleep(ctx, x.options.Mischief.StallFor)
			}
		}
		if x.ends(ctx, kind, err) {
			break
		}
	}
	if o.tally.Ended {
		x.drain(lines)
	}
	if x.plan.mischief == stallReading && !o.first.IsZero() {
		o.finish(stalled, "")
	}
}

// ends reports whether the stream is over after an event, and finishes the
// outcome if so.
func (x *exchange) ends(ctx context.Context, kind wire.Kind, err error) bool {
	o := x.out
	switch {
	case kind == wire.Done:
		o.succeed(ctx)
	case kind == wire.Error:
		o.finish(failed, labelFrame)
	case err != nil:
		o.fail(ctx, err, labelCut)
	case x.plan.mischief == hangUp && o.tally.Events >= int64(x.plan.events):
		x.cancel(errOurHangUp)
		o.finish(disconnected, "")
	default:
		return false
	}
	return true
}

// drain reads what follows the end marker, so that the connection can be used
// again; a server that does not close the stream is not waited for.
func (x *exchange) drain(r io.Reader) {
	defer time.AfterFunc(time.Second, func() { x.cancel(errSpent) }).Stop()
	_, _ = io.CopyN(io.Discard, r, 4<<10)
}
