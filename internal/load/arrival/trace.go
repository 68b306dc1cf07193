package arrival

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row is one arrival of a trace.
type Row struct {
	At        time.Duration // since the first arrival, at the recorded speed
	Context   int           // prompt tokens
	Generated int           // tokens of the answer
}

// Bounds of a trace: 5 million rows take 120 MB.
const (
	maxRows   = 5_000_000
	maxTokens = 1_000_000
)

const traceHeader = "TIMESTAMP,ContextTokens,GeneratedTokens"

// ParseTrace reads a trace in the format of the Azure LLM inference traces: a
// header line, then TIMESTAMP,ContextTokens,GeneratedTokens. At most limit rows
// are read; 0 means all. Errors name the line. Rows are returned in order of
// time, even if the file is not.
func ParseTrace(r io.Reader, limit int) ([]Row, error) {
	if limit <= 0 || limit > maxRows {
		limit = maxRows
	}
	var p traceParser
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(p.rows) < limit {
		p.line++
		if err := p.add(strings.TrimSpace(lines.Text())); err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line+1, err)
	}
	if len(p.rows) == 0 {
		return nil, errors.New("no request in it: after the header " + traceHeader + " one line each is expected")
	}
	return p.sorted(), nil
}

type traceParser struct {
	line  int
	times []time.Time
	rows  []Row
}

func (p *traceParser) add(line string) error {
	line = strings.TrimPrefix(line, "\ufeff")
	switch {
	case p.line == 1 && line != traceHeader:
		return fmt.Errorf("the header is %.80q, not %s", line, traceHeader)
	case p.line == 1 || line == "":
		return nil
	}
	fields := strings.Split(line, ",")
	if len(fields) != 3 {
		return fmt.Errorf("%d fields, not 3: %.80q", len(fields), line)
	}
	at, err := time.Parse(time.DateTime, fields[0])
	if err != nil {
		return fmt.Errorf("%.40q is no time like 2023-11-16 18:15:46.6805900", fields[0])
	}
	prompt, err := tokenCount(fields[1])
	if err != nil {
		return fmt.Errorf("ContextTokens: %w", err)
	}
	generated, err := tokenCount(fields[2])
	if err != nil {
		return fmt.Errorf("GeneratedTokens: %w", err)
	}
	p.times = append(p.times, at)
	p.rows = append(p.rows, Row{Context: prompt, Generated: generated})
	return nil
}

func tokenCount(field string) (int, error) {
	n, err := strconv.Atoi(field)
	if err != nil || n < 0 || n > maxTokens {
		return 0, fmt.Errorf("%.40q is no number between 0 and %d", field, maxTokens)
	}
	return n, nil
}

func (p *traceParser) sorted() []Row {
	first := slices.MinFunc(p.times, time.Time.Compare)
	for i, at := range p.times {
		p.rows[i].At = at.Sub(first)
	}
	slices.SortStableFunc(p.rows, func(a, b Row) int { return cmp.Compare(a.At, b.At) })
	return p.rows
}

// Preset is a fitted distribution that stands in for a recorded trace.
type Preset string

// The presets, fitted to the Azure LLM inference traces of 2023.
const (
	PresetConv Preset = "conv" // chat: Poisson arrivals, 328 a minute
	PresetCode Preset = "code" // code completion: very bursty arrivals, 152 a minute
)

type fit struct {
	rate            float64 // arrivals per second
	cv              float64 // coefficient of variation of the gaps
	inMean, inSD    float64 // of ln(context tokens)
	outMean, outSD  float64 // of ln(generated tokens)
	inMost, outMost int     // largest seen
}

func (p Preset) fit() (fit, error) {
	switch p {
	case PresetConv:
		return fit{rate: 328. / 60, cv: 1, inMean: 6.63, inSD: 0.99, outMean: 5.02, outSD: 0.86, inMost: 14050, outMost: 1000}, nil
	case PresetCode:
		return fit{rate: 152. / 60, cv: 13, inMean: 7.00, inSD: 1.36, outMean: 2.79, outSD: 0.85, inMost: 7437, outMost: 1899}, nil
	}
	return fit{}, fmt.Errorf("preset %q is unknown: conv or code", string(p))
}

// Synthesize draws a trace of the preset's shape that spans the given time and
// holds at most limit rows (0 means bounded by the span alone). Rate is the mean
// in arrivals per second; 0 means the recorded one.
func Synthesize(p Preset, rate float64, span time.Duration, limit int, seed uint64) ([]Row, error) {
	f, err := p.fit()
	if err != nil {
		return nil, err
	}
	if rate < 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
		return nil, fmt.Errorf("rate %v is no number of arrivals", rate)
	}
	if rate == 0 {
		rate = f.rate
	}
	if limit <= 0 || limit > maxRows {
		limit = maxRows
	}
	rng := Stream(seed, -1, 0)
	var rows []Row
	for at := 0.; at <= span.Seconds() && len(rows) < limit; at += Gap(rng, f.cv) / rate {
		rows = append(rows, Row{
			At:        time.Duration(at * float64(time.Second)),
			Context:   f.size(rng, f.inMean, f.inSD, f.inMost),
			Generated: f.size(rng, f.outMean, f.outSD, f.outMost),
		})
	}
	return rows, nil
}

func (fit) size(rng *rand.Rand, mean, sd float64, most int) int {
	return int(min(max(math.Round(math.Exp(mean+sd*rng.NormFloat64())), 1), float64(most)))
}

// Gap draws a time between arrivals of mean 1 with the given coefficient of
// variation: exponential for 1, gamma otherwise.
func Gap(rng *rand.Rand, cv float64) float64 {
	if cv == 1 {
		return rng.ExpFloat64()
	}
	shape := 1 / (cv * cv)
	return gamma(rng, shape) / shape
}

// gamma draws from the gamma distribution of the shape, above 0, and of scale 1, by
// Marsaglia and Tsang's method (2000); a shape below 1 is drawn at shape+1 and scaled down.
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(1-rng.Float64(), 1/shape)
	}
	d := shape - 1./3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
