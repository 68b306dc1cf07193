package quota

import (
	"testing"
	"time"
)

func metered(m CountedAt, ls ...Limit) Options {
	return Options{Limits: ls, Meter: Meter{CountedAt: m}}
}

func TestI14MeterChanges(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := Limit{Dim: Total, Max: 1000, Kind: Sliding}
	q, _ := New(now, metered(AsProduced, l))
	var need Amount
	need[Requests], need[Input], need[Output], need[Total] = 1, 100, 800, 900
	r, ok := q.Reserve(now, need)
	if !ok {
		t.Fatal()
	}
	if err := q.Reconfigure(now, metered(AtStart, l)); err != nil {
		t.Fatal(err)
	}
	q.Settle(now, r, need)
	later := now.Add(time.Hour)
	if !q.Fits(later, need) {
		at, why := q.Next(later, need)
		t.Errorf("an hour later nothing fits: %v %v %+v", at, why, q.Snapshot(later))
	}
}

func TestI14NewWindowRefundsNothing(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := Limit{Dim: Total, Max: 100000, Kind: Sliding}
	q, _ := New(now, metered(AtStart, l))
	var need Amount
	need[Total] = 1000
	var rs []Reservation
	for range 10 {
		r, _ := q.Reserve(now, need)
		rs = append(rs, r)
	}
	l.Span = 30 * time.Second
	l.Max = 5000
	if err := q.Reconfigure(now, metered(AtStart, l)); err != nil {
		t.Fatal(err)
	}
	// five more fill the new window
	n := 0
	for {
		_, ok := q.Reserve(now, need)
		if !ok {
			break
		}
		n++
	}
	for _, r := range rs { // the old ones used little
		q.Settle(now, r, Amount{0, 0, 0, 100})
	}
	for {
		_, ok := q.Reserve(now, need)
		if !ok {
			break
		}
		n++
	}
	if n > 5 {
		t.Errorf("%d calls of 1000 fit a window of 5000", n)
	}
}

func TestI14KindChangesWithoutASecondMinute(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := Limit{Dim: Requests, Max: 60, Kind: Sliding}
	q, _ := New(now, metered(AtStart, l))
	var need Amount
	need[Requests] = 1
	n := 0
	for {
		if _, ok := q.Reserve(now, need); !ok {
			break
		}
		n++
	}
	l.Kind = Bucket
	if err := q.Reconfigure(now, metered(AtStart, l)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, ok := q.Reserve(now, need); !ok {
			break
		}
		n++
	}
	if n > 61 {
		t.Errorf("%d in one moment of 60/m", n)
	}
}
