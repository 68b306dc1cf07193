package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadWrk(t *testing.T) {
	const text = "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency    27.81ms   13.01ms  53.02ms   57.73%\n  Latency Distribution\n" +
		"     50%  500.00us\n     75%   39.05ms\n     90%    1.50s \n     99%    2.00m \n  34500 requests in 30.03s, 5.10MB read\n"
	got, err := readWrk(text)
	if diff := cmp.Diff(quantiles{0.5, 39.05, 1500, 120_000}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{"", strings.Replace(text, "75%", "74%", 1), text + "  Non-2xx or 3xx responses: 12\n", text + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"} {
		if _, err := readWrk(bad); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

func TestReadReport(t *testing.T) {
	got, err := readReport([]byte(`{"targets":[{"curve":[{"percent":50,"ms":1},{"percent":75,"ms":2},{"percent":80,"ms":9},{"percent":90,"ms":3},{"percent":99,"ms":4}]}]}`))
	if diff := cmp.Diff(quantiles{1, 2, 3, 4}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{"", "{}", `{"targets":[{"curve":[{"percent":50,"ms":1}]}]}`} {
		if _, err := readReport([]byte(bad)); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

func TestReadRows(t *testing.T) {
	text := "outcome,latency_ms\n"
	for i := range 1500 {
		text += []string{"error", "answered", "answered"}[i%3] + "," + strconv.Itoa(1500-i) + "\n"
	}
	took, err := readRows([]byte(text))
	if err != nil || len(took) != 1000 || !slices.IsSorted(took) || took[0] != 1 || took[999] != 1499 {
		t.Errorf("%d: %v", len(took), err)
	}
	for _, bad := range []string{"", "a,b\n1,2\n", "outcome,latency_ms\n", "outcome,latency_ms\nanswered,x\n", "outcome,latency_ms\nanswered,1\n"} {
		if _, err := readRows([]byte(bad)); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

func TestCountsAsWrk(t *testing.T) {
	// Two connections for 40 ms: 20 ms for each answer in the mean.
	got := corrected([]float64{10, 39, 40, 90}, 2, 40*time.Millisecond)
	if diff := cmp.Diff([]float64{10, 30, 39, 40, 50, 70, 90}, got); diff != "" {
		t.Error(diff)
	}
	took := make([]float64, 1000)
	for i := range took {
		took[i] = float64(i + 1)
	}
	if diff := cmp.Diff(quantiles{500, 750, 900, 990}, atPercents(took)); diff != "" {
		t.Error(diff)
	}
	if agree(quantiles{1, 2, 3, 4}, quantiles{1, 2, 3, 4.03}) != nil || agree(quantiles{1, 2, 3, 4}, quantiles{1, 2, 3, 4.1}) == nil {
		t.Error("the report is not held against the records")
	}
}

func TestTell(t *testing.T) {
	wrk := []quantiles{{10, 20, 30, 40}, {11, 20, 30, 40}, {90, 20, 30, 40}}
	load := []quantiles{{11, 20, 31, 43, 0, 0, 0, 0}, {11, 20, 31, 43, 0, 0, 0, 0}, {11, 20, 31, 43, 0, 0, 0, 0}}
	var out bytes.Buffer
	err := tell(&out, "t", wrk, load, 0.05)
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "p99 differs by 7.5 %") || strings.Count(out.String(), "\n") != 4 {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := tell(&out, "t", wrk, load, 0.1); err != nil {
		t.Error(err)
	}
}

func TestWithoutWrkOneLineSaysSo(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-wrk", "/nowhere/wrk"}, &out); err != nil || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "left out") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestTargetIsSpread: the percentiles of the first target are known.
func TestTargetIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := spread()
		var took []float64
		for range 1000 {
			begun := time.Now()
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
			took = append(took, time.Since(begun).Seconds()*1000)
		}
		slices.Sort(took)
		for i, want := range []float64{27.5, 38.75, 45.5, 49.55} {
			if got := took[int(percents[i]*10)]; got < want-0.2 || got > want+0.2 {
				t.Errorf("p%v is %v, want %v", percents[i], got, want)
			}
		}
	})
}
