package coalesce

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func named(n int) Key { return Key{Share: flow.ShareKey{0: 1, 1: byte(n)}, Class: flow.Chat} }

func user(n int) flow.Key { return flow.Key{Class: flow.Chat, Tenant: "t", User: fmt.Sprint("u", n)} }

// model is the same in lists: every flight keeps all of its answer, every waiter
// what it has read.
type model struct {
	o       Options
	flights []*plane
}

type plane struct {
	real    *Flight[int]
	key     Key
	open    bool
	answer  []byte
	waiters []*person // the living, in the order of joining
}

type person struct {
	real *Waiter[int]
	hold time.Time
	read []byte
	cut  bool
}

func (m *model) openFlights() (n int) {
	for _, p := range m.flights {
		if p.open {
			n++
		}
	}
	return n
}

func (m *model) find(k Key) *plane {
	for _, p := range m.flights {
		if p.open && p.key == k {
			return p
		}
	}
	return nil
}

// hold is the longest of the living; zero is longer than any.
func (p *plane) hold() (longest time.Time) {
	for _, w := range p.waiters {
		if w.hold.IsZero() {
			return time.Time{}
		}
		if longest.IsZero() || w.hold.After(longest) {
			longest = w.hold
		}
	}
	return longest
}

func (p *plane) fastest() (n int) {
	for _, w := range p.waiters {
		n = max(n, len(w.read))
	}
	return n
}

// machine drives a book and its model together.
type machine struct {
	model
	book *Book[int]
	mark byte
}

func (m *machine) join(t *rapid.T) {
	k, n := named(rapid.IntRange(0, 3).Draw(t, "key")), rapid.IntRange(0, 9).Draw(t, "user")
	k.Soft = n == 9
	var hold time.Time
	if s := rapid.IntRange(0, 5).Draw(t, "hold"); s > 0 {
		hold = start.Add(time.Duration(s) * time.Second)
	}
	w, first := m.book.Join(k, user(n), hold)
	p := m.find(k)
	alone := p == nil && m.openFlights() >= m.o.Flights || p != nil && len(p.waiters) >= m.o.Waiters
	if alone != (w == nil) || w != nil && first != (p == nil) {
		t.Fatalf("I4, I5: joined %v, first %v; in the model alone %v, flight %v", w != nil, first, alone, p != nil)
	}
	if w == nil {
		return
	}
	if p == nil {
		p = &plane{key: k, open: true, real: w.Flight}
		m.flights = append(m.flights, p)
	}
	if w.Flight != p.real || w.Flow != user(n) {
		t.Fatal("I5: it joined another flight")
	}
	p.waiters = append(p.waiters, &person{real: w, hold: hold})
}

// pick is a flight with somebody waiting, and one of those.
func (m *machine) pick(t *rapid.T) (*plane, int) {
	var some []*plane
	for _, p := range m.flights {
		if len(p.waiters) > 0 {
			some = append(some, p)
		}
	}
	if len(some) == 0 {
		t.Skip("nobody waits")
	}
	p := some[rapid.IntRange(0, len(some)-1).Draw(t, "flight")]
	return p, rapid.IntRange(0, len(p.waiters)-1).Draw(t, "waiter")
}

func (m *machine) leave(t *rapid.T) {
	p, i := m.pick(t)
	w := p.waiters[i]
	p.waiters = append(p.waiters[:i:i], p.waiters[i+1:]...)
	if last := w.real.Leave(); last != (len(p.waiters) == 0) {
		t.Fatalf("last = %v with %d left", last, len(p.waiters))
	}
	p.open = p.open && len(p.waiters) > 0
	if w.real.Leave() {
		t.Fatal("who leaves twice is not the last one twice")
	}
}

func (m *machine) append(t *rapid.T) {
	p, _ := m.pick(t)
	n := int64(rapid.IntRange(1, 40).Draw(t, "bytes"))
	m.mark++
	piece := bytes.Repeat([]byte{m.mark}, int(n))
	whole := int64(len(p.answer))+n <= m.o.Bytes && m.book.Bytes()+n <= m.o.Total
	p.real.Append(piece)
	p.open = p.open && whole
	p.answer = append(p.answer, piece...)
	if p.open != (m.book.open[p.key] == p.real) {
		t.Fatalf("I5: whole %v, can be joined %v", whole, !p.open)
	}
	clear(piece) // the recording has a copy
	f := p.real
	if old := int64(len(f.kept)) - f.Unread() - n; int64(len(f.kept)) > m.o.Bytes && old > m.o.Bytes/2 {
		t.Fatalf("I4: %d bytes are kept for those behind under %+v", old, m.o)
	}
	if m.book.Bytes() > m.o.Total && int64(len(f.kept)) > f.Unread() {
		t.Fatalf("I4: %d bytes in all under %+v, and this one keeps more than nobody has read", m.book.Bytes(), m.o)
	}
	lead := 0
	for _, w := range p.waiters {
		lead = max(lead, len(w.read))
	}
	for _, w := range p.waiters {
		if w.real.cut && !w.cut && len(w.read) == lead {
			t.Fatal("I5: the fastest was cut off")
		}
		w.cut = w.real.cut
	}
}

func (m *machine) read(t *rapid.T) {
	p, i := m.pick(t)
	w := p.waiters[i]
	was := w.real.cut
	piece, ok := w.real.Read()
	if ok == was {
		t.Fatalf("Read = %v of one cut off: %v", ok, was)
	}
	w.read = append(w.read, piece...)
	if ok && !bytes.Equal(w.read, p.answer) {
		t.Fatalf("I1: read %d bytes, want the %d appended", len(w.read), len(p.answer))
	}
}

