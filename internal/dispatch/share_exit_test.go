package dispatch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
)

// The exit table again, for calls that are shared: the way out is taken by the only
// one who waits, by one who joined, or by the first while another has joined. What
// is not of one client's doing befalls both.

type party int

const (
	only party = iota
	joiner
	leader
)

func (p party) String() string { return [...]string{"leader", "joiner", "leader leaves"}[p] }

var shareKey = flow.ShareKey{1}

// ownDoing reports whether the exit is one client's own.
func (e *exit) ownDoing() bool {
	return e.write != nil || e.hold > 0 || e.name == "client leaves" || e.name == "drain"
}

// guest is one of those who share.
type guest struct {
	client
	id      string
	outcome flow.Outcome
	done    chan struct{}
	at      time.Time // when Do returned
}

func TestI1I2I3I4ExitTableOfSharedCalls(t *testing.T) {
	lines := 0
	for _, e := range exits {
		for at := queued; at <= lastChunk; at++ {
			for who := only; who <= leader; who++ {
				for _, stream := range []bool{false, true} {
					for _, fallback := range []bool{false, true} {
						if e.want(at) == flow.OutcomeNone || who == leader && !e.ownDoing() {
							continue
						}
						lines++
						s := &shareScene{scene: scene{exit: e, at: at, stream: stream, fallback: fallback}, who: who}
						t.Run(fmt.Sprintf("%s/%s/%s/stream=%v/fallback=%v", e.name, at, who, stream, fallback), func(t *testing.T) {
							synctest.Test(t, s.play)
						})
					}
				}
			}
		}
	}
	if lines < 450 {
		t.Errorf("only %d lines were played", lines)
	}
}

// shareScene is one line of the table.
type shareScene struct {
	scene
	who    party
	first  *guest
	second *guest // nil where there is one only
	book   *book
}

func (s *shareScene) play(t *testing.T) {
	s.admission, s.book = control(t), &book{}
	failing := &provider{make: func(int) *exchange {
		return &exchange{atStart: func(context.Context) error { return errPipe }}
	}}
	acting := &provider{make: func(int) *exchange { return s.exchange(t) }}
	d, err := New(
		Options{
			Upstreams: []Upstream{{Name: "first"}, {Name: "second", Model: "m2"}}, Routes: []string{"both", "straight"},
			Limits: map[flow.Class]Limits{flow.Chat: s.exit.limits},
		},
		Deps{Admission: s.admission, Providers: []Provider{failing, acting}, Sink: s.book},
	)
	if err != nil {
		t.Fatal(err)
	}
	if s.at == queued {
		time.AfterFunc(40*time.Second, occupy(t, s.admission))
	}
	s.first = &guest{client: client{t: t}, id: "first", done: make(chan struct{})}
	s.start(t, d, s.first, s.who != joiner)
	if s.who != only {
		<-time.After(after / 6)
		s.second = &guest{client: client{t: t}, id: "second", done: make(chan struct{})}
		s.start(t, d, s.second, s.who == joiner)
	}
	<-time.After(after - after/6)
	if s.exit.outside != nil {
		s.acted = time.Now()
		s.exit.outside(&s.scene)
	}
	<-s.first.done
	if s.second != nil {
		<-s.second.done
	}
	<-time.After(time.Minute)
	s.verify(t, append(failing.exchanges, acting.exchanges...))
}

// start lets the guest ask; the one who acts takes the way out, if it is his own.
func (s *shareScene) start(t *testing.T, d *Dispatcher, g *guest, acts bool) {
	ctx, cancel := context.WithCancelCause(t.Context())
	req := request(straight, s.stream)
	req.ID, req.Share = g.id, shareKey
	if s.fallback {
		req.Ask.Route = byBoth
	}
	req.Ask.Hold = time.Now().Add(time.Minute)
	if acts {
		s.cancel, g.onWrite = cancel, s.onWrite
		if s.exit.hold > 0 {
			req.Ask.Hold = time.Now().Add(s.exit.hold)
		}
	}
	go func() {
		defer close(g.done)
		defer cancel(nil)
		g.outcome = d.Do(ctx, req, g)
		g.at = time.Now()
	}()
}

// exchange plays the acting upstream's part: it gives the others time to join, and
// where one of two leaves it goes on for the other.
func (s *shareScene) exchange(t *testing.T) *exchange {
	e := s.scene.exchange(t)
	start, piece := e.atStart, e.atPiece
	if s.who != only && s.exit.ownDoing() {
		start, piece = nil, nil
	}
	e.atStart = func(ctx context.Context) error {
		<-time.After(after / 3)
		if start != nil {
			return start(ctx)
		}
		return nil
	}
	e.atPiece = func(ctx context.Context, n int) error {
		<-time.After(10 * time.Millisecond) // readers come along
		if piece != nil {
			return piece(ctx, n)
		}
		if s.who != only && s.exit.outside != nil && n == s.at.piece() {
			<-time.After(2 * after)
			if ctx.Err() != nil {
				t.Error("the call ended with the one who left")
			}
		}
		return nil
	}
	return e
}

