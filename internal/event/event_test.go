package event

import (
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// heard writes down what it is told under its name.
type heard struct {
	name string
	log  *[]string
}

func (h heard) Record(r *Record)   { *h.log = append(*h.log, h.name+" record "+r.ID) }
func (h heard) Attempt(a *Attempt) { *h.log = append(*h.log, h.name+" attempt "+a.Request) }

// broken panics at everything.
type broken struct{}

func (broken) Record(*Record)   { panic("record") }
func (broken) Attempt(*Attempt) { panic("attempt") }

func TestI1EverySinkSeesEverythingInOrder(t *testing.T) {
	var log []string
	f := NewFanout(heard{"a", &log}, nil, heard{"b", &log})
	f.Attempt(&Attempt{Request: "1"})
	f.Record(&Record{ID: "1"})
	want := []string{"a attempt 1", "b attempt 1", "a record 1", "b record 1"}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

func TestI2PanicStaysInItsSink(t *testing.T) {
	var log []string
	f := NewFanout(broken{}, heard{"b", &log}, broken{})
	f.Record(&Record{ID: "1"})
	f.Attempt(&Attempt{Request: "1"})
	if diff := cmp.Diff([]string{"b record 1", "b attempt 1"}, log); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	if got := f.Panics(); got != 4 {
		t.Errorf("Panics() = %d, want 4", got)
	}
}

func TestZeroFanoutDrops(t *testing.T) {
	var f Fanout
	f.Record(&Record{})
	f.Attempt(&Attempt{})
	if f.Panics() != 0 {
		t.Errorf("Panics() = %d, want 0", f.Panics())
	}
}

func TestEtaHeld(t *testing.T) {
	for _, c := range []struct {
		queued, p90 time.Duration
		want        bool
	}{
		{0, 0, true},
		{time.Second, time.Second, true},
		{time.Second + 1, time.Second, false},
	} {
		r := Record{Quoted: true, Queued: c.queued, EtaP90: c.p90}
		if got := r.EtaHeld(); got != c.want {
			t.Errorf("waited %v, promised %v: EtaHeld() = %v", c.queued, c.p90, got)
		}
	}
}

// A sink keeps a copy by assignment, which is only a copy while the records
// hold no reference.
func TestRecordsAreCopiedByAssignment(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[Record](), reflect.TypeFor[Attempt]()} {
		for path, kind := range references(typ, typ.Name()) {
			t.Errorf("%s is a %s: a copy would share it", path, kind)
		}
	}
}

func references(typ reflect.Type, path string) map[string]reflect.Kind {
	found := map[string]reflect.Kind{}
	if typ == reflect.TypeFor[time.Time]() {
		return found
	}
	switch typ.Kind() {
	case reflect.Struct:
		for f := range typ.Fields() {
			maps.Copy(found, references(f.Type, path+"."+f.Name))
		}
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface:
		found[path] = typ.Kind()
	}
	return found
}

func TestFanoutAllocatesNothing(t *testing.T) {
	f := NewFanout(quiet{}, quiet{})
	r, a := &Record{}, &Attempt{}
	if n := testing.AllocsPerRun(100, func() { f.Record(r); f.Attempt(a) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

type quiet struct{}

func (quiet) Record(*Record)   {}
func (quiet) Attempt(*Attempt) {}
