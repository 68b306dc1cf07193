package dispatch

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// The exit table: every way out x where the request is x JSON or a stream x its
// first attempt or one after a fallback.

type stage int

const (
	queued stage = iota
	beforeFirstByte
	midStream
	lastChunk
)

func (s stage) String() string {
	return [...]string{"queued", "before first byte", "mid-stream", "last chunk"}[s]
}

// piece is the piece before which something happens at this stage.
func (s stage) piece() int {
	return [...]int{0, 0, 2, pieces}[s]
}

const (
	pieces = 4
	// after is when the world acts on a request that hangs.
	after = 3 * time.Second
)

// exit is a way out.
type exit struct {
	name string
	// provider is what the upstream does at the stage; nil: it hangs.
	provider func(ctx context.Context) error
	// outside is what the world does a while after the request hangs.
	outside func(s *scene)
	// write is what the client's connection does at the stage.
	write func() error
	// limits of the class.
	limits Limits
	hold   time.Duration
	// before is the outcome where no byte was handed over, begun where some was.
	// OutcomeNone: there is no such exit.
	queued, before, begun flow.Outcome
	kind                  llm.ErrorKind // of the last attempt
}

func fail(kind llm.ErrorKind) func(context.Context) error {
	return func(context.Context) error { return failure(kind) }
}

var exits = []exit{
	{name: "done", provider: func(context.Context) error { return nil }, before: flow.OutcomeServed, begun: flow.OutcomeServed},
	{name: "invalid", provider: fail(llm.KindInvalid), before: flow.OutcomeRejected, begun: flow.OutcomeRejected, kind: llm.KindInvalid},
	{name: "transient", provider: fail(llm.KindTransient), before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindTransient},
	{name: "exhausted", provider: fail(llm.KindExhausted), before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindExhausted},
	{name: "throttle", provider: fail(llm.KindThrottle), before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindThrottle},
	{name: "overload", provider: fail(llm.KindOverload), before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindOverload},
	{name: "timeout", provider: fail(llm.KindTimeout), before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindTimeout},
	{name: "auth", provider: fail(llm.KindAuth), before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindAuth},
	{name: "too large", provider: fail(llm.KindTooLarge), before: flow.OutcomeRejected, begun: flow.OutcomeRejected, kind: llm.KindTooLarge},
	{name: "canceled by the provider", provider: fail(llm.KindCanceled), before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindCanceled},
	{
		name: "unsent", provider: func(context.Context) error {
			return &llm.Error{Kind: llm.KindTransient, Message: "dial", Err: unsent{}}
		},
		before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindTransient,
	},
	{name: "bare error", provider: func(context.Context) error { return errPipe }, before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindTransient},
	{name: "hard limit", limits: Limits{Hard: 20 * time.Second}, before: flow.OutcomeDeadline, begun: flow.OutcomeDeadline},
	{
		name: "client leaves", outside: func(s *scene) { s.cancel(context.Canceled) },
		queued: flow.OutcomeCanceled, before: flow.OutcomeCanceled, begun: flow.OutcomeDisconnected, kind: llm.KindCanceled,
	},
	{
		name: "drain", outside: func(s *scene) { s.cancel(flow.ErrDrained) },
		queued: flow.OutcomeEvicted, before: flow.OutcomeEvicted, begun: flow.OutcomeEvicted, kind: llm.KindCanceled,
	},
	{name: "admission closes", outside: func(s *scene) { s.admission.Close() }, queued: flow.OutcomeEvicted},
	{name: "hold ends", hold: 30 * time.Second, queued: flow.OutcomeHoldExpired},
	{name: "write fails", write: func() error { return errPipe }, begun: flow.OutcomeDisconnected, kind: llm.KindCanceled},
	{name: "provider panics", provider: func(context.Context) error { panic("provider") }, before: flow.OutcomeFailed, begun: flow.OutcomeFailed, kind: llm.KindInternal},
	{name: "reply panics", write: func() error { panic("reply") }, begun: flow.OutcomeFailed, kind: llm.KindInternal},
}

