package gate

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// crowd is a gate at which 10,000 requests wait.
func crowd(b *testing.B, key func(i int) flow.Key, task bool) *Gate {
	b.Helper()
	o := single(4, quota.Limit{Dim: quota.Total, Max: 1_000_000, Kind: quota.Bucket, Burst: 1_000_000})
	o.MaxQueue, o.MaxFlow, o.Tasks = 20_000, 20_000, 2
	o.Classes = []Class{{Name: flow.Chat, Weight: 6}, {Name: flow.Analysis, Weight: 3, Rate: Rate{Max: 20, Per: 60e9}}}
	g, err := New(epoch, o)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_004 {
		g.Step(epoch, Event{Kind: Arrive, ID: uint64(i + 1), Ask: &Ask{Flow: key(i), Task: task, Size: llm.Size{TextBytes: int64(400 + i%7*100)}}})
	}
	if n := g.Snapshot(epoch).Waiting; n < 10_000 {
		b.Fatalf("%d wait", n)
	}
	return g
}

func userOf(i int) flow.Key {
	return flow.Key{Class: flow.Chat, Tenant: "t", User: fmt.Sprint("user-", i)}
}

// BenchmarkFlows is what a console page costs in a second: the first 200 of 10,000
// flows, and the snapshot.
func BenchmarkFlows(b *testing.B) {
	for name, key := range map[string]func(int) flow.Key{
		"users":   userOf,
		"tenants": func(i int) flow.Key { return flow.Key{Class: flow.Chat, Tenant: fmt.Sprint("tenant-", i), User: "u"} },
		"few":     func(i int) flow.Key { return userOf(i % 200) },
	} {
		for _, task := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/parked=%v", name, task), func(b *testing.B) {
				g := crowd(b, key, task)
				dst := g.AppendFlows(nil, epoch, 200)
				if len(dst) < 200 {
					b.Fatalf("%d flows", len(dst))
				}
				b.ReportAllocs()
				for b.Loop() {
					dst = g.AppendFlows(dst[:0], epoch, 200)
				}
			})
		}
	}
	b.Run("snapshot", func(b *testing.B) {
		g := crowd(b, userOf, false)
		for b.Loop() {
			g.Snapshot(epoch)
		}
	})
}

// BenchmarkTasks is the end of a task and the start of the next while 10,000 flows have
// one waiting.
func BenchmarkTasks(b *testing.B) {
	g := crowd(b, userOf, true)
	running, next := []uint64{}, uint64(20_000)
	for _, e := range g.runs {
		running = append(running, e.id)
	}
	for b.Loop() {
		for _, a := range g.Step(epoch, Event{Kind: Settle, ID: running[0], Result: Result{Kind: llm.KindCanceled}}) {
			running = append(running[1:], a.ID)
		}
		next++
		g.Step(epoch, Event{Kind: Arrive, ID: next, Ask: &Ask{Flow: userOf(int(next)), Task: true, Size: llm.Size{TextBytes: 400}}})
	}
}
