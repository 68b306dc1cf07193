package field

import (
	"strings"
	"testing"
	"time"
)

func TestPrefer(t *testing.T) {
	for _, tc := range []struct {
		lines []string
		want  Wish
	}{
		{nil, Wish{}},
		{[]string{""}, Wish{}},
		{[]string{"respond-async"}, Wish{Async: true}},
		{[]string{"Respond-Async, Wait=10"}, Wish{Async: true, Waits: true, Wait: 10 * time.Second}},
		{[]string{"wait=10", "respond-async"}, Wish{Async: true, Waits: true, Wait: 10 * time.Second}},
		{[]string{`foo; a="b, respond-async", wait = "5" ; x , ,respond-async;y=1`}, Wish{Async: true, Waits: true, Wait: 5 * time.Second}},
		{[]string{`foo="\"respond-async, wait=3"`}, Wish{}},
		{[]string{"wait=1, wait=2"}, Wish{Waits: true, Wait: time.Second}},
		{[]string{"wait=x, wait=2"}, Wish{Waits: true, Wait: 2 * time.Second}},
		{[]string{"wait=0"}, Wish{Waits: true}},
		{[]string{"wait=-1"}, Wish{}},
		{[]string{"wait=+1"}, Wish{}},
		{[]string{"wait=1.5"}, Wish{}},
		{[]string{"wait"}, Wish{}},
		{[]string{"wait="}, Wish{}},
		{[]string{`wait=""`}, Wish{}},
		{[]string{`wait="`}, Wish{}},
		{[]string{"wait=99999999999999999999999"}, Wish{Waits: true, Wait: maxWait}},
		{[]string{"wait=9223372036854775807"}, Wish{Waits: true, Wait: maxWait}},
		{[]string{`respond-async=""`}, Wish{Async: true}},
		{[]string{"respond-async=1"}, Wish{}},
		{[]string{"respond-asyncx, xwait=1"}, Wish{}},
		{[]string{`"respond-async"`}, Wish{}},
		{[]string{"handling=lenient, return=minimal"}, Wish{}},
	} {
		if got := Wishes(tc.lines); got != tc.want {
			t.Errorf("%q: %+v, want %+v", tc.lines, got, tc.want)
		}
	}
}

func FuzzPrefer(f *testing.F) {
	for _, s := range []string{"respond-async, wait=10", `wait="5";x`, `a="\",wait=1`, "wait=99999999999999999999", ",,;=,", "\xff"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p := Wishes([]string{a, b})
		if p.Wait < 0 || p.Wait > maxWait || !p.Waits && p.Wait != 0 {
			t.Fatalf("%q, %q: %+v", a, b, p)
		}
		if low := strings.ToLower(a + b); p.Async && !strings.Contains(low, "respond-async") || p.Waits && !strings.Contains(low, "wait") {
			t.Fatalf("%q, %q: %+v out of nothing", a, b, p)
		}
	})
}

func TestTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"600": 10 * time.Minute, "0.5": 500 * time.Millisecond, "1e2": 100 * time.Second, "86400": maxWait,
		"": 0, "0": 0, "-1": 0, "NaN": 0, "Inf": 0, "1e400": 0, "86401": 0, "ten": 0,
	} {
		if got := Timeout([]string{in}); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	if Timeout(nil) != 0 {
		t.Error("nothing said")
	}
}
