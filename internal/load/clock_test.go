package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// alike is equal but for rounding: times in milliseconds, rates and shares.
var alike = cmpopts.EquateApprox(0.002, 1)

// lived is what a run at a speed reports and records.
type lived struct {
	Result  Result
	Records int
	Sum     float64 // of the intended starts and all latencies, in seconds
}

// live runs o at a speed against a target whose time passes as fast.
func live(t *testing.T, speed float64, set func(*Options)) (l lived) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := time.Duration(speed)
		_, o := start(t, func(w http.ResponseWriter, r *http.Request, s seen) {
			w.Header().Set("Millrace-Queue-Wait-Ms", fmt.Sprint(400/speed))
			w.Header().Set("Millrace-Class", "chat")
			if !pause(r, 800*time.Millisecond/k) {
				return
			}
			if s.Stream {
				answerStream(w, r, 240*time.Millisecond/k, true)
				return
			}
			answerJSON(w)
		})
		o.Speed, o.Duration, o.WarmUp, o.StreamShare, o.Users = speed, 150*time.Second, 30*time.Second, 0.3, 8
		o.Timeout, o.Grace = 10*time.Second, 20*time.Second
		set(&o)
		begun := time.Now()
		var mu sync.Mutex
		o.Record = func(r Record) {
			mu.Lock()
			defer mu.Unlock()
			l.Records++
			l.Sum += r.At.Seconds() + r.Latency.Seconds()
			if off := r.Intended.Sub(begun) - r.At/k; r.Speed != speed || off < -1 || off > 1 {
				t.Errorf("record at speed %v, %v off: %+v", speed, off, r)
			}
		}
		l.Result = *runOne(t, o)
		if took := time.Since(begun) * k; took < 2*time.Minute || took > 4*time.Minute {
			t.Errorf("the run took %v of its time", took)
		}
	})
	l.Result.Generator, l.Result.Curve = Generator{}, nil
	return l
}

// TestI8SpeedChangesNothingElse: the report of a run at speed 10 is that of one
// at speed 1, for every kind of load and of mischief.
func TestI8SpeedChangesNothingElse(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Options){
		"closed": func(o *Options) { o.Think, o.ThinkFixed, o.Ramp = 4*time.Second, false, 20*time.Second },
		"paced":  func(o *Options) { o.PacedRate, o.Ramp = 0.2, 20*time.Second },
		"open":   func(o *Options) { o.Arrivals, o.ArrivalsCV, o.Users = 2, 2, 0 },
		"conversations": func(o *Options) {
			o.Turns, o.Think, o.SessionPause, o.Ramp = 3, 2*time.Second, 9*time.Second, 20*time.Second
		},
		"rude": func(o *Options) {
			o.Think, o.Ramp, o.ThinkFixed = 3*time.Second, 20*time.Second, false
			o.Mischief = Mischief{Cancel: 0.1, CancelWithin: 500 * time.Millisecond, Stall: 0.1, StallFor: 2 * time.Second}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, got := live(t, 1, set), live(t, 10, set)
			if diff := cmp.Diff(want, got, alike); diff != "" {
				t.Errorf("at speed 10:\n%s", diff)
			}
			if want.Result.Answered < 60 {
				t.Errorf("%d answers tell nothing", want.Result.Answered)
			}
		})
	}
}

// TestI8OtherTimesAreTold: figures are not comparable where a judge or a gateway
// had a time of its own.
func TestI8OtherTimesAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		speed, judge float64
		gateway      bool
		want         []string
	}{
		"alike":                 {10, 10, false, nil},
		"in real time":          {1, 1, true, nil},
		"a judge of another":    {10, 1, false, []string{"the judge's time passed 1 times"}},
		"a fast judge":          {1, 20, false, []string{"run millrace sim --speed 1."}},
		"a gateway between":     {10, 10, true, []string{"its rates are 10 times"}},
		"a gateway and a judge": {10, 5, true, []string{"judge's time", "gateway answered"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, o := start(t, func(w http.ResponseWriter, _ *http.Request, _ seen) {
					if c.gateway {
						w.Header().Set("Millrace-Request-Id", "r1")
					}
					answerJSON(w)
				})
				o.Transport = judged{o.Transport, JudgeBooks{Speed: c.judge}}
				o.Speed, o.Think, o.Duration, o.Judge = c.speed, time.Second, time.Minute, "http://judge"
				r := runOne(t, o)
				said := strings.ToLower(strings.Join(r.Caveats, "\n"))
				if len(r.Caveats) != len(c.want) || x.count() == 0 {
					t.Fatalf("said %q", said)
				}
				for _, want := range c.want {
					if !strings.Contains(said, want) {
						t.Errorf("no %q in %q", want, said)
					}
				}
			})
		})
	}
}

// judged answers for the judge, and lets others ask the target.
type judged struct {
	http.RoundTripper
	books JudgeBooks
}

// RoundTrip implements http.RoundTripper.
func (j judged) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "judge" {
		return j.RoundTripper.RoundTrip(r)
	}
	body, err := json.Marshal(j.books)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body)))}, err
}

// spent has so many connections and no more.
type spent struct {
	mu   sync.Mutex
	left int
}

// RoundTrip implements http.RoundTripper.
func (s *spent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.left--
	over := s.left < 0
	s.mu.Unlock()
	if over {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("socket: %w", syscall.EMFILE)}
	}
	return canned{}.RoundTrip(r)
}

// TestI3OutOfFilesEndsTheRun: what the machine cannot do is no error of the
// target, and says how to mend it.
func TestI3OutOfFilesEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := start(t, answer)
		o.Transport, o.Think, o.Users, o.Duration = &spent{left: 100}, time.Second, 7, time.Hour
		begun := time.Now()
		report, err := Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), "ulimit -Hn") {
			t.Fatalf("error %v", err)
		}
		r := report.Targets[0]
		if r.Answered != 100 || r.Errors != 0 || r.Unsent < 1 || r.Started != r.buckets() || time.Since(begun) > time.Minute {
			t.Errorf("after %v: %+v", time.Since(begun), r)
		}
	})
}
