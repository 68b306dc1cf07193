package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// JudgeBooks is what the provider simulator booked since its reset; the fields
// are those of its /sim/stats.
type JudgeBooks struct {
	Elapsed      string           `json:"elapsed,omitempty"`
	Requests     int64            `json:"requests"`
	Accepted     int64            `json:"accepted"`
	Answered     int64            `json:"answered"`
	Aborted      int64            `json:"aborted"`
	Faulted      int64            `json:"faulted"`
	Throttled    int64            `json:"throttled"`
	ThrottledBy  map[string]int64 `json:"throttled_by,omitempty"`
	FirstSecond  int64            `json:"first_second_throttled"`
	PerMinute    []int64          `json:"throttled_per_minute,omitempty"`
	InFlight     int64            `json:"in_flight"`
	MostInFlight int64            `json:"most_in_flight"`
	Carried      int64            `json:"carried"`
	Limits       []JudgeLimit     `json:"limits,omitempty"`
}

// JudgeLimit is one limit of the simulator.
type JudgeLimit struct {
	Name        string  `json:"name"`
	Configured  int64   `json:"configured"`
	Span        string  `json:"span,omitempty"` // that it holds for, such as 1m0s
	Admitted    int64   `json:"admitted"`
	WorstSpan   int64   `json:"worst_span"`
	WorstRatio  float64 `json:"worst_ratio"`
	Utilization float64 `json:"utilization"`
}

// JudgeReport is the judge's books at two moments.
type JudgeReport struct {
	AtEnd JudgeBooks `json:"at_end"` // when the load ended: the use of the quota is measured here
	Final JudgeBooks `json:"final"`  // when the last request had ended

	Series []JudgePoint `json:"series,omitempty"`
}

// JudgePoint is what the judge had booked at one moment, since its last reset.
type JudgePoint struct {
	At        float64          `json:"at"` // seconds since the target is asked
	Throttled int64            `json:"throttled"`
	InFlight  int64            `json:"in_flight"`
	Admitted  map[string]int64 `json:"admitted,omitempty"` // charged, by limit
}

// judgeEvery is the least time between two looks into the books, maxJudged the
// most looks.
const (
	judgeEvery = 5 * time.Second
	maxJudged  = 1000
)

// watch reads the books again and again until ctx ends. A look that fails is left out:
// whether the judge answers at all is found out at the end.
func (j *judge) watch(ctx context.Context, begun time.Time, every time.Duration) []JudgePoint {
	var points []JudgePoint
	for at := begun; len(points) < maxJudged; {
		books, err := j.read(ctx)
		if now := time.Since(begun); err == nil {
			p := JudgePoint{At: now.Seconds(), Throttled: books.Throttled, InFlight: books.InFlight, Admitted: map[string]int64{}}
			for _, l := range books.Limits {
				p.Admitted[l.Name] = l.Admitted
			}
			points = append(points, p)
		}
		if at = at.Add(every); !sleep(ctx, time.Until(at)) {
			break
		}
	}
	return points
}

// Utilization is the use of the limit that was used most, 0..1.
func (j *JudgeReport) Utilization() float64 {
	most := 0.
	for _, l := range j.AtEnd.Limits {
		most = max(most, l.Utilization)
	}
	return most
}

// judgeTimeout bounds each call to the judge, also after an interruption.
const judgeTimeout = 5 * time.Second

// maxBooks bounds what the judge may answer.
const maxBooks = 4 << 20

type judge struct {
	base      *url.URL
	transport http.RoundTripper
}

// newJudge returns nil for no URL.
func newJudge(raw string, transport http.RoundTripper) (*judge, error) {
	if raw == "" {
		return nil, nil
	}
	base, err := parseBase(raw)
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	return &judge{base: base, transport: transport}, nil
}

// reset opens new books, even if ctx has ended. A nil judge keeps none.
func (j *judge) reset(ctx context.Context) error {
	if j == nil {
		return nil
	}
	if _, err := j.call(context.WithoutCancel(ctx), http.MethodPost, "sim/reset"); err != nil {
		return fmt.Errorf("reset the judge's books: %w", err)
	}
	return nil
}

// read reads the books, even if ctx has ended.
func (j *judge) read(ctx context.Context) (JudgeBooks, error) {
	var books JudgeBooks
	if j == nil {
		return books, nil
	}
	body, err := j.call(context.WithoutCancel(ctx), http.MethodGet, "sim/stats")
	if err == nil {
		err = json.Unmarshal(body, &books)
	}
	if err != nil {
		return books, fmt.Errorf("read the judge's books: %w", err)
	}
	return books, nil
}

// final reads the books once nothing runs at the judge any more, or a second has
// passed: what users broke off ends there a moment after it ended for them.
func (j *judge) final(ctx context.Context) (books JudgeBooks, err error) {
	const step, most = 50 * time.Millisecond, 20
	for range most {
		if books, err = j.read(ctx); err != nil || books.InFlight == 0 {
			return books, err
		}
		<-time.After(step)
	}
	return books, nil
}

func (j *judge) call(ctx context.Context, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, j.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := j.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBooks))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, errors.New(resp.Status + " from " + j.base.Host + ": is it a millrace simulator?")
	}
	return body, nil
}
