package load

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/load/wire"
)

// chaos answers each prompt in a way of its own: well, with an error, cut, late
// or not at all.
func chaos(w http.ResponseWriter, r *http.Request, s seen) {
	switch crc32.ChecksumIEEE([]byte(s.Prompt)) % 16 {
	case 0:
		http.Error(w, `{"error":{"message":"slow down"}}`, http.StatusTooManyRequests)
	case 1:
		http.Error(w, "oops", http.StatusInternalServerError)
	case 2:
		<-r.Context().Done()
	case 3:
		panic(http.ErrAbortHandler)
	case 4:
		answerStream(w, r, time.Second, false)
	default:
		answer(w, r, s)
	}
}

func TestI1EachRequestInOneBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, chaos)
		o.Users, o.Think, o.ThinkFixed, o.StreamShare = 30, time.Second, false, 0.5
		o.WarmUp, o.Duration, o.Grace, o.Timeout = 10*time.Second, 2*time.Minute, 5*time.Second, 20*time.Second
		o.Mischief = Mischief{Cancel: 0.1, Disconnect: 0.1, Stall: 0.1}
		r := runOne(t, o)
		synctest.Wait()
		if r.Started != int64(x.count()) {
			t.Errorf("started %d, the target saw %d", r.Started, x.count())
		}
		if r.buckets() != r.Started {
			t.Errorf("the buckets hold %d of %d started: %+v", r.buckets(), r.Started, r)
		}
		for name, n := range map[string]int64{
			"answered": r.Answered, "canceled": r.Canceled, "disconnected": r.Disconnected, "stalled": r.Stalled,
			"unfinished": r.Unfinished, "warm-up": r.WarmUp, "429": r.ByError["429"], "500": r.ByError["500"],
			"timeout": r.ByError[labelTimeout], "cut": r.ByError[labelCut], "eof": r.ByError[labelEOF],
		} {
			if n == 0 {
				t.Errorf("no request in bucket %s: the test shows nothing about it", name)
			}
		}
		var byError, asked, answers int64
		for _, n := range r.ByError {
			byError += n
		}
		for _, u := range r.Users {
			asked += u.Asked
			answers += u.Answers
		}
		if byError != r.Errors || asked != r.Started-r.WarmUp || answers != r.Answered {
			t.Errorf("%d errors by kind of %d, %d asked by users of %d, %d answers of users of %d",
				byError, r.Errors, asked, r.Started-r.WarmUp, answers, r.Answered)
		}
	})
}

func TestI2LatencyFromIntendedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, answer)
		o = o.withDefaults()
		composer, err := newComposer(&o, o.Targets[0], lorem(50))
		if err != nil {
			t.Fatal(err)
		}
		clock := newClock(1)
		intended := clock.begun
		r := &run{options: &o, transport: o.Transport, composer: composer, clock: clock, book: newBook(&o, clock, nil)}
		<-time.After(3 * time.Second) // the generator is late
		r.ask(t.Context(), plan{tokens: 50}, intended)
		result := r.book.result(o.Targets[0], time.Second)
		if got := result.Latency.Max; got < 3999 || got > 4005 {
			t.Errorf("latency %v ms, want 4000: 3 s late and 1 s of answer", got)
		}
		if got := result.FirstByte.Max; got < 3999 || got > 4005 {
			t.Errorf("first byte after %v ms, want 4000", got)
		}
		if got := result.Generator.BehindMS; got != 3000 {
			t.Errorf("the generator says it was %v ms behind, want 3000", got)
		}
	})
}

func TestI3OwnMischiefIsNoError(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request, _ seen) { <-r.Context().Done() }
	slow := func(w http.ResponseWriter, r *http.Request, _ seen) { answerStream(w, r, time.Second, true) }
	cutAfterFirst := func(w http.ResponseWriter, r *http.Request, _ seen) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		pause(r, 2*time.Second)
		panic(http.ErrAbortHandler)
	}
	refuse := func(w http.ResponseWriter, _ *http.Request, _ seen) { w.WriteHeader(http.StatusTooManyRequests) }
	for _, c := range []struct {
		name     string
		script   func(http.ResponseWriter, *http.Request, seen)
		mischief Mischief
		stream   float64
		grace    time.Duration
		of       func(*Result) int64
		errors   bool
	}{
		{"leaving while it hangs", hang, Mischief{Cancel: 1}, 0, 0, func(r *Result) int64 { return r.Canceled }, false},
		{"leaving in mid-stream", slow, Mischief{Cancel: 1}, 1, 0, func(r *Result) int64 { return r.Canceled }, false},
		{"hanging up a stream", slow, Mischief{Disconnect: 1}, 1, 0, func(r *Result) int64 { return r.Disconnected }, false},
		{"hanging up a JSON answer", answer, Mischief{Disconnect: 1}, 0, 0, func(r *Result) int64 { return r.Disconnected }, false},
		{"stalling, then cut off", cutAfterFirst, Mischief{Stall: 1}, 1, 0, func(r *Result) int64 { return r.Stalled }, false},
		{"stalling, then read", answer, Mischief{Stall: 1}, 0, 0, func(r *Result) int64 { return r.Stalled }, false},
		{"ending the run", hang, Mischief{}, 0, time.Second, func(r *Result) int64 { return r.Unfinished }, false},
		{"refused before leaving", refuse, Mischief{Cancel: 1}, 0, 0, func(r *Result) int64 { return r.Errors }, true},
		{"refused before stalling", refuse, Mischief{Stall: 1}, 0, 0, func(r *Result) int64 { return r.Errors }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, o := start(t, c.script)
				o.Users, o.Think, o.Duration, o.Mischief, o.StreamShare, o.Grace = 5, time.Second, 30*time.Second, c.mischief, c.stream, c.grace
				r := runOne(t, o)
				if n := c.of(r); n != r.Started || n < 5 {
					t.Errorf("%d of %d started in the bucket: %+v", n, r.Started, r)
				}
				if got := r.Errors > 0; got != c.errors {
					t.Errorf("errors %v", r.ByError)
				}
				if r.ErrorsBehaved != 0 {
					t.Errorf("%d errors said to have met the well-behaved, of whom there are none", r.ErrorsBehaved)
				}
			})
		})
	}
}

