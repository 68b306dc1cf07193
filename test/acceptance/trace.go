package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/load"
)

// speed is how much faster than recorded the traces are replayed.
const speed = 20

// headroom is the quota over the trace's own mean.
const headroom = 1.05

// traceCases replays recorded traces, and fitted ones in place of those that
// are not there.
func traceCases(s settings, dir string, out io.Writer) ([]scenario, error) {
	var all []scenario
	for _, name := range []string{"conv", "code"} {
		title := "trace/" + name
		if !s.only.MatchString(title) {
			continue
		}
		rows, path, err := traceRows(s, name, dir, out)
		if err != nil {
			return nil, err
		}
		all = append(all, traceCase(title, path, rows))
	}
	return all, nil
}

// traceRows finds the arrivals and the file that holds them.
func traceRows(s settings, name, dir string, out io.Writer) (rows []load.Row, path string, err error) {
	limit := 0
	if s.quick {
		limit = 3000
	}
	if s.data != "" {
		path = filepath.Join(s.data, "AzureLLMInferenceTrace_"+name+".csv")
		rows, err = load.ReadTrace(path, limit)
		if !errors.Is(err, fs.ErrNotExist) && limit == 0 {
			absolute, absErr := filepath.Abs(path)
			return rows, absolute, errors.Join(err, absErr)
		}
	}
	if rows == nil {
		fmt.Fprintf(out, "no %s in -data %q: a fitted trace of the same shape is replayed\n", "AzureLLMInferenceTrace_"+name+".csv", s.data)
		rows, err = load.Synthesize(load.Preset(name), 0, time.Hour, limit, 1)
	}
	if err != nil {
		return nil, "", err
	}
	path = filepath.Join(dir, name+".csv")
	return rows, path, writeTrace(path, rows)
}

func writeTrace(path string, rows []load.Row) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "TIMESTAMP,ContextTokens,GeneratedTokens")
	begin := time.Date(2023, 11, 16, 0, 0, 0, 0, time.UTC)
	for _, row := range rows {
		fmt.Fprintf(w, "%s,%d,%d\n", begin.Add(row.At).Format("2006-01-02 15:04:05.0000000"), row.Context, row.Generated)
	}
	return errors.Join(w.Flush(), f.Close())
}

// mean is what a trace asks for a minute, at the recorded speed.
type mean struct {
	requests, tokens float64
	span             time.Duration
}

// meanOf counts tokens as the judge does: the prompt's text alone, four
// characters for each token of the trace.
func meanOf(rows []load.Row) mean {
	tokens := 0
	for _, row := range rows {
		tokens += max(row.Context, 1)
	}
	span := rows[len(rows)-1].At
	return mean{requests: float64(len(rows)) / span.Minutes(), tokens: float64(tokens) / span.Minutes(), span: span}
}

// traceCase asks straight and through the gateway, each with a judge of its
// own. The latency of the judge is divided by the speed as well; its limits are
// those of the fast minute.
func traceCase(name, path string, rows []load.Row) scenario {
	m := meanOf(rows)
	provider := judge{
		requests: int(m.requests * speed * headroom), tokens: int(m.tokens * speed * headroom), seats: 4000,
		flags: []string{"--fault", fmt.Sprintf(`{"kind":"latency","factor":%v}`, 1./speed), "--seed", "7"},
	}
	// The load tells and is told its times as the trace has them; patience and grace are the machine's.
	ask := demand{span: m.span / speed, flags: []string{
		"--trace", path, "--speed", strconv.Itoa(speed), "--max-in-flight", "20000",
		"--timeout", (speed * patience).String(), "--grace", (speed * grace).String(),
	}}
	front := told()
	front.hold = patience
	return scenario{
		name: name, heavy: true,
		legs: []leg{
			{name: "straight", judge: provider, demand: ask},
			{name: "gateway", judge: provider, gateway: front, demand: ask},
		},
		check: func(v *verdict, rs []result) {
			unharmed(v, &rs[1])
			w, l := rs[1].load.Wait, rs[1].load.Latency // in the trace's time, speed times the machine's
			v.show("straight errors %.4f", rs[0].errorShare())
			v.show("%d requests, quota %d requests and %d tokens a minute, use %.3f and %.3f",
				len(rows), provider.requests, provider.tokens, rs[1].used("requests"), rs[1].used("tokens"))
			v.show("wait p50 %s, p90 %s, p95 %s, p99 %s, longest %s", ms(w.P50), ms(w.P90), ms(w.P95), ms(w.P99), ms(w.Max))
			v.show("latency p50 %s, p95 %s", ms(l.P50), ms(l.P95))
		},
	}
}
