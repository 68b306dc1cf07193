package arrival

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseTrace(t *testing.T) {
	const head = traceHeader + "\n"
	for _, c := range []struct {
		name, in string
		limit    int
		want     []Row
		fault    string
	}{
		{
			"as recorded", head + "2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n", 0,
			[]Row{{0, 374, 44}, {4314579 * time.Microsecond, 396, 109}},
			"",
		},
		{"byte order mark, no fraction, no last newline", "\ufeff" + head + "2023-11-16 18:15:46,0,0", 0, []Row{{}}, ""},
		{"blank lines", head + "\n2023-11-16 18:15:46,1,2\n\n", 0, []Row{{0, 1, 2}}, ""},
		{
			"out of order", head + "2023-11-16 18:00:01,1,1\n2023-11-16 18:00:00,2,2\n2023-11-16 18:00:01,3,3\n", 0,
			[]Row{{0, 2, 2}, {time.Second, 1, 1}, {time.Second, 3, 3}},
			"",
		},
		{"limited", head + "2023-11-16 18:00:00,1,1\n2023-11-16 18:00:01,2,2\nbroken", 1, []Row{{0, 1, 1}}, ""},
		{"empty", "", 0, nil, "no request in it"},
		{"only a header", head, 0, nil, "no request in it"},
		{"another header", "timestamp,input_length\n", 0, nil, `line 1: the header is "timestamp,input_length"`},
		{"no header", "2023-11-16 18:15:46,1,2\n", 0, nil, "line 1: the header is"},
		{"a field too few", head + "2023-11-16 18:15:46,1,2\n2023-11-16 18:15:46,1\n", 0, nil, "line 3: 2 fields, not 3"},
		{"no time", head + "yesterday,1,2\n", 0, nil, `line 2: "yesterday" is no time`},
		{"no number", head + "2023-11-16 18:15:46,x,2\n", 0, nil, `line 2: ContextTokens: "x" is no number`},
		{"negative", head + "2023-11-16 18:15:46,1,-2\n", 0, nil, `line 2: GeneratedTokens: "-2" is no number`},
		{"huge", head + "2023-11-16 18:15:46,1000001,2\n", 0, nil, "line 2: ContextTokens"},
		{"a line without end", head + strings.Repeat("x", 1<<17), 0, nil, "line 2: bufio.Scanner: token too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows, err := ParseTrace(strings.NewReader(c.in), c.limit)
			if diff := cmp.Diff(c.want, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
		})
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add(traceHeader + "\n2023-11-16 18:15:46.6805900,374,44\r\n")
	f.Add(traceHeader + "\n9999-12-31 23:59:59,1,1\n0000-01-01 00:00:00,1,1\n")
	f.Fuzz(func(t *testing.T, in string) {
		rows, err := ParseTrace(strings.NewReader(in), 100)
		if (err == nil) != (len(rows) > 0) || len(rows) > 100 {
			t.Fatalf("%d rows, error %v", len(rows), err)
		}
		last := time.Duration(0)
		for _, row := range rows {
			if row.At < last || row.Context < 0 || row.Generated < 0 || row.Context > maxTokens {
				t.Fatalf("row %+v after %v", row, last)
			}
			last = row.At
		}
	})
}

func TestPresets(t *testing.T) {
	for _, c := range []struct {
		preset              Preset
		rate, cv            float64 // arrivals per second, and the spread of the gaps
		tolerance           float64
		in, inMost, outMost int // median
		out                 int
	}{
		{PresetConv, 328. / 60, 1, 0.05, 757, 14050, 1000, 151},
		{PresetCode, 152. / 60, 13, 0.35, 1097, 7437, 1899, 16},
	} {
		t.Run(string(c.preset), func(t *testing.T) {
			rows, err := Synthesize(c.preset, 0, 100*time.Hour, 400_000, 1)
			if err != nil || len(rows) != 400_000 {
				t.Fatalf("%d rows, %v", len(rows), err)
			}
			mean, cv := gapsOf(rows)
			if math.Abs(mean*c.rate-1) > c.tolerance || math.Abs(cv/c.cv-1) > c.tolerance {
				t.Errorf("gaps: mean %v, want %v; spread %v, want %v", mean, 1/c.rate, cv, c.cv)
			}
			below := [2]int{}
			for _, row := range rows {
				if row.Context > c.inMost || row.Generated > c.outMost || row.Context < 1 || row.Generated < 1 {
					t.Fatalf("row %+v", row)
				}
				if row.Context <= c.in {
					below[0]++
				}
				if row.Generated <= c.out {
					below[1]++
				}
			}
			for _, n := range below {
				if half := float64(n) / 400_000; math.Abs(half-0.5) > 0.03 {
					t.Errorf("%v of the sizes are below the median", half)
				}
			}
		})
	}
}

// gapsOf returns mean in seconds and coefficient of variation of the gaps.
func gapsOf(rows []Row) (mean, cv float64) {
	n := float64(len(rows) - 1)
	mean = rows[len(rows)-1].At.Seconds() / n
	squares := 0.
	for i := 1; i < len(rows); i++ {
		d := (rows[i].At - rows[i-1].At).Seconds() - mean
		squares += d * d
	}
	return mean, math.Sqrt(squares/n) / mean
}

func TestSynthesize(t *testing.T) {
	a, err := Synthesize(PresetConv, 2, time.Minute, 0, 1)
	b, _ := Synthesize(PresetConv, 2, time.Minute, 0, 1)
	if err != nil || !cmp.Equal(a, b) || len(a) < 80 || len(a) > 160 || a[len(a)-1].At > time.Minute {
		t.Errorf("%d rows, error %v", len(a), err)
	}
	if other, _ := Synthesize(PresetConv, 2, time.Minute, 0, 2); cmp.Equal(a, other) {
		t.Error("another seed drew the same")
	}
	if limited, _ := Synthesize(PresetConv, 2, time.Minute, 10, 1); !cmp.Equal(a[:10], limited) {
		t.Error("the limit changes the rows")
	}
	if _, err := Synthesize("mail", 0, time.Minute, 0, 1); err == nil {
		t.Error("an unknown preset was drawn")
	}
	if _, err := Synthesize(PresetConv, math.NaN(), time.Minute, 0, 1); err == nil {
		t.Error("a rate that is no number was drawn")
	}
}
