package app

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/testkit"
)

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// TestDesksOpenByRole: what people see and do opens to whom the role of his key
// lets in, on the operators' listener alone.
func TestDesksOpenByRole(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	close(m.release)
	a := keyed(t, m, "0.0.0.0:0", "")
	for _, mount := range a.console.Mounts() {
		method, path, _ := strings.Cut(mount.Pattern, " ")
		if strings.HasPrefix(path, "/ui") || strings.HasSuffix(path, "/session") || strings.HasSuffix(path, "/stream") {
			continue // the page itself, the way in, and what never ends
		}
		line := method + " " + wildcard.ReplaceAllString(path, "main")
		if status, answer := tell(t, a.Addr(), letter{line, annKey, "{}", nil}); status != http.StatusNotFound || !strings.Contains(answer, "Invalid URL") {
			t.Errorf("%s on the listener for all: %d %.200s", line, status, answer)
		}
		for key, want := range map[string]int{"": 401, "sk-mr-wrong": 401, bobKey: 401, slimKey: 403, annKey: 0} {
			status, answer := tell(t, a.AdminAddr(), letter{line, key, "{}", nil})
			if key == slimKey && method == http.MethodGet {
				want = 0 // a viewer may look
			}
			if refused := status == 401 || status == 403; want == 0 && refused || want != 0 && status != want {
				t.Errorf("%s with key %.12q: %d %.200s", line, key, status, answer)
			}
		}
	}
}

// TestStoriesOpenByRole: who may look sees the stories of all on either listener, a
// client's key opens its own on the one for all, and none on the operators'.
func TestStoriesOpenByRole(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	close(m.release)
	a := keyed(t, m, "0.0.0.0:0", "")
	const line = "GET /api/v1/requests"
	for key, want := range map[string][2]int{"": {401, 401}, bobKey: {200, 403}, slimKey: {200, 200}, annKey: {200, 200}} {
		for i, address := range []string{a.Addr(), a.AdminAddr()} {
			if status, answer := tell(t, address, letter{line, key, "", nil}); status != want[i] {
				t.Errorf("listener %d, key %.12q: %d, want %d: %.200s", i, key, status, want[i], answer)
			}
		}
	}
}
