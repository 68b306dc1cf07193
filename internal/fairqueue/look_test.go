package fairqueue

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

// TestI7MovedUpIsNext: whatever stands in the queue, the head of the flow that was moved
// up last is the next of its class, if nothing but the order decides; once.
func TestI7MovedUpIsNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New(Options{})
		var keys []flow.Key
		for i := range rapid.IntRange(1, 12).Draw(t, "flows") {
			key := flow.Key{Class: flow.Chat, Tenant: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "tenant")), User: fmt.Sprint(i)}
			keys = append(keys, key)
		}
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		push := func() {
			key := keys[rnd.IntN(len(keys))]
			q.Push(key, &Item{Cost: 0.1 + 5*rnd.Float64(), Owner: key}, 0)
		}
		run := func() *Item {
			it := q.Next(func(*Item, bool) Verdict { return Run })
			if it != nil {
				q.Dispatch(it)
				q.Settle(it, it.Cost*rnd.Float64()*2)
			}
			return it
		}
		var order []flow.Key // of those that were moved up, the last first
		for range 200 {
			switch rnd.IntN(5) {
			case 0, 1:
				push()
			case 2:
				key := keys[rnd.IntN(len(keys))]
				if _, waiting := q.Waiting(key); q.Promote(key) != (waiting > 0) {
					t.Fatalf("moved up: %v, with %d waiting", waiting == 0, waiting)
				} else if waiting > 0 {
					order = slices.DeleteFunc(order, func(k flow.Key) bool { return k == key })
					order = slices.Insert(order, 0, key)
				}
			default:
				it := run()
				if it != nil && len(order) > 0 {
					if it.Owner != order[0] {
						t.Fatalf("%v went, %v was moved up", it.Owner, order[0])
					}
					order = order[1:]
				}
			}
			if err := conserved(q.root); err != nil {
				t.Fatal(err)
			}
		}
		for run() != nil {
		}
		if q.Flows() != 0 || q.Len() != 0 {
			t.Fatalf("%d flows and %d requests are left", q.Flows(), q.Len())
		}
	})
}

// TestI2MovedUpHoldsNobodyElse: who was moved up and cannot run keeps nobody from running
// who needs something else, although all of them are ahead of V.
func TestI2MovedUpHoldsNobodyElse(t *testing.T) {
	q := New(Options{})
	key := func(user string) flow.Key { return flow.Key{Class: flow.Chat, Tenant: "t", User: user} }
	push := func(user string) *Item {
		it := &Item{Cost: 1, Owner: user}
		q.Push(key(user), it, 0)
		return it
	}
	only := func(user string) func(*Item) bool { return func(it *Item) bool { return it.Owner == user } }
	behind := push("c")
	for _, user := range []string{"a", "b"} {
		for range 3 {
			push(user)
		}
		q.Dispatch(q.Spare(only(user)))
	}
	for _, user := range []string{"a", "b"} { // from here on both count in no mean
		q.DispatchSpare(q.Spare(only(user)))
	}
	q.Promote(key("a"))
	q.Remove(behind)
	it := q.Next(func(it *Item, _ bool) Verdict {
		if it.Owner == "a" {
			return Pass
		}
		return Run
	})
	if it == nil || it.Owner != "b" {
		t.Fatalf("b could run, and %v was found", it)
	}
}

