package cli

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/testkit"
)

// until is a writer that calls seen with all that was written so far.
type until struct {
	text strings.Builder
	seen func(all string)
}

func (u *until) Write(b []byte) (int, error) {
	u.text.Write(b)
	u.seen(u.text.String())
	return len(b), nil
}

var demoPage = regexp.MustCompile(`Look: (http://\S+)/ui/`)

// TestDemoShowsItself: a moment after its start users wait, the console tells of
// them, and an interrupt ends it with a report.
func TestDemoShowsItself(t *testing.T) {
	testkit.LeakCheck(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var state struct {
		Waiting int
		Today   struct{ Finished, Told429 int }
	}
	var page []byte
	said := &until{seen: func(all string) {
		address := demoPage.FindStringSubmatch(all)
		if address == nil || !strings.Contains(all, "gateway    5s") {
			return
		}
		page = get(t, address[1]+"/ui/")
		if err := json.Unmarshal(get(t, address[1]+"/api/v1/console/state"), &state); err != nil {
			t.Error(err)
		}
		stop()
	}}
	var report strings.Builder
	// The port is in use: the demo takes another.
	if status := Run(ctx, []string{"demo", "--listen", taken.Addr().String(), "--users", "40"}, Streams{Out: &report, Err: said}); status != exitOK {
		t.Errorf("status %d: %s", status, said.text.String())
	}
	if state.Waiting == 0 || state.Today.Finished == 0 || !strings.Contains(string(page), "<html") {
		t.Errorf("the console told %+v", state)
	}
	if !regexp.MustCompile(`(?m)^errors +0 `).MatchString(report.String()) {
		t.Error(report.String())
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Error(err)
		return nil
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	defer http.DefaultClient.CloseIdleConnections()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Error(response.Status, err)
	}
	return content
}

func TestDemoRefusesWhatItCannotBe(t *testing.T) {
	for _, flags := range []string{"--users 0", "--users 1001", "--duration -1s", "--duration 2h", "--listen 0.0.0.0:0", "--listen nonsense", "now"} {
		var said strings.Builder
		if status := Run(t.Context(), append([]string{"demo"}, strings.Fields(flags)...), Streams{Out: io.Discard, Err: &said}); status != exitUsage || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%s: status %d: %s", flags, status, said.String())
		}
	}
}
