package gauge

import "time"

// maxPoints bounds a series; what comes later counts for the last point.
const maxPoints = 4000

// Point is what happened within one interval.
type Point struct {
	At       float64 `json:"at"` // seconds from the beginning to the interval's
	Started  int64   `json:"started"`
	Answered int64   `json:"answered"`
	Errors   int64   `json:"errors"`
	InFlight int64   `json:"in_flight"` // most at once
	Tokens   int64   `json:"tokens"`    // served
	P50      float64 `json:"p50_ms"`    // latency of the answers
	P95      float64 `json:"p95_ms"`
	Wait     float64 `json:"wait_p95_ms"` // as told
}

// Ended is how one request ended.
type Ended struct {
	Answered bool
	Error    bool // neither is what we broke off ourselves
	Latency  time.Duration
	Wait     time.Duration // negative when none was told
	Tokens   int64
}

// Series cuts the time into intervals. Use NewSeries.
type Series struct {
	begun         time.Time
	every         time.Duration
	points        []Point
	open          Point
	inFlight      int64
	latency, wait *Histogram
}

// NewSeries begins a series of intervals, each above 0.
func NewSeries(begun time.Time, every time.Duration) *Series {
	return &Series{begun: begun, every: every, latency: NewHistogram(), wait: NewHistogram()}
}

// Every is the length of an interval.
func (s *Series) Every() time.Duration { return s.every }

// Start counts a request that begins.
func (s *Series) Start(now time.Time) {
	s.advance(now)
	s.open.Started++
	s.inFlight++
	s.open.InFlight = max(s.open.InFlight, s.inFlight)
}

// End counts a request that has ended.
func (s *Series) End(now time.Time, e Ended) {
	s.advance(now)
	s.inFlight--
	if e.Error {
		s.open.Errors++
	}
	if e.Wait >= 0 {
		s.wait.Observe(e.Wait)
	}
	if e.Answered {
		s.open.Answered++
		s.open.Tokens += e.Tokens
		s.latency.Observe(e.Latency)
	}
}

// Points are all until now, the open one included.
func (s *Series) Points(now time.Time) []Point {
	s.advance(now)
	return append(append(make([]Point, 0, len(s.points)+1), s.points...), s.closed())
}

// Last is the last interval that is over, the open one if none is.
func (s *Series) Last(now time.Time) Point {
	s.advance(now)
	if n := len(s.points); n > 0 {
		return s.points[n-1]
	}
	return s.closed()
}

// advance closes the intervals that are over.
func (s *Series) advance(now time.Time) {
	at := min(int(now.Sub(s.begun)/s.every), maxPoints-1)
	for len(s.points) < at {
		s.points = append(s.points, s.closed())
		s.latency.Reset()
		s.wait.Reset()
		s.open = Point{At: float64(len(s.points)) * s.every.Seconds(), InFlight: s.inFlight}
	}
}

func (s *Series) closed() Point {
	p := s.open
	p.P50, p.P95, p.Wait = s.latency.ms(50), s.latency.ms(95), s.wait.ms(95)
	return p
}
