package endpoint

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// provider answers each call with the events of a script.
type provider struct {
	script
	mu     sync.Mutex
	starts []time.Time
	closed int
}

func (p *provider) Do(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starts = append(p.starts, time.Now())
	return &llm.Answer{Status: http.StatusOK, Stream: true, Body: &body{p: p, ctx: ctx, events: p.events()}}, nil
}

type body struct {
	p      *provider
	ctx    context.Context
	events []string
}

func (b *body) Next() ([]byte, error) {
	if !pause(b.ctx, b.p.pause) {
		return nil, &llm.Error{Kind: llm.KindCanceled, Err: context.Cause(b.ctx)}
	}
	if len(b.events) == 0 {
		return nil, io.EOF
	}
	event := b.events[0]
	b.events = b.events[1:]
	return []byte(event), nil
}

func (b *body) Usage() llm.Usage { return llm.Usage{Input: 11, Output: 7} }
func (b *body) Counted() int64   { return 28 }
func (b *body) Close() error {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	b.p.closed++
	return nil
}

// stack is a world over real dispatch and admission.
func stack(t *testing.T, p *provider, rate int, limits dispatch.Limits) *world {
	t.Helper()
	wide := []quota.Limit{{Dim: quota.Requests, Max: 6_000_000, Span: time.Minute, Kind: quota.Sliding}}
	control, err := admission.New(admission.Options{
		Upstreams: []gate.Upstream{{Name: "main", Quota: quota.Options{Seats: 15, Limits: wide}}},
		Routes:    []gate.Route{{Upstreams: []int{0}}},
		Classes:   []gate.Class{{Name: flow.Analysis, Rate: gate.Rate{Max: rate, Per: time.Minute}, MaxWait: 30 * time.Minute}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	d, err := dispatch.New(dispatch.Options{
		Upstreams: []dispatch.Upstream{{Name: "main"}}, Routes: []string{"all"},
		Limits: map[flow.Class]dispatch.Limits{flow.Analysis: limits},
	}, dispatch.Deps{Admission: control, Providers: []dispatch.Provider{p}})
	if err != nil {
		t.Fatal(err)
	}
	w := build(t, d, analyze())
	w.set.deps.Route = func(string) (int, bool) { return 0, true }
	return w
}

// The soft limit of the class ends the call and leaves what is complete.
func TestStackSoftLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &provider{script: script{pieces: []string{"[", findingA, ",", findingB, ",", findingA}, pause: 2 * time.Second}}
		w := stack(t, p, 20, dispatch.Limits{Soft: 11 * time.Second, Hard: time.Minute})
		rw := w.post(t, "/analyze_section", section, "Prefer: wait=60")
		got := fields(t, rw.Body.Bytes())
		if rw.Code != http.StatusOK || got["feedback_count"] != 2.0 || got["partial"] != true || got["duration"] != 11.0 {
			t.Errorf("%d %s", rw.Code, rw.Body)
		}
		synctest.Wait()
		if p.closed != 1 {
			t.Errorf("%d calls closed", p.closed)
		}
	})
}

// A cancel ends the exchange with the upstream.
func TestStackCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &provider{script: script{pieces: []string{"[", findingA}, pause: time.Hour}}
		w := stack(t, p, 20, dispatch.Limits{})
		w.post(t, "/analyze_section", section)
		w.ask(t.Context(), http.MethodPost, "/cancel_task/"+w.ids[0], "")
		synctest.Wait()
		if p.closed != 1 || len(p.starts) != 1 {
			t.Errorf("%d calls, %d closed", len(p.starts), p.closed)
		}
	})
}

// Users over the class's rate are told where they stand, and all are answered.
func TestStackOverload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const users = 25
		p := &provider{script: script{pieces: []string{"[", findingA, "]"}, pause: time.Second}}
		w := stack(t, p, 10, dispatch.Limits{})
		answers := make(chan string, users)
		for i := range users {
			go func() {
				body := strings.Replace(section, "s1", "user-"+string(rune('a'+i)), 1)
				answers <- w.post(t, "/analyze_section", body).Body.String()
			}()
		}
		done, told := 0, 0
		for range users {
			switch got := fields(t, []byte(<-answers)); {
			case got["feedback_count"] == 1.0:
				done++
			case got["async"] == true && got["position"] != nil && got["eta_seconds"] != nil && got["reason"] != nil:
				told++
			}
		}
		if done != 10 || told != users-10 {
			t.Errorf("%d done, %d told where they stand", done, told)
		}
		<-time.After(3 * time.Minute)
		for _, id := range w.ids {
			if got, err := w.runner.Get(t.Context(), "acme", id); err != nil || got.State.String() != "SUCCESS" {
				t.Errorf("task %v, %v", got.State, err)
			}
		}
		for i := 10; i < len(p.starts); i++ {
			if p.starts[i].Sub(p.starts[i-10]) < time.Minute {
				t.Errorf("start %d came %v after the tenth before it", i, p.starts[i].Sub(p.starts[i-10]))
			}
		}
	})
}
