package capacity

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/capacity/figure"
)

// unseen reports that nobody was answered in the measured time, and hardly anybody
// lost: nothing can be said of such a simulation. A trace that is over is seen to its
// end, however long its answers take.
func (b *book) unseen() bool {
	m := &b.measured
	if b.ended > 0 || b.o.Work.Trace != nil && m.served > 0 {
		return false
	}
	return float64(m.refused+m.evicted) <= tolerated*float64(m.arrived)
}

// silence says in words why nothing was seen, and how to see something.
func (b *book) silence() (verdict, mend string) {
	whole := time.Duration(b.end - b.from)
	if b.dispatched == 0 {
		gap := b.o.Work.gap()
		return fmt.Sprintf("unknown: nobody asks within the %s that are simulated", figure.Span(whole)),
			fmt.Sprintf("A user asks once in %s: %s", figure.Span(gap), longer(gap))
	}
	took := time.Duration(b.service / float64(b.dispatched))
	return fmt.Sprintf("unknown: nobody is answered within the %s that are simulated", figure.Span(whole)),
		fmt.Sprintf("An answer takes about %s: %s", figure.Span(took), longer(took))
}

// longer asks for a simulation of four times as long.
func longer(d time.Duration) string {
	if 4*d > maxDuration {
		return fmt.Sprintf("that is too long for a plan, which simulates %s at most.", figure.Span(maxDuration))
	}
	return fmt.Sprintf("simulate %s at least, after a warm-up of %s.", figure.Span(4*d), figure.Span(d))
}
