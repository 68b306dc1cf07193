package dispatch

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/respcache"
)

var cacheKey = flow.ShareKey{2}

var roomy = Options{Cache: respcache.Options{Bytes: 1 << 20}}

// kept lets a request be looked up and stored, and share with nobody.
func kept(r *Request, _ *taker) {
	r.Share, r.Cache, r.CacheFor = flow.ShareKey{}, cacheKey, time.Minute
}

func TestI10HitIsTheSameAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		stream, share bool
	}{"json": {}, "stream": {stream: true}, "shared": {share: true}, "shared stream": {true, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, roomy)
				h.second.make = func(int) *exchange {
					return &exchange{pieces: 3, header: http.Header{
						"X-Request-Id": {"1"}, "Set-Cookie": {"2"}, "Date": {"3"}, "X-Ratelimit-Remaining-Tokens": {"4"}, "Content-Type": {"text/x"},
					}}
				}
				ask := func(id string) *asking {
					a := h.ask(t, id, func(r *Request, x *taker) {
						kept(r, x)
						r.Call.Stream = c.stream
						if c.share {
							r.Share = shareKey
						}
					})
					<-a.done
					return a
				}
				first := ask("first")
				<-time.After(30 * time.Second)
				hit := ask("hit")
				<-time.After(30 * time.Second)
				after := ask("after")
				if first.outcome != flow.OutcomeServed || first.meta.Cache != CacheMiss || first.answer.Header.Get("X-Request-Id") != "1" {
					t.Errorf("the first: %v, %q, %v", first.outcome, first.meta.Cache, first.answer.Header)
				}
				if hit.outcome != flow.OutcomeCached || hit.meta.Cache != CacheHit || !bytes.Equal(hit.body, first.body) || hit.answer.Status != 200 || hit.answer.Stream != c.stream {
					t.Errorf("I10: %v, cache %q, %q, %+v", hit.outcome, hit.meta.Cache, hit.body, hit.answer)
				}
				if diff := cmp.Diff(http.Header{"Content-Type": {"text/x"}}, hit.answer.Header); diff != "" {
					t.Errorf("I10: header of a hit (-want +got):\n%s", diff)
				}
				if after.outcome != flow.OutcomeServed || len(h.second.exchanges) != 2 {
					t.Errorf("after its time: %v, %d calls", after.outcome, len(h.second.exchanges))
				}
				if r := h.book.records[1]; r.Outcome != flow.OutcomeCached || r.Attempts != 0 || r.BytesOut != 15 || hit.begun != 1 || hit.ended != 1 {
					t.Errorf("I3: %+v", r)
				}
				h.even(t, 3)
			})
		})
	}
}

// odd is a provider whose answer is not what it should be.
type odd struct {
	status int
	stream bool
	body   *exchange
}

func (o odd) Do(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
	e := *o.body
	e.ctx = ctx
	return &llm.Answer{Status: o.status, Stream: o.stream, Body: &e}, nil
}

func TestI10OnlyWholeAnswersAreKept(t *testing.T) {
	broken := func(_ context.Context, n int) error { return failIf(n == 2) }
	for name, c := range map[string]struct {
		provider odd
		change   func(*Request, *taker)
		o        Options
		keep     bool
	}{
		"whole":             {odd{200, true, &exchange{pieces: 2}}, nil, roomy, true},
		"no time":           {odd{200, true, &exchange{pieces: 2}}, func(r *Request, _ *taker) { r.CacheFor = 0 }, roomy, false},
		"no cache":          {odd{200, true, &exchange{pieces: 2}}, nil, Options{}, false},
		"no success":        {odd{202, true, &exchange{pieces: 2}}, nil, roomy, false},
		"cut":               {odd{200, true, &exchange{pieces: 3, atPiece: broken}}, nil, roomy, false},
		"empty":             {odd{200, true, &exchange{}}, nil, roomy, false},
		"no stream":         {odd{200, false, &exchange{pieces: 2}}, nil, roomy, false},
		"stream unasked":    {odd{200, true, &exchange{pieces: 2}}, func(r *Request, _ *taker) { r.Call.Stream = false }, roomy, false},
		"too long":          {odd{200, true, &exchange{pieces: 200}}, nil, Options{Cache: respcache.Options{Bytes: 1000}}, false},
		"client left":       {odd{200, true, &exchange{pieces: 2}}, func(_ *Request, x *taker) { x.onWrite = func(int) error { return errPipe } }, roomy, false},
		"just small enough": {odd{200, true, &exchange{pieces: 97}}, nil, Options{Cache: respcache.Options{Bytes: 1000}}, true},
	} {
		for _, share := range []bool{false, true} {
			if share && name == "client left" { // the call may be whole by then
				continue
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, c.o)
					tab := h.table.Load()
					if err := h.Reconfigure(tab.Options, []Provider{h.first, c.provider}); err != nil {
						t.Fatal(err)
					}
					a := h.ask(t, "a", func(r *Request, x *taker) {
						kept(r, x)
						if share {
							r.Share = shareKey
						}
						if c.change != nil {
							c.change(r, x)
						}
					})
					<-a.done
					_, found := h.shared.cache.Get(time.Now(), cacheKey)
					if found != c.keep {
						t.Errorf("I10: kept %v, want %v (%v)", found, c.keep, a.outcome)
					}
				})
			})
		}
	}
}

