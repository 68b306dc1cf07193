package fairqueue

import (
	"testing"

	"github.com/millrace/millrace/internal/flow"
)

// TestAheadOfTheLast: each of one user's requests is told its own place, the last one too.
func TestAheadOfTheLast(t *testing.T) {
	q := New(Options{})
	key := flow.Key{Class: flow.Chat, Tenant: "t", User: "u"}
	var items []*Item
	for range 6 {
		it := &Item{Cost: 1, Owner: key}
		q.Push(key, it, 0)
		items = append(items, it)
	}
	for i, it := range items {
		if place, work := q.Ahead(it); place != i+1 || work != float64(i+1) {
			t.Errorf("place %d after work of %v, want %d after as much", place, work, i+1)
		}
	}
}
