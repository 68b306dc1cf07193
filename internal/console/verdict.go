package console

import (
	"fmt"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/breaker"
)

// The levels of a verdict.
const (
	levelGood = "good" // nothing to do
	levelBusy = "busy" // it works as it should, and people wait
	levelBad  = "bad"  // somebody should look
)

// lastly is how long an upstream's 429 is worth a word.
const lastly = time.Minute

// tolerated is the share of requests without an answer that is not worth one.
const tolerated = 0.01

// farLess is the share of a configured limit that is worth a word if no more is allowed.
const farLess = 0.75

// verdict is how the gateway stands, in words.
type verdict struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}

// judge says how it stands: what is broken first, then who got no answer, then who
// waits and what for, else what will be tight first.
func judge(now time.Time, s *state, f *figures) verdict {
	for i := range s.Upstreams {
		if u := &s.Upstreams[i]; u.Breaker.State != breaker.Closed.String() && !u.Retired {
			return verdict{levelBad, down(u) + waiting(s)}
		}
	}
	if text := lost(s, &f.minute); text != "" {
		return verdict{levelBad, text + waiting(s)}
	}
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		if at := f.upstreams[u.Name].lastThrottle; !at.IsZero() && now.Sub(at) < lastly {
			return verdict{levelBusy, fmt.Sprintf("%s answered 429 %s ago; it is asked more slowly.%s", u.Name, seconds(now.Sub(at)), waiting(s))}
		}
	}
	if name, n := heldBack(s); n > 0 {
		return verdict{levelBusy, fmt.Sprintf("The class %s is paused by hand.%s", name, waiting(s))}
	}
	name, used := tightest(s)
	switch {
	case s.Waiting > 0 && name != "":
		return verdict{levelBusy, waiting(s)[1:] + " Tightest: " + name + ", " + percent(used) + " used." + less(s)}
	case s.Waiting > 0:
		return verdict{levelBusy, waiting(s)[1:]}
	case name != "" && used > 0:
		return verdict{levelGood, "All clear: nobody waits. Tightest: " + name + ", " + percent(used) + " used."}
	}
	return verdict{levelGood, "All clear: nobody waits."}
}

// lost says how many of the last minute's requests got no answer, and why as far as
// the figures tell; empty if next to none.
func lost(s *state, m *minute) string {
	few := tolerated * float64(m.finished)
	if float64(m.failed) > few {
		return fmt.Sprintf("%d of the %d requests of the last minute failed: Requests says why.", m.failed, m.finished)
	}
	if float64(m.away) <= few {
		return ""
	}
	text := fmt.Sprintf("%d of the %d requests of the last minute were turned away: Requests says why.", m.away, m.finished)
	if name, used := tightest(s); name != "" && used > 0 {
		text += " Tightest: " + name + ", " + percent(used) + " used." + less(s)
	}
	return text
}

// less says which provider allows far less than is configured, and so that what is used
// is a share of that; empty if none does.
func less(s *state) string {
	text, least := "", farLess
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		for j := range u.Windows {
			w := &u.Windows[j]
			if share := float64(w.Learned) / float64(max(w.Configured, 1)); share <= least && !w.Shadow {
				text, least = fmt.Sprintf(" %s allows %d of the %d %s that are configured.", u.Name, w.Learned, w.Configured, unit(w)), share
			}
		}
	}
	return text
}

// heldBack is the paused class with most waiting, and how many those are.
func heldBack(s *state) (name string, n int) {
	for i := range s.Classes {
		if c := &s.Classes[i]; c.Paused && c.Waiting > n {
			name, n = c.Name, c.Waiting
		}
	}
	return name, n
}

// down says that an upstream is not asked.
func down(u *upstream) string {
	if u.Breaker.ByHand {
		return u.Name + " was shut off by hand."
	}
	if u.Breaker.State == breaker.HalfOpen.String() || u.Breaker.NextProbe == 0 {
		return u.Name + " was down, and the next request tries whether it is back."
	}
	return u.Name + " is down; it is tried again in " + seconds(time.Duration(u.Breaker.NextProbe*float64(time.Millisecond))) + "."
}

// waiting says who waits; empty if nobody does.
func waiting(s *state) string {
	switch {
	case s.Waiting == 0:
		return ""
	case s.Waiting == 1:
		return " 1 request waits."
	case s.Lately.WaitP95 == 0:
		return fmt.Sprintf(" %d requests wait.", s.Waiting)
	}
	return fmt.Sprintf(" %d requests wait; 95 of 100 waited at most %s.", s.Waiting, seconds(time.Duration(s.Lately.WaitP95*float64(time.Millisecond))))
}

// tightest is the limit of which most is used, and how much; empty if there is
// none. One that is only watched holds nobody up, nor does the
// rate of a class of which nobody waits.
func tightest(s *state) (name string, used float64) {
	used = -1
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		for j := range u.Windows {
			w := &u.Windows[j]
			if w.Shadow {
				continue
			}
			if share := 1 - float64(w.Free)/float64(max(w.Learned, 1)); share > used {
				name, used = u.Name+" "+unit(w), share
			}
		}
		if u.Seats > 0 && !u.SeatsShadow && float64(u.InUse)/float64(u.Seats) > used {
			name, used = u.Name+" seats", float64(u.InUse)/float64(u.Seats)
		}
	}
	for i := range s.Classes {
		c := &s.Classes[i]
		if r := c.Rate; r != nil && !r.Shadow && r.Next > 0 && c.Waiting > 0 && used < 1 {
			name, used = "the rate of class "+c.Name, 1
		}
	}
	return name, used
}

// spans are those that have a name.
var spans = map[time.Duration]string{time.Second: "s", time.Minute: "min", time.Hour: "h", 24 * time.Hour: "day"}

// unit is what a limit counts, such as "tokens/min".
func unit(w *window) string {
	what := w.Dim
	span := time.Duration(w.Span * float64(time.Millisecond))
	if name, known := spans[span]; known {
		return what + "/" + name
	}
	return what + " in " + seconds(span)
}

func percent(share float64) string {
	return strconv.Itoa(int(100*min(max(share, 0), 1)+0.5)) + " %"
}

func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds()+0.5)) + " s"
	}
	return strconv.Itoa(int(d.Minutes()+0.5)) + " min"
}
