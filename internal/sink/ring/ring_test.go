package ring

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
)

func TestI1I2AgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		r := New(Options{Size: size})
		var records []event.Record
		var attempts []event.Attempt
		for i := range rapid.IntRange(0, 40).Draw(t, "steps") {
			id := strconv.Itoa(rapid.IntRange(0, 7).Draw(t, "id"))
			if rapid.Bool().Draw(t, "attempt") {
				attempts = append(attempts, event.Attempt{Request: id, Number: i})
				r.Attempt(&attempts[len(attempts)-1])
			} else {
				records = append(records, event.Record{ID: id, Status: i, Key: flow.Key{Tenant: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant")}})
				r.Record(&records[len(records)-1])
			}
			compare(t, r, records[max(len(records)-size, 0):], attempts[max(len(attempts)-size, 0):])
		}
	})
}

// compare holds the ring against the records and attempts it should hold.
func compare(t *rapid.T, r *Ring, records []event.Record, attempts []event.Attempt) {
	want := slices.Clone(records)
	slices.Reverse(want)
	if got := r.Recent(1000); !slices.Equal(got, want) || r.Len() != len(want) {
		t.Fatalf("holds %v, want %v", got, want)
	}
	if got := r.Recent(2); !slices.Equal(got, want[:min(2, len(want))]) {
		t.Fatalf("latest two are %v", got)
	}
	of := slices.DeleteFunc(slices.Clone(want), func(rec event.Record) bool { return rec.Key.Tenant != "a" })
	if got := r.RecentOf("a", 2); !slices.Equal(got, of[:min(2, len(of))]) {
		t.Fatalf("latest two of a are %v", got)
	}
	if got := r.RecentOf("a", 1000); !slices.Equal(got, of) {
		t.Fatalf("all of a are %v", got)
	}
	ids := map[string]bool{}
	for i := range 8 {
		id := strconv.Itoa(i)
		at := slices.IndexFunc(want, func(rec event.Record) bool { return rec.ID == id })
		got, ok := r.Get(id)
		if ok != (at >= 0) || ok && got != want[at] {
			t.Fatalf("Get(%s) = %v, %v", id, got, ok)
		}
		ids[id] = ok
		tries := slices.DeleteFunc(slices.Clone(attempts), func(a event.Attempt) bool { return a.Request != id })
		if got := r.Attempts(id); !slices.Equal(got, tries) {
			t.Fatalf("Attempts(%s) = %v, want %v", id, got, tries)
		}
	}
	if len(r.byID) > len(want) {
		t.Fatalf("the index holds %d ids for %d records", len(r.byID), len(want))
	}
}

func TestI3CopiesAreHandedOut(t *testing.T) {
	r := New(Options{Size: 4})
	rec := event.Record{ID: "a", Status: 200}
	r.Record(&rec)
	rec.Status = 0
	r.Recent(1)[0].Status = 1
	if got, _ := r.Get("a"); got.Status != 200 {
		t.Errorf("status is %d, want 200", got.Status)
	}
}

func TestEmpty(t *testing.T) {
	r := New(Options{Size: -1})
	if _, ok := r.Get(""); ok || r.Len() != 0 || len(r.Recent(-1)) != 0 || len(r.RecentOf("", -1)) != 0 || len(r.Attempts("")) != 0 {
		t.Error("an empty ring holds something")
	}
	if r.records.limit != 1024 {
		t.Errorf("size %d, want 1024", r.records.limit)
	}
}

func TestConcurrentUse(t *testing.T) {
	r := New(Options{Size: 16})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 300 {
				id := fmt.Sprint(w, i)
				r.Attempt(&event.Attempt{Request: id})
				r.Record(&event.Record{ID: id})
				r.Get(id)
				r.Recent(3)
				r.Attempts(id)
			}
		})
	}
	wg.Wait()
	if r.Len() != 16 || len(r.byID) != 16 {
		t.Errorf("holds %d records and %d ids, want 16", r.Len(), len(r.byID))
	}
}

func BenchmarkRecord(b *testing.B) {
	r := New(Options{})
	ids := make([]string, 4096)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.Record(&event.Record{ID: ids[i%len(ids)]})
		i++
	}
}
