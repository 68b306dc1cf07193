package respcache

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func key(n int) flow.ShareKey { return flow.ShareKey{0: 1, 1: byte(n)} }

// entry is an answer of so many bytes, with a mark to tell it by.
func entry(size int, mark byte) *Entry {
	return NewEntry(200, nil, false, []byte(strings.Repeat(string(rune('a'+mark%26)), size)))
}

// model is a cache that remembers in a list and is right by being slow.
type model struct {
	o    Options
	list []kept1 // the one used last comes last
}

type kept1 struct {
	key   flow.ShareKey
	entry *Entry
	until time.Time
}

func (m *model) find(k flow.ShareKey) int {
	return slices.IndexFunc(m.list, func(x kept1) bool { return x.key == k })
}

func (m *model) cost() (sum int64) {
	for _, x := range m.list {
		sum += x.entry.Cost()
	}
	return sum
}

func (m *model) get(now time.Time, k flow.ShareKey) *Entry {
	i := m.find(k)
	if i < 0 {
		return nil
	}
	x := m.list[i]
	m.list = slices.Delete(m.list, i, i+1)
	if !now.Before(x.until) {
		return nil
	}
	m.list = append(m.list, x)
	return x.entry
}

func (m *model) put(now time.Time, k flow.ShareKey, e *Entry, keep time.Duration) bool {
	if i := m.find(k); i >= 0 {
		m.list = slices.Delete(m.list, i, i+1)
	}
	if keep <= 0 || e.Cost() > min(m.o.Entry, m.o.Bytes) {
		return false
	}
	m.list = append(m.list, kept1{k, e, now.Add(keep)})
	m.trim()
	return true
}

func (m *model) trim() {
	m.list = slices.DeleteFunc(m.list, func(x kept1) bool { return x.entry.Cost() > min(m.o.Entry, m.o.Bytes) })
	for m.cost() > m.o.Bytes || len(m.list) > m.o.Entries {
		m.list = m.list[1:]
	}
}

func drawOptions(t *rapid.T) Options {
	return Options{
		Bytes: rapid.Int64Range(1500, 8000).Draw(t, "bytes"), Entry: rapid.Int64Range(600, 3000).Draw(t, "entry"),
		Entries: rapid.IntRange(1, 6).Draw(t, "entries"),
	}
}

func TestI1I2I3I4Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{o: drawOptions(t)}
		c, now, marks := New(m.o), start, byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"get": func(t *rapid.T) {
				k := key(rapid.IntRange(0, 7).Draw(t, "key"))
				got, ok := c.Get(now, k)
				if want := m.get(now, k); got != want || ok != (want != nil) {
					t.Fatalf("Get = %p, %v; want %p", got, ok, want)
				}
			},
			"put": func(t *rapid.T) {
				marks++
				k, e := key(rapid.IntRange(0, 7).Draw(t, "key")), entry(rapid.IntRange(0, 1200).Draw(t, "size"), marks)
				keep := time.Duration(rapid.IntRange(-1, 20).Draw(t, "keep")) * time.Second
				if got, want := c.Put(now, k, e, keep), m.put(now, k, e, keep); got != want {
					t.Fatalf("Put = %v, want %v", got, want)
				}
			},
			"wait":   func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "s")) * time.Second) },
			"resize": func(t *rapid.T) { m.o = drawOptions(t); c.Resize(m.o); m.trim() },
			"": func(t *rapid.T) {
				if c.Bytes() != m.cost() || c.Len() != len(m.list) {
					t.Fatalf("%d entries of %d bytes, want %d of %d", c.Len(), c.Bytes(), len(m.list), m.cost())
				}
				if c.Bytes() > m.o.Bytes || c.Len() > m.o.Entries {
					t.Fatalf("I1: %d entries of %d bytes under %+v", c.Len(), c.Bytes(), m.o)
				}
				var order []flow.ShareKey
				for n := c.recent.prev; n != &c.recent; n = n.prev {
					order = append(order, n.key)
				}
				for i, x := range m.list {
					if order[i] != x.key {
						t.Fatalf("I4: the order of leaving differs at %d", i)
					}
				}
			},
		})
	})
}

func TestI2TimeIsUpAtItsEnd(t *testing.T) {
	c := New(Options{Bytes: 1 << 20})
	c.Put(start, key(1), entry(1, 0), time.Minute)
	if _, ok := c.Get(start.Add(time.Minute-1), key(1)); !ok {
		t.Error("gone before its time")
	}
	if _, ok := c.Get(start.Add(time.Minute), key(1)); ok || c.Len() != 0 || c.Bytes() != 0 {
		t.Errorf("found at the end of its time; %d left", c.Len())
	}
}

func TestI4TheOneUsedLongestAgoLeaves(t *testing.T) {
	c := New(Options{Bytes: 1 << 20, Entries: 3})
	for i := range 3 {
		c.Put(start, key(i), entry(1, 0), time.Hour)
	}
	c.Get(start, key(0))
	c.Put(start, key(3), entry(1, 0), time.Hour)
	for i, want := range []bool{true, false, true, true} {
		if _, ok := c.Get(start, key(i)); ok != want {
			t.Errorf("I4: %d is kept: %v, want %v", i, ok, want)
		}
	}
}

func TestI5OnlyWhatMeansTheSameToEverybody(t *testing.T) {
	from := http.Header{}
	for _, name := range []string{
		"X-Request-Id", "Request-Id", "Apim-Request-Id", "Set-Cookie", "Date", "X-Ratelimit-Remaining-Tokens", "RateLimit",
		"Retry-After", "Openai-Processing-Ms", "Openai-Organization", "Age", "Etag", "Authorization", "Cf-Ray", "Connection",
	} {
		from[name] = []string{"private"}
	}
	from.Set("Content-Type", "text/event-stream")
	from.Set("Content-Length", "12")
	e := NewEntry(200, from, true, []byte("data: {}\n\n"))
	want := map[string][]string{"Content-Type": {"text/event-stream"}, "Content-Length": {"12"}}
	if diff := cmp.Diff(want, e.Header); diff != "" {
		t.Errorf("I5: kept headers (-want +got):\n%s", diff)
	}
	from["Content-Type"][0] = "changed"
	if e.Header["Content-Type"][0] != "text/event-stream" {
		t.Error("the entry shares memory with the answer")
	}
}

func TestZeroOptionsKeepNothing(t *testing.T) {
	for name, o := range map[string]Options{"zero": {}, "negative": {Bytes: -1}} {
		c := New(o)
		if c.Put(start, key(1), entry(0, 0), time.Hour) || c.Len() != 0 || c.Most() != 0 {
			t.Errorf("%s: something was kept", name)
		}
	}
	if New(Options{Bytes: 1 << 20}).Put(start, flow.ShareKey{}, entry(0, 0), time.Hour) {
		t.Error("something was kept under the zero key")
	}
}

func TestValidate(t *testing.T) {
	if err := (Options{Bytes: 1}).Validate(); err != nil {
		t.Error(err)
	}
	for _, o := range []Options{{Bytes: -1}, {Entry: -1}, {Entries: -1}} {
		if o.Validate() == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	c := New(Options{Bytes: 1 << 20})
	c.Put(start, key(1), entry(100, 0), time.Hour)
	if n := testing.AllocsPerRun(100, func() { c.Get(start, key(1)) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkGet(b *testing.B) {
	c := New(Options{Bytes: 1 << 20})
	for i := range 100 {
		c.Put(start, key(i), entry(100, 0), time.Hour)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		c.Get(start, key(i%128))
		i++
	}
}
