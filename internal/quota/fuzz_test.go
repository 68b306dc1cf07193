package quota

import (
	"encoding/binary"
	"testing"
	"time"
)

// ops reads a sequence of operations from bytes; what is missing is zero.
type ops []byte

func (o *ops) byte() byte {
	if len(*o) == 0 {
		return 0
	}
	b := (*o)[0]
	*o = (*o)[1:]
	return b
}

// num returns mostly small numbers, now and then any.
func (o *ops) num() int64 {
	b := o.byte()
	if b < 0xf8 || len(*o) < 8 {
		return int64(b)
	}
	n := int64(binary.LittleEndian.Uint64(*o))
	*o = (*o)[8:]
	return n
}

func (o *ops) amount() Amount {
	out := o.num()
	return Amount{o.num() & 1, o.num(), out, out + o.num()}
}

// FuzzOps runs any sequence of operations and checks what must always hold.
func FuzzOps(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 10, 0, 5, 2, 3, 0, 0, 1, 10, 0, 5, 2, 1, 0, 2, 0, 5, 5, 5, 5})
	f.Add([]byte{2, 3, 0x17, 0, 9, 1, 200, 4, 0, 3, 0, 5, 9, 0, 7, 8, 0, 4, 9, 0, 5, 1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		o := ops(data)
		q := fuzzQuota(t, &o)
		now := start
		var open []Reservation
		for n := 0; len(o) > 0 && n < 300; n++ {
			open, now = fuzzStep(t, q, &o, open, now)
			checkParts(t, q)
			checkBounds(t, q, len(open))
		}
		for _, r := range open {
			q.Cancel(now, r)
		}
		checkBounds(t, q, 0)
		for i := range q.windows {
			if q.windows[i].held != 0 {
				t.Fatalf("window %d holds %d in the end", i, q.windows[i].held)
			}
		}
	})
}

func fuzzQuota(t *testing.T, o *ops) *Quota {
	options := Options{Seats: int(o.byte() % 8), Meter: Meter{CountedAt: CountedAt(o.byte() % 3)}, Start: Start(o.byte() % 2)}
	for range 1 + o.byte()%3 {
		b := o.byte()
		l := Limit{Dim: Dim(b % 4), Kind: Kind(b >> 2 % 5), Max: 60 + int64(o.byte())*40}
		if b>>5&1 == 1 && l.Kind <= Bucket && l.Kind != Sliding {
			l.Burst = int64(o.byte())
		}
		if b>>6&1 == 1 {
			options.Ramp = Ramp{Above: 50, Growth: 0.5, Every: time.Minute}
		}
		options.Limits = append(options.Limits, l)
	}
	return mustNew(t, start, options)
}

func fuzzStep(t *testing.T, q *Quota, o *ops, open []Reservation, now time.Time) ([]Reservation, time.Time) {
	pick := func() Reservation {
		if len(open) == 0 {
			return Reservation{}
		}
		i := int(o.byte()) % len(open)
		r := open[i]
		open = append(open[:i:i], open[i+1:]...)
		return r
	}
	switch o.byte() % 10 {
	case 0, 1:
		need := o.amount()
		fits := q.Fits(now, need)
		r, ok := q.Reserve(now, need)
		if fits != ok {
			t.Fatalf("Fits = %v, Reserve = %v", fits, ok)
		}
		if ok {
			open = append(open, r)
		}
	case 2:
		q.Settle(now, pick(), o.amount())
	case 3:
		q.Cancel(now, pick())
	case 4:
		need := o.amount()
		if at, _ := q.Next(now, need); !at.IsZero() && !q.learnsBefore(at) && !q.clone().Fits(at, need) {
			t.Fatalf("%v does not fit at Next, in %v", need, at.Sub(now))
		} else if at.After(now) && at.Sub(now) < time.Hour {
			now = at
		}
	case 5:
		q.Saturate(now, o.byte()%2 == 0)
	case 6:
		r := pick()
		q.Throttled(now, r, DimSet(o.byte()), o.byte()%2 == 0)
		q.Settle(now, r, Amount{Requests: 1})
	case 7:
		if len(open) > 0 {
			q.Answered(now, open[0])
			q.Observe(now, open[0], []Hint{{Dim: Dim(o.byte() % 5), Limit: o.num(), Remaining: o.num(), Reset: time.Duration(o.num()) * time.Millisecond}})
		}
	case 8:
		now = now.Add(time.Duration(o.num()%(1<<30)) * time.Millisecond)
	case 9:
		s := q.Save(now)
		if err := q.clone().Restore(now, s); err != nil {
			t.Fatalf("what Save returned is refused: %v", err)
		}
		q.Pause(now, now.Add(time.Duration(o.byte())*time.Millisecond))
	}
	return open, now
}

// learnsBefore reports whether some limit changes of itself before at.
func (q *Quota) learnsBefore(at time.Time) bool {
	c := q.clone()
	c.advance(c.tick(at))
	for i := range c.windows {
		if c.windows[i].limit != q.windows[i].limit || c.windows[i].bound != q.windows[i].bound {
			return true
		}
	}
	return false
}

func checkBounds(t *testing.T, q *Quota, outstanding int) {
	t.Helper()
	if q.Outstanding() != outstanding {
		t.Fatalf("%d outstanding, want %d", q.Outstanding(), outstanding)
	}
	for i := range q.windows {
		w := &q.windows[i]
		b := &w.bucket
		if w.limit < 1 || w.limit > w.told || w.told > w.max {
			t.Fatalf("window %d: learned %d, told %d, configured %d", i, w.limit, w.told, w.max)
		}
		if b.size < 0 || b.frac < 0 || b.frac >= w.span || b.units > max(b.size, w.top) || b.units < -b.deepest {
			t.Fatalf("window %d: bucket %+v", i, *b)
		}
		if w.ring != nil && (w.ring.total < 0 || w.ring.total > maxSum) {
			t.Fatalf("window %d: total %d", i, w.ring.total)
		}
	}
}
