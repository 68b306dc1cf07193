package forecast

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/load"
)

// record is one request as the gateway tells it.
type record struct {
	ID      string    `json:"id"`
	Class   string    `json:"class"`
	Outcome string    `json:"outcome"`
	Arrived time.Time `json:"arrived"`
	Queued  float64   `json:"queued_ms"`
}

// Records are what a gateway told of the requests that ended.
type Records map[string]record

// Add reads one list of the latest requests.
func (r Records) Add(from io.Reader) error {
	var list struct {
		Requests []record `json:"requests"`
	}
	if err := json.NewDecoder(from).Decode(&list); err != nil {
		return fmt.Errorf("the gateway's records: %w", err)
	}
	for _, one := range list.Requests {
		r[one.ID] = one
	}
	return nil
}

// served is how a record calls what was answered.
const served = "served"

// P95 is the p95 wait, in seconds, of what arrived between two moments and was
// answered; of one class, or of all if it is empty.
func (r Records) P95(class string, from, to time.Time) (p95 float64, of int) {
	var waits []float64
	for _, one := range r {
		if one.Outcome == served && (class == "" || class == one.Class) && !one.Arrived.Before(from) && one.Arrived.Before(to) {
			waits = append(waits, one.Queued/1000)
		}
	}
	if len(waits) == 0 {
		return 0, 0
	}
	slices.Sort(waits)
	return waits[min(int(0.95*float64(len(waits))), len(waits)-1)], len(waits)
}

// How far the plan may be from what happens.
const (
	mostUse  = 0.03 // in shares of the limit
	mostWait = 0.15 // of the p95 wait that was measured
	mostRest = 0.5  // or so many seconds, where that is more
)

// Judge is where a comparison writes its figures.
type Judge interface {
	Show(format string, args ...any)
	Fault(format string, args ...any)
}

// CompareUse compares the use of the limit that is used most. A class's rate is
// known to the judge as requests.
func CompareUse(j Judge, said *capacity.Row, books *load.JudgeBooks) {
	for i := range said.Use {
		use := &said.Use[i]
		if use.Used < said.Utilization {
			continue
		}
		limit, scale := use.What, 1.0
		if use.What == "class rate" {
			limit = "requests"
		}
		at := slices.IndexFunc(books.Limits, func(l load.JudgeLimit) bool { return l.Name == limit })
		if at < 0 {
			j.Fault("the judge has no books of %s", use.Path)
			return
		}
		if use.What == "class rate" {
			scale = float64(books.Limits[at].Configured) / float64(use.Max)
		}
		seen := books.Limits[at].Utilization * scale
		tell(j, math.Abs(seen-use.Used) <= mostUse, "use of %s %.1f %% foretold, %.1f %% seen", use.Path, 100*use.Used, 100*seen)
		return
	}
	j.Fault("the plan names no limit")
}

// CompareWait compares p95 waits in seconds.
func CompareWait(j Judge, what string, said, seen float64) {
	tell(j, math.Abs(said-seen) <= max(mostWait*seen, mostRest), "%sp95 wait %.2f s foretold, %.2f s seen", what, said, seen)
}

func tell(j Judge, kept bool, format string, args ...any) {
	if kept {
		j.Show(format, args...)
	} else {
		j.Fault(format, args...)
	}
}
