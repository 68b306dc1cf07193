package fairqueue

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/internal/flow"
)

// BenchmarkLife is the whole life of a request in the queue: push, search,
// dispatch, settle. Every flow always has one request waiting.
func BenchmarkLife(b *testing.B) {
	for _, flows := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			q := New(Options{})
			for i := range flows {
				it := &Item{Cost: 1 + float64(i%7)}
				q.Push(flow.Key{Class: flow.Chat, Tenant: "t", User: fmt.Sprint("user-", i)}, it, 0)
				it.Owner = flow.Key{Class: flow.Chat, Tenant: "t", User: fmt.Sprint("user-", i)}
			}
			run := func(*Item, bool) Verdict { return Run }
			b.ReportAllocs()
			for b.Loop() {
				it := q.Next(run)
				q.Dispatch(it)
				q.Push(it.Owner.(flow.Key), it, 0)
				q.Settle(it, it.Cost*0.9)
			}
		})
	}
}