func (m *machine) check(t *rapid.T) {
	bytes := int64(0)
	for _, p := range m.flights {
		if len(p.waiters) == 0 {
			if p.real.Owner() != nil || len(p.real.kept) > 0 || m.book.open[p.key] == p.real {
				t.Fatal("I6: something is left of a flight that all have left")
			}
			continue
		}
		if p.real.Owner() != p.waiters[0].real || p.real.Living() != len(p.waiters) {
			t.Fatal("I2: it does not belong to the oldest of the living")
		}
		if got, want := p.real.Hold(), p.hold(); !got.Equal(want) {
			t.Fatalf("I3: hold %v, want %v", got, want)
		}
		if mine := int64(len(p.answer) - p.fastest()); p.real.Unread() != mine {
			t.Fatalf("unread %d, want %d", p.real.Unread(), mine)
		}
		if p.open && int64(len(p.real.kept)) > m.o.Bytes || p.open && p.real.base > 0 {
			t.Fatalf("I4: it can be joined with %d bytes kept from %d on", len(p.real.kept), p.real.base)
		}
		bytes += int64(len(p.real.kept))
	}
	if m.book.Bytes() != bytes || m.book.Len() != m.openFlights() || m.book.Len() > m.o.Flights {
		t.Fatalf("I4: %d bytes counted, %d kept, %d flights under %+v", m.book.Bytes(), bytes, m.book.Len(), m.o)
	}
}

func TestI1I2I3I4I5I6Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Flights: rapid.IntRange(1, 3).Draw(t, "flights"), Waiters: rapid.IntRange(1, 4).Draw(t, "waiters"),
			Bytes: rapid.Int64Range(1, 120).Draw(t, "most"), Total: rapid.Int64Range(1, 200).Draw(t, "total"),
		}
		m := &machine{model: model{o: o}, book: New[int](o)}
		t.Repeat(map[string]func(*rapid.T){
			"join": m.join, "join again": m.join, "leave": m.leave, "append": m.append, "append again": m.append, "read": m.read, "read again": m.read,
			"close": func(t *rapid.T) {
				p, _ := m.pick(t)
				p.real.Close()
				p.open = false
			},
			"": m.check,
		})
	})
}

// What was read stays as it is while the recording moves on.
func TestI1ReadBytesAreNotTouched(t *testing.T) {
	b := New[int](Options{Bytes: 64})
	w, _ := b.Join(named(1), user(1), start)
	var got [][]byte
	for i := range 100 {
		w.Flight.Append(bytes.Repeat([]byte{byte(i)}, 10))
		p, ok := w.Read()
		if !ok {
			t.Fatal("the only reader was cut off")
		}
		got = append(got, p)
	}
	for i, p := range got {
		if !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, 10)) {
			t.Fatalf("I1: piece %d is %v by now", i, p)
		}
	}
}

// A slow reader that is within half of the bound goes on; one that is not is cut.
func TestI4SlowReaderIsCutOff(t *testing.T) {
	b := New[int](Options{Bytes: 100})
	fast, _ := b.Join(named(1), user(1), start)
	slow, _ := b.Join(named(1), user(2), start)
	stuck, _ := b.Join(named(1), user(3), start)
	for i := range 101 {
		fast.Flight.Append([]byte{byte(i)})
		fast.Read()
		if i == 80 {
			slow.Read()
		}
	}
	if p, ok := slow.Read(); !ok || len(p) != 20 {
		t.Errorf("within the bound: %d bytes, %v", len(p), ok)
	}
	if _, ok := stuck.Read(); ok {
		t.Error("I4: what nobody can keep is still there")
	}
	if b.Bytes() != 20 && b.Bytes() != 21 {
		t.Errorf("I4: %d bytes kept", b.Bytes())
	}
}

// All but one of many leave, in any order: the flight belongs to who is left.
func TestI2OwnershipPasses(t *testing.T) {
	const many = 1000
	b := New[int](Options{})
	waiters := make([]*Waiter[int], many)
	for i := range waiters {
		waiters[i], _ = b.Join(named(1), user(i), start)
	}
	f := waiters[0].Flight
	order := rand.Perm(many)
	for _, i := range order[1:] {
		if waiters[i].Leave() {
			t.Fatal("not the last one")
		}
	}
	last := waiters[order[0]]
	if f.Owner() != last || f.Living() != 1 || b.Len() != 1 {
		t.Error("I2: it does not belong to the one who is left")
	}
	if !last.Leave() || b.Len() != 0 {
		t.Error("I6: it goes on for nobody")
	}
}

func TestValidate(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, o := range []Options{{Flights: -1}, {Waiters: -1}, {Bytes: -1}, {Total: -1}} {
		if o.Validate() == nil {
			t.Errorf("%+v is accepted", o)
		}
		if New[int](o).options.Flights != DefaultFlights {
			t.Error("a book with a bound below zero")
		}
	}
}

func BenchmarkAppendRead(b *testing.B) {
	book := New[int](Options{})
	waiters := make([]*Waiter[int], 10)
	for i := range waiters {
		waiters[i], _ = book.Join(named(1), user(i), start)
	}
	piece := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		waiters[0].Flight.Append(piece)
		for _, w := range waiters {
			w.Read()
		}
	}
}