// A storm of the same question is one call, before, during and after it.
func TestI7OneCallForAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, roomy)
		h.second.make = slowly(5)
		var all []*asking
		for i := range 300 {
			all = append(all, h.ask(t, "r"+string(rune('0'+i%10))+time.Duration(i).String(), func(r *Request, _ *taker) { r.Cache, r.CacheFor = cacheKey, time.Minute }))
			<-time.After(50 * time.Millisecond)
		}
		cached := 0
		for _, a := range all {
			if <-a.done; len(a.body) != 25 {
				t.Fatalf("%d bytes", len(a.body))
			}
			if a.outcome == flow.OutcomeCached {
				cached++
			}
		}
		if len(h.second.exchanges) != 1 || cached < 150 {
			t.Errorf("I7: %d calls, %d from the cache", len(h.second.exchanges), cached)
		}
		h.even(t, 300)
	})
}

func TestHitForAClientThatHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, roomy)
		a := h.ask(t, "a", kept)
		<-a.done
		for _, c := range []struct {
			change func(*Request, *taker)
			want   flow.Outcome
		}{
			{func(_ *Request, x *taker) { x.onWrite = func(int) error { return errPipe } }, flow.OutcomeDisconnected},
			{func(_ *Request, x *taker) { x.onWrite = func(int) error { panic("write") } }, flow.OutcomeFailed},
		} {
			b := h.ask(t, "b", func(r *Request, x *taker) { kept(r, x); c.change(r, x) })
			if <-b.done; b.outcome != c.want || b.ended != 1 {
				t.Errorf("%v, want %v", b.outcome, c.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		req := request(straight, true)
		kept(req, nil)
		if got := h.Do(ctx, req, &taker{client: client{t: t}}); got != flow.OutcomeCanceled {
			t.Errorf("%v", got)
		}
	})
}

func TestSoftLimit(t *testing.T) {
	limits := map[flow.Class]Limits{flow.Chat: {Soft: 9500 * time.Millisecond, Hard: 19500 * time.Millisecond}}
	for name, c := range map[string]struct {
		soft  bool
		share flow.ShareKey
		want  error
		took  time.Duration
		bytes int
	}{
		"asked for":            {soft: true, want: ErrSoftLimit, took: 9500 * time.Millisecond, bytes: 45},
		"not asked for":        {want: ErrHardLimit, took: 19500 * time.Millisecond, bytes: 95},
		"asked for and shared": {soft: true, share: shareKey, want: ErrSoftLimit, took: 9500 * time.Millisecond, bytes: 45},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, Options{Limits: limits})
				h.second.make = slowly(100)
				rec := NewRecorder(1<<20, nil)
				req := request(straight, false)
				req.Soft, req.Share = c.soft, c.share
				start := time.Now()
				got := h.Do(t.Context(), req, rec)
				if got != flow.OutcomeDeadline || rec.Err() != c.want || time.Since(start) != c.took { //nolint:errorlint // the very error is told
					t.Errorf("%v after %v: %v", got, time.Since(start), rec.Err())
				}
				if len(rec.Body()) != c.bytes || rec.Status() != 200 || rec.Meta().Upstream != "second" {
					t.Errorf("%d bytes stand, status %d, meta %+v", len(rec.Body()), rec.Status(), rec.Meta())
				}
				if r := h.book.records[0]; r.Cause != "soft_limit" && c.soft || r.Outcome != flow.OutcomeDeadline {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

// A soft limit that is not below the hard one has no say.
func TestSoftLimitBeyondTheHardOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{Limits: map[flow.Class]Limits{flow.Chat: {Soft: 20 * time.Second, Hard: 10 * time.Second}}})
		h.second.make = slowly(100)
		rec, req := NewRecorder(1<<20, nil), request(straight, false)
		req.Soft = true
		start := time.Now()
		if h.Do(t.Context(), req, rec); rec.Err() != ErrHardLimit || time.Since(start) != 10*time.Second { //nolint:errorlint // the very error is told
			t.Errorf("%v after %v", rec.Err(), time.Since(start))
		}
	})
}