// want is the outcome of the exit at a stage; OutcomeNone where there is none.
func (e *exit) want(at stage) flow.Outcome {
	switch at {
	case queued:
		return e.queued
	case beforeFirstByte:
		return e.before
	case midStream, lastChunk:
		return e.begun
	}
	return flow.OutcomeNone
}

// scene is one line of the table.
type scene struct {
	exit     exit
	at       stage
	stream   bool
	fallback bool

	admission *admission.Controller
	cancel    context.CancelCauseFunc
	acted     time.Time // when the world or the connection acted
}

func TestI1I2I3I4ExitTable(t *testing.T) {
	lines := 0
	for _, e := range exits {
		for at := queued; at <= lastChunk; at++ {
			for _, stream := range []bool{false, true} {
				for _, fallback := range []bool{false, true} {
					if e.want(at) == flow.OutcomeNone {
						continue
					}
					lines++
					s := &scene{exit: e, at: at, stream: stream, fallback: fallback}
					t.Run(fmt.Sprintf("%s/%s/stream=%v/fallback=%v", e.name, at, stream, fallback), func(t *testing.T) {
						synctest.Test(t, s.play)
					})
				}
			}
		}
	}
	if lines < 200 {
		t.Errorf("only %d lines were played", lines)
	}
}

// play runs the line, with whatever stands before it in the queue.
func (s *scene) play(t *testing.T) {
	s.admission = control(t)
	failing := &provider{make: func(int) *exchange {
		return &exchange{atStart: func(context.Context) error { return failure(llm.KindTransient) }}
	}}
	acting := &provider{}
	b := &book{}
	d, err := New(
		Options{
			Upstreams: []Upstream{{Name: "first"}, {Name: "second", Model: "m2"}}, Routes: []string{"both", "straight"},
			Limits: map[flow.Class]Limits{flow.Chat: s.exit.limits},
		},
		Deps{Admission: s.admission, Providers: []Provider{failing, acting}, Sink: b},
	)
	if err != nil {
		t.Fatal(err)
	}
	release := func() {}
	if s.at == queued {
		release = occupy(t, s.admission)
	}
	acting.make = func(int) *exchange { return s.exchange(t) }

	var ctx context.Context
	ctx, s.cancel = context.WithCancelCause(t.Context())
	defer s.cancel(nil)
	c := &client{t: t, onWrite: s.onWrite}
	req := request(straight, s.stream)
	if s.fallback {
		req.Ask.Route = byBoth
	}
	if s.exit.hold > 0 {
		req.Ask.Hold = time.Now().Add(s.exit.hold)
	}
	if s.exit.outside != nil {
		go func() {
			<-time.After(after)
			s.acted = time.Now()
			s.exit.outside(s)
		}()
	}
	outcome := d.Do(ctx, req, c)
	s.check(t, outcome, c, b)
	if !s.acted.IsZero() && time.Since(s.acted) > time.Second {
		t.Errorf("Do returned %v after the client had left", time.Since(s.acted))
	}
	s.checkExchanges(t, append(failing.exchanges, acting.exchanges...), b)
	release()
	snapshot := s.admission.Snapshot()
	if snapshot.Outstanding != 0 || snapshot.Waiting != 0 || snapshot.Late != 0 {
		t.Errorf("I1: outstanding %d, waiting %d, late %d; want 0", snapshot.Outstanding, snapshot.Waiting, snapshot.Late)
	}
	for _, u := range snapshot.Upstreams {
		if u.InUse != 0 {
			t.Errorf("I1: %s has %d seats in use", u.Name, u.InUse)
		}
	}
}