// TestAppendWaiting: of the many that wait those are found that are next in the order, as
// a full look says, whatever is parked, stopped and moved up.
func TestAppendWaiting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New(Options{})
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))
		classes := []flow.Class{flow.Chat, flow.Analysis}
		for _, c := range classes {
			q.Weigh(c, "", 1+5*rnd.Float64())
		}
		for range 300 {
			key := flow.Key{Class: classes[rnd.IntN(2)], Tenant: fmt.Sprint(rnd.IntN(4)), User: fmt.Sprint(rnd.IntN(20))}
			q.Push(key, &Item{Cost: 0.1 + rnd.Float64(), Owner: key}, 0)
			switch rnd.IntN(20) {
			case 0:
				q.Promote(key)
			case 1:
				q.Stop(classes[rnd.IntN(2)], rnd.IntN(2) == 0)
			case 2:
				q.StopTenant(key.Class, key.Tenant, rnd.IntN(2) == 0)
			case 3, 4, 5, 6:
				if it := q.Next(func(*Item, bool) Verdict { return []Verdict{Run, Run, Pass, Park}[rnd.IntN(4)] }); it != nil {
					q.Dispatch(it)
				}
			}
		}
		most := rapid.IntRange(0, 200).Draw(t, "most")
		part, all := q.AppendWaiting(nil, most), q.AppendWaiting(nil, math.MaxInt)
		waiting, seen := 0, make(map[flow.Key]bool)
		for _, f := range all {
			waiting += f.Waiting
			if seen[f.Key] || f.Waiting == 0 || f.Share < 0 || f.Share > 1 || f.FairShare <= 0 || f.FairShare > 1 {
				t.Fatalf("twice or with nothing: %+v", f)
			}
			seen[f.Key] = true
			if again, ok := q.Look(f.Key); !ok || again.Waiting != f.Waiting || again.Share != f.Share {
				t.Fatalf("%+v, and %+v", f, again)
			}
		}
		if waiting != q.Len() {
			t.Fatalf("%d of %d that wait are found", waiting, q.Len())
		}
		if len(part) != min(most, len(all)) {
			t.Fatalf("%d flows, want %d of %d", len(part), most, len(all))
		}
		for i := range part {
			if part[i].Key != all[i].Key {
				t.Fatalf("place %d: %v, a full look finds %v", i, part[i].Key, all[i].Key)
			}
		}
	})
}

// TestShare: of what was dispatched lately each has his part, with what settlements
// correct; what is long ago does not count.
func TestShare(t *testing.T) {
	q := New(Options{})
	run := func(user string, cost, actual float64) {
		it := &Item{Cost: cost}
		q.Push(flow.Key{User: user}, it, 0)
		q.Dispatch(it)
		q.Push(flow.Key{User: user}, &Item{Cost: 1}, 0) // so that the flow stays known
		q.Settle(it, actual)
	}
	want := func(user string, share float64) {
		t.Helper()
		if f, _ := q.Look(flow.Key{User: user}); math.Abs(f.Share-share) > 0.01 {
			t.Errorf("the share of %s is %.3f, want %.3f", user, f.Share, share)
		}
	}
	run("a", 2, 3)
	run("b", 1, 1)
	want("a", 0.75)
	want("b", 0.25)
	for range 70 {
		run("b", 1, 1)
	}
	want("a", 0)
	want("b", 1)
	if f, _ := q.Look(flow.Key{User: "a"}); f.FairShare != 0.5 || f.Weight != 1 {
		t.Errorf("%+v", f)
	}
}

// TestParkTenant: the head of a tenant who is at his limit parks all of him, and nobody
// else; put back, he has kept his place.
func TestParkTenant(t *testing.T) {
	q := New(Options{})
	push := func(tenant, user string) {
		q.Push(flow.Key{Class: flow.Chat, Tenant: tenant, User: user}, &Item{Cost: 1, Owner: tenant}, 0)
	}
	for i := range 5 {
		push("full", fmt.Sprint(i))
	}
	push("other", "u")
	tried := 0
	try := func(it *Item, _ bool) Verdict {
		if it.Owner == "full" {
			tried++
			return ParkTenant
		}
		return Run
	}
	q.Dispatch(q.Next(try))
	push("full", "new")
	if it := q.Next(try); it != nil || tried != 1 {
		t.Errorf("%v runs; %d heads of the parked tenant were asked", it, tried)
	}
	q.StopTenant(flow.Chat, "full", false)
	if it := q.Next(func(*Item, bool) Verdict { return Run }); it == nil || q.Len() != 6 {
		t.Errorf("%v runs, of %d", it, q.Len())
	}
}
