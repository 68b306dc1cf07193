package load

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/load/judge"
)

type (
	// JudgeBooks is judge.Books.
	JudgeBooks = judge.Books
	// JudgeLimit is judge.Limit.
	JudgeLimit = judge.Limit
	// JudgeReport is judge.Report.
	JudgeReport = judge.Report
	// JudgePoint is judge.Point.
	JudgePoint = judge.Point
)

// newJudge returns nil for no URL.
func newJudge(raw string, transport http.RoundTripper) (*judge.Client, error) {
	if raw == "" {
		return nil, nil
	}
	base, err := parseBase(raw)
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	return judge.New(base, transport), nil
}

// judgeEvery is the least time between two looks into the books, maxJudged the
// most looks.
const (
	judgeEvery = 5 * time.Second
	maxJudged  = 1000
)

// watchJudge reads the books again and again until ctx ends. A look that fails is left out:
// whether the judge answers at all is found out at the end.
func (r *run) watchJudge(ctx context.Context, every time.Duration) []JudgePoint {
	var points []JudgePoint
	for at := r.clock.begun; len(points) < maxJudged; {
		books, err := r.judge.Read(ctx)
		if now := r.clock.now().Sub(r.clock.begun); err == nil {
			p := JudgePoint{At: now.Seconds(), Throttled: books.Throttled, InFlight: books.InFlight, Admitted: map[string]int64{}}
			for _, l := range books.Limits {
				p.Admitted[l.Name] = l.Admitted
			}
			points = append(points, p)
		}
		for now := r.clock.now(); !at.After(now); at = at.Add(every) { // a look that was missed is not made up for
		}
		if !r.clock.sleepUntil(ctx, at) {
			break
		}
	}
	return points
}
