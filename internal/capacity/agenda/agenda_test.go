package agenda

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestI1Ordered: whatever is made and taken in turn, the earliest comes first, and of one
// moment what was made first.
func TestI1Ordered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Agenda
		var model []Appointment
		for i, op := range rapid.SliceOfN(rapid.Int64Range(-3, 9), 0, 60).Draw(t, "ops") {
			if op >= 0 {
				a.Add(op, uint8(op), int32(i))
				model = append(model, Appointment{At: op, Who: int32(i), What: uint8(op)})
				slices.SortStableFunc(model, func(x, y Appointment) int { return int(x.At - y.At) })
				continue
			}
			at, ok := a.Next()
			if ok != (len(model) > 0) {
				t.Fatalf("next: %v with %d appointments", ok, len(model))
			}
			if !ok {
				continue
			}
			got := a.Take()
			if want := model[0]; got.At != want.At || got.Who != want.Who || got.What != want.What || at != want.At {
				t.Fatalf("took %+v, want %+v", got, want)
			}
			model = model[1:]
		}
	})
}