// exchange plays the acting upstream's part.
func (s *scene) exchange(t *testing.T) *exchange {
	act := s.exit.provider
	if act == nil && s.exit.write == nil {
		act = hang
	}
	e := &exchange{pieces: pieces}
	e.onClose = func() {
		if inUse := s.admission.Snapshot().Upstreams[1].InUse; inUse != 1 {
			t.Errorf("I2: the seat was given back before the exchange was closed (%d in use)", inUse)
		}
	}
	if act == nil {
		return e
	}
	if s.at == beforeFirstByte && s.fallback != s.stream { // half of the lines before the header, half after it
		e.atStart = act
		return e
	}
	e.atPiece = func(ctx context.Context, n int) error {
		if n == s.at.piece() {
			return act(ctx)
		}
		return nil
	}
	return e
}

func (s *scene) onWrite(n int) error {
	if s.exit.write != nil && n == min(s.at.piece(), pieces-1) {
		s.acted = time.Now()
		return s.exit.write()
	}
	return nil
}

// check is what must hold of every line: one end, one record, an attempt's
// record for each attempt, and the outcome of the table.
func (s *scene) check(t *testing.T, got flow.Outcome, c *client, b *book) {
	t.Helper()
	want := s.exit.want(s.at)
	if got != want {
		t.Errorf("outcome %v, want %v", got, want)
	}
	if c.ended != 1 || len(b.records) != 1 {
		t.Fatalf("I3: %d ends, %d records; want 1 and 1", c.ended, len(b.records))
	}
	r := &b.records[0]
	if r.Outcome != want || r.Attempts != len(b.attempts) || c.meta.Attempts != len(b.attempts) {
		t.Errorf("I3: record %v with %d attempts, client told %d, %d told", r.Outcome, r.Attempts, c.meta.Attempts, len(b.attempts))
	}
	if (c.err == nil) != (want == flow.OutcomeServed) {
		t.Errorf("the client was told %v", c.err)
	}
	if begun := s.at > beforeFirstByte || want == flow.OutcomeServed; (c.begun == 1) != begun {
		t.Errorf("I4: begun %d times", c.begun)
	}
	if s.at == queued {
		if want := s.first(); len(b.attempts) != want {
			t.Errorf("I3: %d attempts told of a request that left the queue, want %d", len(b.attempts), want)
		}
		return
	}
	if len(b.attempts) == 0 {
		t.Fatal("I3: no attempt was told")
	}
	last := b.attempts[len(b.attempts)-1]
	if s.exit.kind != llm.KindNone && last.Kind != s.exit.kind {
		t.Errorf("last attempt %v, want %v", last.Kind, s.exit.kind)
	}
	if begun := s.at > beforeFirstByte; begun && last.Number != len(b.attempts) || last.Upstream != "second" || last.Model != "m2" {
		t.Errorf("last attempt %+v", last)
	}
}

// first is how many attempts there were before the one in question.
func (s *scene) first() int {
	if s.fallback {
		return 1
	}
	return 0
}

// checkExchanges sees that each call was told, and was closed in time.
func (s *scene) checkExchanges(t *testing.T, exchanges []*exchange, b *book) {
	t.Helper()
	if len(exchanges) != len(b.attempts) {
		t.Errorf("I3: %d calls, %d attempts told", len(exchanges), len(b.attempts))
	}
	first := s.first()
	if s.at != queued && len(exchanges) <= first {
		t.Fatalf("the upstream was called %d times", len(exchanges))
	}
	if s.at > beforeFirstByte && len(exchanges) != first+1 {
		t.Errorf("I4: %d calls although the answer had begun", len(exchanges))
	}
	for i, e := range exchanges {
		if e.closed.IsZero() && s.exit.name != "provider panics" {
			t.Errorf("I2: call %d is still open", i)
		}
		if e.ctx.Err() == nil {
			t.Errorf("I2: the context of call %d lives on", i)
		}
		if !s.acted.IsZero() && e.closed.Sub(s.acted) > time.Second {
			t.Errorf("I2: call %d was closed %v after the client had left", i, e.closed.Sub(s.acted))
		}
	}
}
