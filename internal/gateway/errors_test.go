package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/task"
)

func TestI3Faults(t *testing.T) {
	refusal := func(err error) error {
		return fmt.Errorf("enter: %w", &admission.Refusal{Err: err, RetryAfter: 3 * time.Second, ETA: 90 * time.Second, Reason: flow.ReasonTokens, Detail: "9000 tokens of at most 3000"})
	}
	upstream := func(kind llm.ErrorKind, status int) error {
		return &llm.Error{
			Kind: kind, Status: status, Message: "upstream words", Code: "their_code", Type: "their_type",
			Header: http.Header{"Content-Type": {"application/problem+json"}, "Set-Cookie": {"s=1"}}, Body: []byte(`{"theirs":1}`),
		}
	}
	const theirs = true
	tests := map[string]struct {
		err    error
		status int
		code   string
		retry  string
		after  bool // Retry-After is set
		theirs bool // the provider's body passes
	}{
		"queue full":        {refusal(flow.ErrQueueFull), 503, "server_is_overloaded", "", true, !theirs},
		"flow full":         {refusal(flow.ErrFlowFull), 429, "rate_limit_exceeded", "", true, !theirs},
		"too long":          {refusal(flow.ErrTooLong), 503, "server_is_overloaded", "", true, !theirs},
		"too large":         {refusal(flow.ErrTooLarge), 413, "request_too_large", "false", false, !theirs},
		"no upstream":       {refusal(flow.ErrNoUpstream), 503, "server_is_overloaded", "", true, !theirs},
		"draining":          {refusal(flow.ErrDraining), 503, "server_is_overloaded", "", true, !theirs},
		"drained":           {refusal(flow.ErrDrained), 503, "server_is_overloaded", "", true, !theirs},
		"drained in flight": {flow.ErrDrained, 503, "server_is_overloaded", "", true, !theirs},
		"hold":              {refusal(flow.ErrHold), 429, "rate_limit_exceeded", "true", true, !theirs},
		"replaced":          {refusal(flow.ErrReplaced), 409, "replaced", "false", false, !theirs},
		"removed":           {refusal(flow.ErrRemoved), 503, "removed", "false", false, !theirs},
		"a bare sentinel":   {flow.ErrQueueFull, 503, "server_is_overloaded", "", true, !theirs},
		"no task":           {task.ErrNotFound, 404, "task_not_found", "false", false, !theirs},
		"soft limit":        {dispatch.ErrSoftLimit, 504, "deadline_exceeded", "false", false, !theirs},
		"hard limit":        {dispatch.ErrHardLimit, 504, "deadline_exceeded", "false", false, !theirs},

		"invalid":    {upstream(llm.KindInvalid, 422), 422, "", "false", false, theirs},
		"too long c": {upstream(llm.KindTooLarge, 400), 400, "", "false", false, theirs},
		"throttle":   {upstream(llm.KindThrottle, 429), 429, "rate_limit_exceeded", "true", true, !theirs},
		"exhausted":  {upstream(llm.KindExhausted, 429), 429, "insufficient_quota", "false", false, !theirs},
		"overload":   {upstream(llm.KindOverload, 529), 503, "server_is_overloaded", "", true, !theirs},
		"transient":  {upstream(llm.KindTransient, 500), 502, "upstream_error", "", false, !theirs},
		"timeout":    {upstream(llm.KindTimeout, 0), 504, "upstream_timeout", "", false, !theirs},
		"auth":       {upstream(llm.KindAuth, 401), 502, "upstream_auth", "false", false, !theirs},
		"internal":   {upstream(llm.KindInternal, 0), 500, "internal_error", "", false, !theirs},

		"anything else": {fmt.Errorf("open: %w", errUnlisted), 500, "internal_error", "", false, !theirs},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			faultOf(tc.err, "req_x").write(w, "req_x", OpenAI)
			got := w.Result()
			raw := readAll(t, got)
			if got.StatusCode != tc.status || got.Header.Get("X-Should-Retry") != tc.retry || (got.Header.Get("Retry-After") != "") != tc.after {
				t.Errorf("status %d, headers %v", got.StatusCode, got.Header)
			}
			if tc.theirs != (raw == `{"theirs":1}`) {
				t.Errorf("body %s", raw)
			}
			if tc.theirs {
				if got.Header.Get("Content-Type") != "application/problem+json" || got.Header.Get("Set-Cookie") != "" {
					t.Errorf("headers %v", got.Header)
				}
				return
			}
			var s shape
			if err := json.Unmarshal([]byte(raw), &s); err != nil || s.Error.Code == nil || *s.Error.Code != tc.code {
				t.Errorf("%v: %s", err, raw)
			}
			for _, secret := range []string{"hunter2", "upstream words", "their_"} {
				if strings.Contains(raw, secret) {
					t.Errorf("%s got out: %s", secret, raw)
				}
			}
		})
	}
}

