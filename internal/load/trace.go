package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/millrace/millrace/internal/load/arrival"
)

// Row is one arrival of a trace.
type Row = arrival.Row

// Preset is a fitted distribution that stands in for a recorded trace.
type Preset = arrival.Preset

// The presets.
const (
	PresetConv = arrival.PresetConv
	PresetCode = arrival.PresetCode
)

// Synthesize is arrival.Synthesize.
func Synthesize(p Preset, rate float64, span time.Duration, limit int, seed uint64) ([]Row, error) {
	return arrival.Synthesize(p, rate, span, limit, seed)
}

// ReadTrace reads a trace file as arrival.ParseTrace does: at most limit rows, 0
// for all. Errors name the file and the line.
func ReadTrace(path string, limit int) ([]Row, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("trace file %s is not there: name a CSV file in the format of Azure/AzurePublicDataset, or use a preset: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	defer func() { _ = f.Close() }()
	rows, err := arrival.ParseTrace(f, limit)
	if err != nil {
		return nil, fmt.Errorf("trace file %s: %w", path, err)
	}
	return rows, nil
}
