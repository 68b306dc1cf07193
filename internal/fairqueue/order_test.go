package fairqueue

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

func always(v Verdict) func(*Item, bool) Verdict {
	return func(*Item, bool) Verdict { return v }
}

func chat(user string) flow.Key { return flow.Key{Class: flow.Chat, Tenant: "t", User: user} }

// TestI2WorkConserving: as long as some head may run, Next finds one, however many
// others are passed, parked or stopped.
func TestI2WorkConserving(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New(Options{})
		able := make(map[*Item]Verdict)
		for range rapid.IntRange(1, 40).Draw(t, "requests") {
			it := &Item{Cost: rapid.Float64Range(0.1, 10).Draw(t, "cost")}
			able[it] = rapid.SampledFrom([]Verdict{Run, Pass, Park}).Draw(t, "verdict")
			key := chat(rapid.StringMatching(`[a-h]`).Draw(t, "user"))
			key.Class = rapid.SampledFrom([]flow.Class{flow.Chat, flow.Analysis}).Draw(t, "class")
			q.Push(key, it, 0)
		}
		for {
			runnable := false // eligible heads that may run
			for _, class := range q.root.readyHeap.nodes {
				for _, tenant := range class.readyHeap.nodes {
					for _, user := range tenant.readyHeap.nodes {
						runnable = runnable || able[user.items[0]] == Run
					}
				}
			}
			it := q.Next(func(it *Item, _ bool) Verdict { return able[it] })
			if it == nil {
				if runnable {
					t.Fatal("an eligible head may run, and Next found none")
				}
				return
			}
			if able[it] != Run {
				t.Fatalf("Next returned a request whose verdict is %d", able[it])
			}
			q.Dispatch(it)
			q.Settle(it, it.Cost)
		}
	})
}

// TestI3NoStarvation: a large request that is blocked is passed by small ones only
// until the fluid system would have finished it.
func TestI3NoStarvation(t *testing.T) {
	q := New(Options{})
	big := &Item{Cost: 50}
	q.Push(chat("big"), big, 0)
	passed, saved, held := 0.0, 0.0, false
	for range 10_000 {
		for _, user := range []string{"a", "b", "c"} {
			if _, waiting := q.Waiting(chat(user)); waiting == 0 {
				q.Push(chat(user), &Item{Cost: 1}, 0)
			}
		}
		it := q.Next(func(it *Item, overdue bool) Verdict {
			if it != big {
				return Run
			}
			if overdue {
				held = true
				return Stop
			}
			return Pass
		})
		if it == nil {
			if held {
				break // it is overdue: nobody may pass any more
			}
			// Nobody is eligible: something is saved up for it.
			if q.Accrue(big, saved) {
				continue
			}
			more, ok := q.Accrual()
			if !ok {
				t.Fatal("nobody is eligible, and nobody would be, whatever is saved up")
			}
			saved += more + 1e-6
			q.Accrue(big, saved)
			continue
		}
		q.Dispatch(it)
		q.Settle(it, it.Cost)
		passed += it.Cost
		saved = max(saved-it.Cost, 0)
	}
	// Three others of equal weight get as much as it, each, and one request.
	if !held || passed > 3*(50+1) {
		t.Fatalf("a blocked request of 50 s was passed by %.0f s of others (held in the end: %v)", passed, held)
	}
}

// TestI5InOrder: a flow's requests leave in the order in which they came, and one
// that comes back is first again.
func TestI5InOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New(Options{})
		var order []*Item
		for range 200 {
			switch {
			case rapid.IntRange(0, 2).Draw(t, "op") > 0:
				it := &Item{Cost: rapid.Float64Range(0.1, 5).Draw(t, "cost")}
				q.Push(chat("a"), it, 0)
				order = append(order, it)
			case len(order) > 0:
				it := q.Next(always(Run))
				if it != order[0] {
					t.Fatal("not the oldest request was next")
				}
				q.Dispatch(it)
				if rapid.Bool().Draw(t, "again") {
					q.Return(chat("a"), it)
				} else {
					order = order[1:]
				}
				q.Settle(it, 0)
			}
		}
	})
}

// TestI5Deadlines: with deadlines, the earliest is first.
func TestI5Deadlines(t *testing.T) {
	q := New(Options{Deadlines: true})
	items := map[int64]*Item{}
	for _, deadline := range []int64{30, 10, 20} {
		items[deadline] = &Item{Cost: 1}
		q.Push(chat("a"), items[deadline], deadline)
	}
	for _, deadline := range []int64{10, 20, 30} {
		it := q.Next(always(Run))
		if it != items[deadline] {
			t.Fatalf("deadline %d was not next", deadline)
		}
		q.Dispatch(it)
		q.Settle(it, 1)
	}
}

// TestI4NewcomerStartsAtV: whatever others did before, a newcomer is behind at most
// one request of each.
func TestI4NewcomerStartsAtV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		users := rapid.IntRange(1, 8).Draw(t, "users")
		wrong := rapid.SampledFrom([]float64{0.1, 0.5, 1, 2, 10}).Draw(t, "wrong")
		q := New(Options{})
		push := func(i int) { q.Push(chat(string(rune('a'+i))), &Item{Cost: 1, Owner: i}, 0) }
		for i := range users {
			push(i)
			push(i)
		}
		for range rapid.IntRange(0, 300).Draw(t, "before") {
			it := q.Next(always(Run))
			q.Dispatch(it)
			q.Settle(it, wrong)
			push(it.Owner.(int))
		}
		newcomer := &Item{Cost: 1}
		q.Push(chat("new"), newcomer, 0)
		ahead := 0
		for it := q.Next(always(Run)); it != newcomer; it = q.Next(always(Run)) {
			q.Dispatch(it)
			q.Settle(it, wrong)
			push(it.Owner.(int))
			ahead++
		}
		// Each other user may be behind by what its last estimate was wrong, and one.
		if bound := float64(users) * (2 + 1/wrong); float64(ahead) > bound {
			t.Fatalf("a newcomer was behind %d requests of %d users, want at most %.0f", ahead, users, bound)
		}
	})
}

// TestTransferMovesTheCharge: the flow that gives a running request up is served as
// if it had never had it, and the one that takes it over pays.
func TestTransferMovesTheCharge(t *testing.T) {
	q := New(Options{})
	shared, first, second := &Item{Cost: 10}, &Item{Cost: 1}, &Item{Cost: 1}
	q.Push(chat("a"), shared, 0)
	q.Dispatch(q.Next(always(Run)))
	other := &Item{Cost: 100} // who keeps V from catching up with whoever is alone
	q.Push(chat("c"), other, 0)
	q.Transfer(shared, chat("b"))
	q.Push(chat("b"), second, 0)
	q.Push(chat("a"), first, 0)
	if it := q.Next(always(Run)); it != first {
		t.Error("who gave the request up still pays for it")
	}
	seen := 0
	q.Each(chat("b"), func(it *Item) {
		if seen++; it != second {
			t.Errorf("a request of another flow: %+v", it)
		}
	})
	q.Each(chat("nobody"), func(*Item) { seen++ })
	if seen != 1 {
		t.Errorf("%d requests of b wait, want 1", seen)
	}
	q.Settle(shared, 10)
	for _, it := range []*Item{first, second, other} {
		q.Remove(it)
	}
	if q.Len() != 0 {
		t.Errorf("%d left", q.Len())
	}
}