func TestRecorderIsToldWhereItStands(t *testing.T) {
	for _, share := range []flow.ShareKey{{}, shareKey} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, Options{})
			h.seat(t, 5*time.Second)
			h.second.make = slowly(3)
			start := time.Now()
			type note struct {
				At       time.Duration
				Position int
			}
			var notes []note
			rec := NewRecorder(1<<20, func(s admission.Status) { notes = append(notes, note{time.Since(start), s.Position}) })
			req := request(straight, false)
			req.Share = share
			if got := h.Do(t.Context(), req, rec); got != flow.OutcomeServed || rec.Err() != nil {
				t.Fatalf("%v: %v", got, rec.Err())
			}
			want := []note{{0, 1}, {2 * time.Second, 1}, {4 * time.Second, 1}, {5 * time.Second, 0}}
			if len(notes) < 4 {
				t.Fatalf("notes %v", notes)
			}
			if diff := cmp.Diff(want, notes[:4]); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
			for _, n := range notes[4:] {
				if n.Position != 0 {
					t.Errorf("%+v while it runs", n)
				}
			}
			if string(rec.Body()) != "piecepiecepiece" || rec.Meta().Upstream != "second" || rec.Stream() || rec.Header() == nil || h.book.records[0].Status != 200 {
				t.Errorf("%q, %+v", rec.Body(), rec.Meta())
			}
		})
	}
}

func TestRecorderIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.second.make = func(int) *exchange { return &exchange{pieces: 1000} }
		rec := NewRecorder(12, nil)
		h.Do(t.Context(), request(straight, false), rec)
		if string(rec.Body()) != "piecepiece" || failureOf(rec.Err()) != errRecorder {
			t.Errorf("%q: %v", rec.Body(), rec.Err())
		}
	})
}

func TestReconfigureLeavesWhatRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, roomy)
		h.second.make = slowly(10)
		running := h.ask(t, "running", func(r *Request, _ *taker) { r.Share = flow.ShareKey{} })
		<-time.After(time.Second)
		waiting := h.ask(t, "waiting", func(r *Request, _ *taker) { r.Share = flow.ShareKey{} })
		cached := h.shared.cache.Put(time.Now(), cacheKey, respcache.NewEntry(200, nil, true, []byte("x")), time.Hour)
		<-time.After(time.Second)
		other := &provider{make: whole}
		o := Options{
			Upstreams: []Upstream{{Name: "first"}, {Name: "renamed", Model: "m3"}}, Routes: []string{"both", "changed"}, Cache: roomy.Cache,
			Limits: map[flow.Class]Limits{flow.Chat: {Hard: 5 * time.Second}},
		}
		if err := h.Reconfigure(o, []Provider{h.first, other}); err != nil {
			t.Fatal(err)
		}
		<-running.done
		<-waiting.done
		if running.outcome != flow.OutcomeServed || len(running.body) != 50 || running.meta.Upstream != "second" {
			t.Errorf("what ran: %v, %d bytes at %s", running.outcome, len(running.body), running.meta.Upstream)
		}
		if waiting.outcome != flow.OutcomeServed || waiting.meta.Upstream != "renamed" || len(other.exchanges) != 1 || h.book.attempts[1].Model != "m3" {
			t.Errorf("what waited: %v at %s", waiting.outcome, waiting.meta.Upstream)
		}
		if h.book.records[1].Route != "changed" {
			t.Errorf("route %q", h.book.records[1].Route)
		}
		hit := h.ask(t, "hit", kept)
		if <-hit.done; !cached || hit.outcome != flow.OutcomeCached {
			t.Error("the cache was not kept")
		}
		if err := h.Reconfigure(Options{}, nil); err == nil {
			t.Error("no upstreams are accepted")
		}
		if h.table.Load().Upstreams[1].Name != "renamed" {
			t.Error("what is refused changes something")
		}
	})
}

// A client that leaves without a word while it waits may come back for its place.
func TestAbandonedPlaceIsKeptForAMoment(t *testing.T) {
	for _, share := range []flow.ShareKey{{}, shareKey} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, Options{})
			h.second.make = slowly(1) // who runs first is told of first
			h.seat(t, 12*time.Second)
			mine := func(r *Request, _ *taker) { r.Share, r.Ask.Place, r.Ask.Flow.User = share, "place", "w" }
			a := h.ask(t, "a", mine)
			<-time.After(time.Second)
			rival := h.ask(t, "rival", func(r *Request, _ *taker) { r.Share = flow.ShareKey{} })
			<-time.After(9 * time.Second)
			a.cancel()
			<-a.done
			<-time.After(time.Second)
			back := h.ask(t, "back", mine)
			<-back.done
			<-rival.done
			if a.outcome != flow.OutcomeCanceled || h.book.attempts[0].Request != "back" {
				t.Errorf("%v; first to run %+v", a.outcome, h.book.attempts[0])
			}
		})
	}
}