// asked lists what each user asked, in order.
func asked(x *target) map[string][]string {
	all := map[string][]string{}
	for _, s := range x.requests {
		all[s.User] = append(all[s.User], s.Body)
	}
	return all
}

func TestI4SameSeedSameRequests(t *testing.T) {
	record := func(seed uint64, script func(http.ResponseWriter, *http.Request, seen)) map[string][]string {
		var all map[string][]string
		synctest.Test(t, func(t *testing.T) {
			x, o := start(t, script)
			o.Users, o.Think, o.ThinkFixed, o.TokensSigma, o.StreamShare = 8, 2*time.Second, false, 0.5, 0.5
			o.Seed, o.Duration, o.Ramp = seed, time.Minute, 0
			runOne(t, o)
			all = asked(x)
		})
		return all
	}
	quick := record(7, answer)
	slow := record(7, func(w http.ResponseWriter, r *http.Request, s seen) {
		if strings.HasSuffix(s.User, "3") {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		pause(r, 2*time.Second)
		answer(w, r, s)
	})
	for user, bodies := range slow {
		n := min(len(bodies), len(quick[user]))
		if n < 5 {
			t.Errorf("%s asked only %d times", user, n)
		}
		if diff := cmp.Diff(quick[user][:n], bodies[:n]); diff != "" {
			t.Errorf("%s asked for something else when the answers changed:\n%s", user, diff)
		}
	}
	other := record(8, answer)
	if slices.Equal(other["user-000"], quick["user-000"]) {
		t.Error("another seed asked for the same")
	}
}

func TestI4EveryPromptIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, o := start(t, answer)
		o.Users, o.GreedyLoops, o.Think, o.Duration = 5, 4, time.Second, 30*time.Second
		runOne(t, o)
		prompts := map[string]bool{}
		for _, s := range x.requests {
			prompts[s.Prompt] = true
			if len(s.Prompt) != 50*charsPerToken {
				t.Fatalf("a prompt of %d characters, want %d", len(s.Prompt), 50*charsPerToken)
			}
		}
		if len(prompts) != len(x.requests) {
			t.Errorf("%d prompts in %d requests: a cache could answer them", len(prompts), len(x.requests))
		}
	})
}

// counting knows which requests have not been closed.
type counting struct {
	http.RoundTripper
	open chan struct{} // holds one element for each
}

type countedBody struct {
	io.ReadCloser
	open chan struct{}
}

// Close implements io.Closer.
func (b *countedBody) Close() error {
	<-b.open
	return b.ReadCloser.Close()
}

// RoundTrip implements http.RoundTripper.
func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.open <- struct{}{}
	resp, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		<-c.open
		return nil, err
	}
	resp.Body = &countedBody{resp.Body, c.open}
	return resp, nil
}

func TestI5NothingOutlivesRun(t *testing.T) {
	for _, end := range []string{"interrupt", "grace"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, o := start(t, chaos)
				snapshots := 0
				o.Users, o.Think, o.StreamShare, o.Duration, o.Grace = 20, time.Second, 0.5, time.Minute, time.Second
				o.Mischief = Mischief{Cancel: 0.2, Disconnect: 0.2, Stall: 0.2}
				o.Progress = func(Snapshot) { snapshots++ }
				transport := counting{o.Transport, make(chan struct{}, 1000)}
				o.Transport = transport
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if end == "interrupt" {
					defer time.AfterFunc(20*time.Second+time.Millisecond, cancel).Stop()
				}
				report, err := Run(ctx, o)
				if err != nil {
					t.Fatal(err)
				}
				seenThen, shownThen, openThen := x.count(), snapshots, len(transport.open)
				<-time.After(10 * time.Minute)
				synctest.Wait()
				if openThen != 0 {
					t.Errorf("%d answers not closed when Run returned", openThen)
				}
				if x.live() != 0 || x.count() != seenThen || snapshots != shownThen {
					t.Errorf("after Run: %d still running, %d new, %d new snapshots", x.live(), x.count()-seenThen, snapshots-shownThen)
				}
				if report.Interrupted != (end == "interrupt") {
					t.Errorf("interrupted is %v", report.Interrupted)
				}
				if r := report.Targets[0]; r.Unfinished == 0 || r.Answered == 0 || r.buckets() != r.Started {
					t.Errorf("report so far: %+v", r)
				}
			})
		})
	}
}

