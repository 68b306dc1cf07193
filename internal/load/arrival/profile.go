package arrival

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// maxStages bounds a profile.
const maxStages = 1000

// Stage is one part of a profile: a straight line from the level before it, 0
// before the first.
type Stage struct {
	Over time.Duration // how long the line takes; 0 is a step
	To   float64       // the level at its end
}

// ParseStages reads OVER:TO,OVER:TO,... where OVER is a duration and TO is read
// by level.
func ParseStages(s string, level func(string) (float64, error)) ([]Stage, error) {
	var stages []Stage
	for i, part := range strings.Split(s, ",") {
		over, to, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found {
			return nil, fmt.Errorf("stage %d: %q is not DURATION:LEVEL, such as 30s:20", i+1, part)
		}
		d, err := time.ParseDuration(over)
		if err != nil {
			return nil, fmt.Errorf("stage %d: %q is no duration such as 30s", i+1, over)
		}
		value, err := level(to)
		if err != nil {
			return nil, fmt.Errorf("stage %d: %w", i+1, err)
		}
		stages = append(stages, Stage{d, value})
	}
	return stages, nil
}

// Profile is a level over time. The zero value is 0 for ever.
type Profile struct {
	lines []line
	last  float64 // the level behind the last line
}

// line is one stage with what is known at its beginning.
type line struct {
	at       time.Duration
	from, to float64
	over     time.Duration // above 0
	area     float64       // before it
}

// NewProfile makes a profile of stages. All faults are told.
func NewProfile(stages []Stage) (Profile, error) {
	var faults []error
	if len(stages) > maxStages {
		faults = append(faults, fmt.Errorf("%d stages, at most %d", len(stages), maxStages))
	}
	for i, s := range stages {
		if s.Over < 0 || s.Over > 1000*time.Hour {
			faults = append(faults, fmt.Errorf("stage %d takes %v: it is not between 0 and 1000 h", i+1, s.Over))
		}
		if !(s.To >= 0 && s.To <= 1e6) {
			faults = append(faults, fmt.Errorf("stage %d goes to %v: it is not between 0 and a million", i+1, s.To))
		}
	}
	if len(faults) > 0 {
		return Profile{}, errors.Join(faults...)
	}
	p := Profile{}
	at, area := time.Duration(0), 0.
	for _, s := range stages {
		if s.Over > 0 {
			p.lines = append(p.lines, line{at: at, from: p.last, to: s.To, over: s.Over, area: area})
			at += s.Over
			area += (p.last + s.To) / 2 * s.Over.Seconds()
		}
		p.last = s.To
	}
	return p, nil
}

// Constant is a profile of one level.
func Constant(level float64) Profile { return Profile{last: level} }

// Length is the time of all stages.
func (p Profile) Length() time.Duration {
	if len(p.lines) == 0 {
		return 0
	}
	l := p.lines[len(p.lines)-1]
	return l.at + l.over
}

// Most is the highest level.
func (p Profile) Most() float64 {
	most := p.last
	for _, l := range p.lines {
		most = max(most, l.from, l.to)
	}
	return most
}

// find returns the line that t lies in; false behind the last one.
func (p Profile) find(t time.Duration) (line, bool) {
	for _, l := range p.lines {
		if t < l.at+l.over {
			return l, true
		}
	}
	return line{}, false
}

// At is the level at a time; at a step, the level after it.
func (p Profile) At(t time.Duration) float64 {
	l, ok := p.find(t)
	if !ok {
		return p.last
	}
	return l.from + l.slope()*(t-l.at).Seconds()
}

// slope is the change of the level in a second.
func (l line) slope() float64 { return (l.to - l.from) / l.over.Seconds() }

// Area is the integral of the level from 0 to t, in level x seconds: the
// expected number of arrivals of a rate per second.
func (p Profile) Area(t time.Duration) float64 {
	l, ok := p.find(t)
	if !ok {
		return p.total() + p.last*(t-p.Length()).Seconds()
	}
	in := (t - l.at).Seconds()
	return l.area + l.from*in + l.slope()*in*in/2
}

func (p Profile) total() float64 {
	if len(p.lines) == 0 {
		return 0
	}
	l := p.lines[len(p.lines)-1]
	return l.area + (l.from+l.to)/2*l.over.Seconds()
}

// When is the first time at which the area is reached; false if it never is.
func (p Profile) When(area float64) (time.Duration, bool) {
	for _, l := range p.lines {
		if full := l.area + (l.from+l.to)/2*l.over.Seconds(); area <= full && full > l.area {
			return l.at + l.when(max(area-l.area, 0)), true
		}
	}
	if p.last <= 0 {
		return 0, false
	}
	after := (area - p.total()) / p.last
	if after > maxWait.Seconds() {
		return 0, false
	}
	return p.Length() + seconds(max(after, 0)), true
}

// maxWait is as good as never: longer times do not fit a Duration.
const maxWait = 100 * 365 * 24 * time.Hour

// when is the time within the line at which its own area is reached: the root of
// slope/2 t^2 + from t = area, in the form that does not cancel.
func (l line) when(area float64) time.Duration {
	root := math.Sqrt(max(l.from*l.from+2*l.slope()*area, 0))
	if l.from+root == 0 {
		return 0
	}
	return min(seconds(2*area/(l.from+root)), l.over)
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// Above is the first time from which on, at or after t, the level is above
// the given one; false if it never is.
func (p Profile) Above(level float64, t time.Duration) (time.Duration, bool) {
	for _, l := range p.lines {
		if t >= l.at+l.over || max(l.from, l.to) <= level {
			continue
		}
		t = max(t, l.at)
		if p.At(t) > level {
			return t, true
		}
		if l.to > level { // it rises through the level
			return l.at + time.Duration(math.Ceil((level-l.from)/l.slope()*float64(time.Second))) + 1, true
		}
	}
	if p.last > level {
		return max(t, p.Length()), true
	}
	return 0, false
}
