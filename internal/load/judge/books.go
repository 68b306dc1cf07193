package judge

// Books is what the provider simulator booked since its reset; the fields
// are those of its /sim/stats.
type Books struct {
	Elapsed      string           `json:"elapsed,omitempty"`
	Speed        float64          `json:"speed,omitempty"` // of its time
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
	Limits       []Limit          `json:"limits,omitempty"`
}

// Limit is one limit of the simulator.
type Limit struct {
	Name        string  `json:"name"`
	Configured  int64   `json:"configured"`
	Span        string  `json:"span,omitempty"` // that it holds for, such as 1m0s
	Admitted    int64   `json:"admitted"`
	WorstSpan   int64   `json:"worst_span"`
	WorstRatio  float64 `json:"worst_ratio"`
	Utilization float64 `json:"utilization"`
}

// Report is the judge's books at two moments.
type Report struct {
	AtEnd Books `json:"at_end"` // when the load ended: the use of the quota is measured here
	Final Books `json:"final"`  // when the last request had ended

	Series []Point `json:"series,omitempty"`
}

// Point is what the judge had booked at one moment, since its last reset.
type Point struct {
	At        float64          `json:"at"` // seconds since the target is asked
	Throttled int64            `json:"throttled"`
	InFlight  int64            `json:"in_flight"`
	Admitted  map[string]int64 `json:"admitted,omitempty"` // charged, by limit
}

// Utilization is the use of the limit that was used most, 0..1.
func (j *Report) Utilization() float64 {
	most := 0.
	for _, l := range j.AtEnd.Limits {
		most = max(most, l.Utilization)
	}
	return most
}
