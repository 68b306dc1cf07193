package flow

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawWaits(t *rapid.T, name string) Waits {
	var w Waits
	for i := range w {
		w[i] = time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, name)) * time.Duration(rapid.IntRange(0, 1).Draw(t, "some"))
	}
	return w
}

// TestFit: a total is shared out to the nanosecond, and in the same proportions.
func TestFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, total := drawWaits(t, "w"), time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "total"))
		fit := w.Fit(total)
		if fit.Total() != total {
			t.Fatalf("%v of %v were shared out", fit.Total(), total)
		}
		whole := w.Total()
		if whole == 0 {
			if fit.Of(ReasonTurn) != total {
				t.Fatalf("nothing is known, and it was shared out as %v", fit)
			}
			return
		}
		for i, d := range w {
			if want := float64(d) / float64(whole) * float64(total); float64(fit[i])-want > 1000 || want-float64(fit[i]) > 1000 {
				t.Fatalf("%s: %v of %v became %v of %v", reasons[i], d, whole, fit[i], total)
			}
		}
	})
}

// TestSums: what is added comes out again, reason by reason.
func TestSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawWaits(t, "a"), drawWaits(t, "b")
		if back := a.Plus(b).Minus(b); back != a {
			t.Fatalf("%v became %v", a, back)
		}
		var again Waits
		for why, d := range a.All() {
			if d <= 0 || a.Of(why) != d {
				t.Fatalf("%s is told as %v, it is %v", why, d, a.Of(why))
			}
			again.Add(why, d)
		}
		if again != a {
			t.Fatalf("%v was told as %v", a, again)
		}
	})
}

// TestEveryReasonHasItsPlace, and what is not known counts as the turn.
func TestEveryReasonHasItsPlace(t *testing.T) {
	var w Waits
	for i, why := range Reasons() {
		w.Add(why, time.Duration(i+1))
	}
	for i, why := range Reasons() {
		if w.Of(why) != time.Duration(i+1) {
			t.Errorf("%s shares its place", why)
		}
	}
	w.Add("new", 100)
	w.Add(ReasonNone, 10)
	if w.Of(ReasonTurn) != 111 {
		t.Errorf("the turn has %v", w.Of(ReasonTurn))
	}
}
