package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// askLoad runs millrace load, and counts what it recorded as wrk would have.
func askLoad(ctx context.Context, o *options, file, url string) (quantiles, error) {
	cmd := exec.CommandContext(
		ctx, o.binary, "load", "--json", "--quiet", "--csv", file, "--target", url, "--users", strconv.Itoa(o.conns),
		"--think", "0s", "--ramp", "-1s", "--tokens", "6", "--duration", o.time.String(), "--max-errors", "0",
	)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	reported, err := readReport(text)
	if err != nil {
		return nil, err
	}
	rows, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	took, err := readRows(rows)
	if err != nil {
		return nil, err
	}
	return append(atPercents(corrected(took, o.conns, o.time)), reported...), agree(atPercents(took), reported)
}

// agree fails if the report does not say what the records say.
func agree(recorded, reported quantiles) error {
	for i, percent := range percents {
		if math.Abs(reported[i]-recorded[i]) > 0.01*recorded[i] {
			return fmt.Errorf("p%v is %.2f ms in the report and %.2f ms in the records", percent, reported[i], recorded[i])
		}
	}
	return nil
}

// corrected adds what wrk adds: an answer that took more than twice as long as
// one takes in the mean stands for those that were not asked for meanwhile.
func corrected(took []float64, conns int, whole time.Duration) []float64 {
	mean := whole.Seconds() * 1000 / float64(len(took)/conns)
	all := slices.Clone(took)
	for _, t := range took {
		if t >= 2*mean {
			for t -= mean; t > mean; t -= mean {
				all = append(all, t)
			}
		}
	}
	slices.Sort(all)
	return all
}

func atPercents(sorted []float64) (q quantiles) {
	for _, percent := range percents {
		rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
		q = append(q, sorted[max(rank, 1)-1])
	}
	return q
}

// readRows reads the latencies of what was answered, in order of size.
func readRows(text []byte) ([]float64, error) {
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 {
		return nil, errors.New("no request was recorded")
	}
	latency, outcome := slices.Index(rows[0], "latency_ms"), slices.Index(rows[0], "outcome")
	if latency < 0 || outcome < 0 {
		return nil, fmt.Errorf("no latency_ms and outcome in %v", rows[0])
	}
	var took []float64
	for _, row := range rows[1:] {
		if row[outcome] != "answered" {
			continue
		}
		ms, err := strconv.ParseFloat(row[latency], 64)
		if err != nil {
			return nil, err
		}
		took = append(took, ms)
	}
	if len(took) < 1000 {
		return nil, fmt.Errorf("%d answers are too few to compare", len(took))
	}
	slices.Sort(took)
	return took, nil
}

// readReport reads the percentiles of the report of one target.
func readReport(text []byte) (quantiles, error) {
	var report struct {
		Targets []struct {
			Curve []struct {
				Percent float64 `json:"percent"`
				MS      float64 `json:"ms"`
			} `json:"curve"`
		} `json:"targets"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	if len(report.Targets) != 1 {
		return nil, fmt.Errorf("%d targets in the report", len(report.Targets))
	}
	var q quantiles
	for _, percent := range percents {
		for _, at := range report.Targets[0].Curve {
			if at.Percent == percent {
				q = append(q, at.MS)
			}
		}
	}
	if len(q) != len(percents) {
		return nil, fmt.Errorf("%d of %d percentiles in the report", len(q), len(percents))
	}
	return q, nil
}
