package trial

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/testkit"
)

func TestMain(m *testing.M) { testkit.LeakMain(m) }

const key = "key-that-nobody-may-see"

// begin makes a trial of a target that answers after 2 s, but the 5th request of
// each class with a 429 that holds the key.
func begin(t *testing.T) *Trial {
	t.Helper()
	asked := make(chan int, 1)
	asked <- 0
	client := testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := <-asked
		asked <- n + 1
		w.Header().Set("Millrace-Class", r.Header.Get("Millrace-Class"))
		w.Header().Set("Millrace-Queue-Wait-Ms", "500")
		if n == 4 {
			http.Error(w, "no: "+r.Header.Get("Authorization"), http.StatusTooManyRequests)
			return
		}
		select {
		case <-time.After(2 * time.Second):
			_, _ = io.WriteString(w, `{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}`)
		case <-r.Context().Done():
		}
	}))
	x, err := New(Options{URL: testkit.URL + "/v1", Key: key, MaxUsers: 50, Transport: client.Transport})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func start(t *testing.T, x *Trial, parameters string) {
	t.Helper()
	if err := x.StartJSON([]byte(parameters)); err != nil {
		t.Fatal(err)
	}
}

// settle waits until the run is over.
func settle(t *testing.T, x *Trial) State {
	t.Helper()
	for range 300 {
		if !x.Busy() {
			return x.Look()
		}
		<-time.After(time.Second)
	}
	t.Fatal("the run does not end")
	return State{}
}

func TestRunIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t)
		defer x.Close()
		if s := x.Look(); s.Phase != Idle || s.Report {
			t.Errorf("before: %+v", s)
		}
		start(t, x, `{"users":20,"requests_per_minute":6,"seconds":60,"classes":[{"class":"chat","weight":7},{"class":"analysis","weight":3}],"tokens":10}`)
		<-time.After(30500 * time.Millisecond)
		s := x.Look()
		if s.Phase != Running || s.Elapsed != 30 || s.Of != 60 || s.Sent < 40 || s.Answered < 30 || s.Errors != 1 || s.Waiting < 1 || s.Sent != s.Answered+s.Errors+s.Waiting {
			t.Errorf("in the middle: %+v", s)
		}
		if len(s.Points) != 30 || s.Points[29].At != 29 || s.P95 < 1990 || s.P95 > 2010 || s.WaitP95 < 499 || s.Statuses["200"] != s.Answered || s.Statuses["429"] != 1 {
			t.Errorf("in the middle: %+v", s)
		}
		if err := x.WriteHTML(io.Discard); !errors.Is(err, ErrNoReport) {
			t.Errorf("a report in the middle: %v", err)
		}
		<-time.After(31 * time.Second)
		if s := x.Look(); s.Phase != Finishing {
			t.Errorf("after its time: %+v", s)
		}
		s = settle(t, x)
		started := int64(0)
		for _, p := range s.Points {
			started += p.Started
		}
		if s.Phase != Ended || !s.Report || s.Waiting != 0 || s.Sent != s.Answered+s.Errors || started != s.Sent || s.Sent < 90 || s.Error != "" {
			t.Errorf("at the end: %+v, %d started", s, started)
		}
		var page bytes.Buffer
		if err := x.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "requests a minute of each user") || !strings.Contains(page.String(), "class analysis") {
			t.Errorf("page: %v", err)
		}
	})
}

func TestI4NothingSecretIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t)
		defer x.Close()
		start(t, x, `{"users":50,"seconds":600,"tokens":10}`)
		<-time.After(400 * time.Second)
		var page bytes.Buffer
		seen, err := json.Marshal(x.State())
		x.Stop()
		s := settle(t, x)
		ended, _ := json.Marshal(x.State()) //nolint:errchkjson // as before
		if err = errors.Join(err, x.WriteHTML(&page)); err != nil || s.Errors != 1 {
			t.Fatalf("%v, %d errors", err, s.Errors)
		}
		for name, what := range map[string]string{"state": string(seen), "state at the end": string(ended), "page": page.String()} {
			if strings.Contains(what, key) {
				t.Errorf("the %s holds the key", name)
			}
		}
		if n := len(s.Points); n != maxPoints {
			t.Errorf("%d points", n)
		}
	})
}

func TestI1OneRunAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t)
		start(t, x, "")
		if err := x.StartJSON(nil); !errors.Is(err, ErrRunning) {
			t.Errorf("a second one: %v", err)
		}
		x.Stop()
		settle(t, x)
		start(t, x, `{}`)
		if s := x.Look(); s.Report || s.Sent != 0 || s.Parameters.Users != 20 {
			t.Errorf("the second begins with %+v", s)
		}
		x.Close()
		if err := x.StartJSON(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestI1Bounds(t *testing.T) {
	x, err := New(Options{URL: "http://127.0.0.1:1/v1", MaxUsers: 10, MaxDuration: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		`{"users":11}`:                                      "users",
		`{"users":-1}`:                                      "users",
		`{"seconds":61}`:                                    "seconds",
		`{"seconds":0.1}`:                                   "seconds",
		`{"warmup_seconds":61}`:                             "warmup_seconds",
		`{"tokens":1000000}`:                                "tokens",
		`{"output_tokens":-1}`:                              "output_tokens",
		`{"stream_share":2}`:                                "stream_share",
		`{"requests_per_minute":9e9}`:                       "requests_per_minute",
		`{"requests_per_minute":1,"think_seconds":1}`:       "exclude",
		`{"users":100,"requests_per_minute":61}`:            "6100 requests a minute in all",
		`{"classes":[{"class":"chat","weight":-1}]}`:        "weight",
		`{"url":"http://elsewhere"}`:                        "unknown field",
		`[]`:                                                "read parameters",
		`{"classes":[` + strings.Repeat(`{},`, 20) + `{}]}`: "classes",
	} {
		if err := x.StartJSON([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if x.Busy() {
		t.Error("something runs")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no target was asked for")
	}
}

func TestI2CloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t)
		start(t, x, `{"users":10,"requests_per_minute":60}`)
		<-time.After(5 * time.Second)
		x.Close()
		if s := x.Look(); x.Busy() || s.Phase != Ended {
			t.Errorf("after the end: %+v", s)
		}
	})
}

func TestI3StoppedRunHasAReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t)
		defer x.Close()
		x.Stop() // nothing
		start(t, x, `{"users":10,"think_seconds":1,"stream_share":0,"output_tokens":5}`)
		<-time.After(20 * time.Second)
		x.Stop()
		s := settle(t, x)
		var page bytes.Buffer
		if err := x.WriteHTML(&page); err != nil || s.Answered < 30 || !strings.Contains(page.String(), "interrupted") {
			t.Errorf("%v, %+v", err, s)
		}
	})
}

func TestUnreachableJudgeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testkit.Serve(t, http.NotFoundHandler())
		x, err := New(Options{URL: testkit.URL + "/v1", Judge: testkit.URL, Transport: client.Transport})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		start(t, x, "{}")
		if s := settle(t, x); s.Phase != Failed || !strings.Contains(s.Error, "simulator") || s.Report {
			t.Errorf("%+v", s)
		}
	})
}
