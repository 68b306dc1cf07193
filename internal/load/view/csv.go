package view

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/load"
)

// columns are the header of the CSV. Times named _ms are in milliseconds from
// intended_s, and empty where there was none. All passed speed times as fast as
// the machine's, but intended_at, which is by its clock.
var columns = []string{
	"target", "user", "loop", "session", "turn", "path", "class", "stream", "task", "warm_up",
	"speed", "intended_at", "intended_s", "late_ms", "first_byte_ms", "latency_ms", "wait_ms", "attempts",
	"outcome", "status", "prompt_tokens", "completion_tokens", "cost",
}

// CSV writes one line for each request as it ends. Use NewCSV; Add may be called
// by several goroutines at once.
type CSV struct {
	mu   sync.Mutex
	buf  *bufio.Writer
	rows *csv.Writer
	line []string
	err  error
}

// NewCSV writes the header.
func NewCSV(w io.Writer) *CSV {
	buf := bufio.NewWriterSize(w, 256<<10)
	c := &CSV{buf: buf, rows: csv.NewWriter(buf)}
	c.err = c.rows.Write(columns)
	return c
}

// Add writes a line. An error is kept for Close, and nothing is written after it.
func (c *CSV) Add(r load.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.line = append(
		c.line[:0], r.Target, r.User, strconv.Itoa(r.Loop), strconv.Itoa(r.Session), strconv.Itoa(r.Turn), r.Path, r.Class,
		strconv.FormatBool(r.Stream), strconv.FormatBool(r.Task), strconv.FormatBool(r.WarmUp),
		strconv.FormatFloat(r.Speed, 'g', -1, 64), r.Intended.UTC().Format("2006-01-02T15:04:05.000000Z"), strconv.FormatFloat(r.At.Seconds(), 'f', 6, 64),
		millis(r.Late), millis(r.FirstByte), millis(r.Latency), millis(r.Wait), strconv.Itoa(r.Attempts),
		r.Outcome, r.Status, decimal(r.Prompt), decimal(r.Completion), decimal(r.Cost),
	)
	for i, field := range c.line {
		c.line[i] = inert(field)
	}
	c.err = c.rows.Write(c.line)
}

// Close writes what is buffered, and returns the first error there was.
func (c *CSV) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows.Flush()
	for _, err := range []error{c.rows.Error(), c.buf.Flush()} {
		if c.err == nil {
			c.err = err
		}
	}
	if c.err != nil {
		return fmt.Errorf("write requests as CSV: %w", c.err)
	}
	return nil
}

// millis shows a time that was measured; nothing for a negative one, which was not.
func millis(d time.Duration) string {
	if d < 0 {
		return ""
	}
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 3, 64)
}

// inert keeps a spreadsheet from taking a name for a formula.
func inert(field string) string {
	if field != "" && (field[0] == '=' || field[0] == '+' || field[0] == '-' || field[0] == '@') {
		return "'" + field
	}
	return field
}
