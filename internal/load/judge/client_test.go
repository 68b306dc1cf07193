package judge

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/testkit"
)

func TestMain(m *testing.M) { testkit.LeakMain(m) }

// client asks a simulator that answers as told.
func client(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	base, err := url.Parse(testkit.URL)
	if err != nil {
		t.Fatal(err)
	}
	return New(base, testkit.Serve(t, answer).Transport)
}

func TestI1BooksOfAnEndedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := ""
		j := client(t, func(w http.ResponseWriter, r *http.Request) {
			asked += r.Method + " " + r.URL.Path + "\n"
			_, _ = io.WriteString(w, `{"requests":7,"speed":2,"limits":[{"name":"requests","utilization":0.5},{"name":"tokens","utilization":0.25}]}`)
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := j.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		at, err := j.Read(ctx)
		if err != nil || at.Requests != 7 || at.Speed != 2 {
			t.Errorf("%+v, %v", at, err)
		}
		if used := (&Report{AtEnd: at}).Utilization(); used != 0.5 {
			t.Errorf("used %v", used)
		}
		if asked != "POST /sim/reset\nGET /sim/stats\n" {
			t.Errorf("asked:\n%s", asked)
		}
	})
}

func TestFinalWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		j := client(t, func(w http.ResponseWriter, _ *http.Request) {
			running := "1"
			if time.Since(begun) > 300*time.Millisecond {
				running = "0"
			}
			_, _ = io.WriteString(w, `{"in_flight":`+running+`}`)
		})
		if b, err := j.Final(t.Context()); err != nil || b.InFlight != 0 || time.Since(begun) > 400*time.Millisecond {
			t.Errorf("%+v, %v after %v", b, err, time.Since(begun))
		}
		begun = begun.Add(time.Hour)
		if b, err := j.Final(t.Context()); err != nil || b.InFlight != 1 {
			t.Errorf("%+v, %v", b, err)
		}
	})
}

func TestNoSimulator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, answer := range map[string]http.HandlerFunc{
			"is it a millrace simulator?": http.NotFound,
			"read the judge's books":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			"deadline":                    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		} {
			if _, err := client(t, answer).Read(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
		var none *Client
		if b, err := none.Final(t.Context()); err != nil || b.Requests != 0 || none.Reset(t.Context()) != nil {
			t.Errorf("none: %+v, %v", b, err)
		}
	})
}