func TestI6StreamsEndWithTheirMarker(t *testing.T) {
	frame := `data: {"error":{"message":"overloaded","type":"server_error"}}` + "\n\n"
	for _, c := range []struct {
		name, body string
		want       map[string]int64 // errors; nil for an answer
	}{
		{"complete", "data: {}\n\ndata: [DONE]\n\n", nil},
		{"complete without a last newline", "data: {}\n\ndata: [DONE]", nil},
		{"complete without spaces", "data:{}\r\n\r\ndata:[DONE]\r\n\r\n", nil},
		{"comments only before", ": queued position=3\n\n: queued position=2\n\ndata: {}\n\ndata: [DONE]\n\n", nil},
		{"a line beyond the buffer", "data: {\"x\":\"" + strings.Repeat("y", 3*wire.LineSize) + "\"}\n\ndata: [DONE]\n\n", nil},
		{"closed politely without the marker", "data: {}\n\ndata: {}\n\n", map[string]int64{labelCut: 1}},
		{"nothing but comments", ": queued\n\n", map[string]int64{labelCut: 1}},
		{"empty", "", map[string]int64{labelCut: 1}},
		{"an error inside", "data: {}\n\n" + frame, map[string]int64{labelFrame: 1}},
		{"an error inside, then the marker", "data: {}\n\n" + frame + "data: [DONE]\n\n", map[string]int64{labelFrame: 1}},
		{"the marker in a chunk's text", "data: {\"choices\":[{\"delta\":{\"content\":\"[DONE]\"}}]}\n\n", map[string]int64{labelCut: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, o := start(t, func(w http.ResponseWriter, _ *http.Request, _ seen) {
					w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
					_, _ = io.WriteString(w, c.body)
				})
				o.StreamShare, o.Think, o.Duration = 1, time.Hour, time.Second
				r := runOne(t, o)
				if want := int64(1 - len(c.want)); r.Started != 1 || r.Answered != want || r.Streams.Complete != want {
					t.Errorf("%d of %d answered, %d complete, want %d", r.Answered, r.Started, r.Streams.Complete, want)
				}
				if !maps.Equal(r.ByError, c.want) {
					t.Errorf("errors %v, want %v", r.ByError, c.want)
				}
				if want := int64(strings.Count(c.body, ": queued")); r.Streams.Comments != want {
					t.Errorf("%d comments, want %d", r.Streams.Comments, want)
				}
				if r.Streams.Cut != c.want[labelCut] {
					t.Errorf("%d cut", r.Streams.Cut)
				}
			})
		})
	}
}

func TestErrorLabels(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(http.ResponseWriter, *http.Request, seen)
		stream float64
		want   string
	}{
		{"a hang before the header", func(_ http.ResponseWriter, r *http.Request, _ seen) { <-r.Context().Done() }, 0, labelTimeout},
		{"a hang in the stream", func(w http.ResponseWriter, r *http.Request, _ seen) { answerStream(w, r, time.Hour, true) }, 1, labelTimeout},
		{"an abort before the header", func(http.ResponseWriter, *http.Request, seen) { panic(http.ErrAbortHandler) }, 0, labelEOF},
		{"an abort in the stream", func(w http.ResponseWriter, r *http.Request, _ seen) {
			answerStream(w, r, 0, false)
			panic(http.ErrAbortHandler)
		}, 1, labelCut},
		{"a short JSON answer", func(w http.ResponseWriter, _ *http.Request, _ seen) {
			w.Header().Set("Content-Length", "1000")
			answerJSON(w)
		}, 0, labelEOF},
		{"JSON for a stream", func(w http.ResponseWriter, _ *http.Request, _ seen) { answerJSON(w) }, 1, labelFormat},
		{"a stream for JSON", func(w http.ResponseWriter, r *http.Request, _ seen) { answerStream(w, r, 0, true) }, 0, labelFormat},
		{"a redirect is not followed", func(w http.ResponseWriter, r *http.Request, _ seen) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 0, "307"},
		{"too large", func(w http.ResponseWriter, _ *http.Request, _ seen) {
			_, _ = io.CopyN(w, zeros{}, wire.MaxJSON+2)
		}, 0, labelFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, o := start(t, c.script)
				o.StreamShare, o.Think, o.Duration, o.Timeout = c.stream, time.Hour, 2*time.Minute, time.Minute
				r := runOne(t, o)
				if diff := cmp.Diff(map[string]int64{c.want: 1}, r.ByError); diff != "" || r.ErrorsBehaved != 1 {
					t.Errorf("errors (-want +got), %d of the well-behaved:\n%s", r.ErrorsBehaved, diff)
				}
			})
		})
	}
	if got := errorLabel(errors.New("any"), labelEOF); got != labelOther {
		t.Errorf("an unknown error is called %s", got)
	}
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
