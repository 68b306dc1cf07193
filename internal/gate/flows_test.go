package gate

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/flow"
)

// found compares flows that are asked for by name with the list of all.
func (m *machine) found(list []FlowState) error {
	keys := map[flow.Key]bool{{Class: flow.Chat, Tenant: "nobody"}: true}
	for _, key := range m.gate.AppendKeys(nil) {
		keys[key] = true
	}
	want := make(map[flow.Key]FlowState)
	for _, f := range list {
		want[f.Key] = f
	}
	for _, f := range m.gate.AppendStates(nil, m.now, slices.Collect(maps.Keys(keys))) {
		if f.Waiting+f.Running == 0 { // it is nobody, or only a place that is kept
			continue
		}
		if w := want[f.Key]; f.Waiting == 0 || f.Share >= w.Share && f.FairShare >= w.FairShare { // in the list they are of one pool
			f.Share, f.FairShare = w.Share, w.FairShare
		}
		if diff := cmp.Diff(want[f.Key], f); diff != "" {
			return fmt.Errorf("I13: by its name a flow is shown differently (-in the list, +by name): %s", diff)
		}
		delete(want, f.Key)
	}
	if len(want) > 0 {
		return fmt.Errorf("I13: %d flows are not found by their names: %v", len(want), want)
	}
	return nil
}

// BenchmarkFlowsFound is for how long the gate stands still while somebody looks for one
// of 10,000 flows: once for the names, and once for each hundred flows.
func BenchmarkFlowsFound(b *testing.B) {
	g := crowd(b, userOf, false)
	keys := g.AppendKeys(nil)
	b.Run("names", func(b *testing.B) {
		for b.Loop() {
			keys = g.AppendKeys(keys[:0])
		}
	})
	b.Run("hundred", func(b *testing.B) {
		var dst []FlowState
		for b.Loop() {
			if dst = g.AppendStates(dst[:0], epoch, keys[:100]); len(dst) != 100 {
				b.Fatalf("%d flows", len(dst))
			}
		}
	})
}