// everyFault is every fault that a client can be told, by what it is about.
func everyFault() map[string]*fault {
	all := map[string]*fault{
		"invalid": invalid("p", "m"), "model": unknownModel("m"), "body": tooLarge(1), "draining": faultOf(flow.ErrDraining, "i"), "internal": internalFault("i"),
		"broken off": errBrokenOff, "url": unknownURL(httptest.NewRequest("GET", "/", nil)),
	}
	for _, cause := range []error{
		flow.ErrQueueFull, flow.ErrFlowFull, flow.ErrTooLong, flow.ErrTooLarge, flow.ErrNoUpstream, flow.ErrDraining, flow.ErrHold, flow.ErrCanceled,
		flow.ErrReplaced, flow.ErrRemoved, flow.ErrDrained, flow.ErrRefused, flow.ErrEvicted, dispatch.ErrHardLimit, dispatch.ErrSoftLimit, task.ErrNotFound, errUnlisted,
	} {
		all["bare "+cause.Error()] = faultOf(cause, "i")
		for _, reason := range []flow.Reason{flow.ReasonNone, flow.ReasonTokens, flow.ReasonRate} {
			all["refused "+cause.Error()+string(reason)] = faultOf(&admission.Refusal{Err: cause, RetryAfter: time.Second, ETA: time.Minute, Reason: reason}, "i")
		}
	}
	for _, kind := range llm.Kinds() {
		all["kind "+kind.String()] = faultOf(&llm.Error{Kind: kind, Message: "m"}, "i")
	}
	return all
}

// Words by which clients tell a spent account from a busy moment stay out of
// what is temporary: LangChain gives up for good when it reads them.
func TestI3TemporaryErrorsDoNotSoundFinal(t *testing.T) {
	for name, f := range everyFault() {
		if f.code == "insufficient_quota" {
			continue
		}
		for _, d := range []Dialect{OpenAI, Problem, App} {
			text, _ := f.body(d, "i")
			for _, word := range []string{"quota", "billing", "credit", "exhausted", "exceeded your", "capacity", "insufficient", "hunter2"} {
				if strings.Contains(strings.ToLower(string(text)), word) {
					t.Errorf("%s speaks of %s: %s", name, word, text)
				}
			}
		}
	}
}

// Every fault has its words in every dialect, and a status that fits.
func TestI3EveryFaultInEveryDialect(t *testing.T) {
	for name, f := range everyFault() {
		if f.message == "" || f.status < 400 || f.status > 599 {
			t.Errorf("%s: %d %q", name, f.status, f.message)
		}
		for d, want := range map[Dialect]string{OpenAI: `{"error":{"message":`, Problem: `{"type":"`, App: `{"success":false,"error":"`} {
			w := httptest.NewRecorder()
			f.write(w, "req_x", d)
			if got := w.Body.String(); !strings.HasPrefix(got, want) || !json.Valid([]byte(got)) || w.Code != f.status || w.Header().Get("X-Request-Id") != "req_x" {
				t.Errorf("%s: %d %s", name, w.Code, got)
			}
		}
	}
}

func TestTooLargeTellsTheNumbers(t *testing.T) {
	f := faultOf(&admission.Refusal{Err: flow.ErrTooLarge, Detail: "9000 tokens of at most 3000"}, "")
	if !strings.Contains(f.message, "9000") || !strings.Contains(f.message, "3000") {
		t.Errorf("%q", f.message)
	}
}

// An answer of the provider's own passes through the whole gateway.
func TestFinalErrorsPassThrough(t *testing.T) {
	p := func(context.Context, *llm.Call) (*llm.Answer, error) {
		return nil, &llm.Error{Kind: llm.KindInvalid, Status: 400, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"error":{"message":"theirs"}}`)}
	}
	in(t, 1, p, func(t *testing.T, w *world, client *http.Client) {
		resp := post(t, client, "/v1/chat/completions", streamBody)
		if got := readAll(t, resp); got != `{"error":{"message":"theirs"}}` || resp.StatusCode != 400 || resp.Header.Get("X-Should-Retry") != "false" || resp.Header.Get("Millrace-Attempts") != "1" {
			t.Errorf("%d %q %v", resp.StatusCode, got, resp.Header)
		}
		if got := w.records.outcomes(); len(got) != 1 || got[0] != flow.OutcomeRejected {
			t.Errorf("outcomes %v", got)
		}
	})
}