func (s *shareScene) verify(t *testing.T, exchanges []*exchange) {
	t.Helper()
	want := s.exit.want(s.at)
	actor, other := s.first, s.second
	if s.who == joiner {
		actor, other = s.second, s.first
	}
	if left := actor.at.Sub(s.acted); !s.acted.IsZero() && s.exit.ownDoing() && left > time.Second {
		t.Errorf("Do returned %v after the client had left", left)
	}
	owner, told := actor, want
	switch {
	case s.who == only:
	case s.exit.ownDoing():
		owner = other
		s.expect(t, other, flow.OutcomeServed)
	default:
		owner = other
		s.expect(t, other, want)
		if want == flow.OutcomeServed {
			told = flow.OutcomeCoalesced
		}
	}
	s.expect(t, actor, told)
	calls := len(exchanges)
	if calls != len(s.book.attempts) {
		t.Errorf("I3: %d calls, %d attempts told", calls, len(s.book.attempts))
	}
	for _, g := range []*guest{actor, other} {
		if g == nil {
			continue
		}
		if r := s.record(t, g); g == owner && r.Attempts != calls || g != owner && (r.Attempts != 0 || !r.Used.IsZero()) {
			t.Errorf("I7: %d calls, the record of the %s has %d and %+v", calls, g.id, r.Attempts, r.Used)
		}
	}
	if served := s.record(t, owner).Outcome == flow.OutcomeServed; served && calls != s.scene.first()+1 {
		t.Errorf("I7: %d calls were made for one answer", calls)
	}
	s.closed(t, exchanges)
	snapshot := s.admission.Snapshot()
	if snapshot.Outstanding != 0 || snapshot.Waiting != 0 || snapshot.Late != 0 {
		t.Errorf("I1: outstanding %d, waiting %d, late %d; want 0", snapshot.Outstanding, snapshot.Waiting, snapshot.Late)
	}
}

// closed sees that every call was closed, and soon after nobody waited for it.
func (s *shareScene) closed(t *testing.T, exchanges []*exchange) {
	t.Helper()
	for i, e := range exchanges {
		if e.closed.IsZero() && s.exit.name != "provider panics" || e.ctx.Err() == nil {
			t.Errorf("I2: call %d is still open", i)
		}
		if s.who == only && !s.acted.IsZero() && e.closed.Sub(s.acted) > time.Second {
			t.Errorf("I2: call %d was closed %v after the client had left", i, e.closed.Sub(s.acted))
		}
	}
}

func (s *shareScene) record(t *testing.T, g *guest) event.Record {
	t.Helper()
	var found []event.Record
	for _, r := range s.book.records {
		if r.ID == g.id {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("I3: %d records of the %s", len(found), g.id)
	}
	return found[0]
}

// expect is what must hold of each guest: one end, one record, the outcome of the
// table, and attempts only where the call was its own.
func (s *shareScene) expect(t *testing.T, g *guest, want flow.Outcome) {
	t.Helper()
	r := s.record(t, g)
	if g.outcome != want || r.Outcome != want || g.ended != 1 {
		t.Errorf("I3: the %s: outcome %v, record %v, %d ends (told %v); want %v", g.id, g.outcome, r.Outcome, g.ended, g.err, want)
	}
	if r.Attempts != g.meta.Attempts {
		t.Errorf("I3: the %s: record %d attempts, client told %d", g.id, r.Attempts, g.meta.Attempts)
	}
	if whole := want == flow.OutcomeServed || want == flow.OutcomeCoalesced; whole != (g.err == nil) || whole && (g.begun != 1 || r.BytesOut != 5*pieces) {
		t.Errorf("the %s: told %v, begun %d times, %d bytes", g.id, g.err, g.begun, r.BytesOut)
	}
	if want == flow.OutcomeHoldExpired {
		var refusal *admission.Refusal
		if !errors.As(g.err, &refusal) || refusal.RetryAfter < time.Second || !errors.Is(g.err, flow.ErrHold) {
			t.Errorf("the %s: told %v", g.id, g.err)
		}
	}
	if s.second == g != (g.meta.Cache == CacheCoalesced) {
		t.Errorf("the %s: cache %q", g.id, g.meta.Cache)
	}
}
