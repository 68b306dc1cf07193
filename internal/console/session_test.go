package console_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/testkit"
)

// TestSessionsOfOneHost: who logs in to one gateway stays logged in to another of the
// same host, although browsers do not tell ports apart.
func TestSessionsOfOneHost(t *testing.T) {
	testkit.LeakCheck(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	var urls []string
	for range 2 {
		server := httptest.NewServer(newSite(t, true, console.Options{}).mux)
		defer server.Close()
		urls = append(urls, server.URL)
		resp, err := client.Post(server.URL+"/api/v1/console/session", "application/json", strings.NewReader(`{"key":"view"}`))
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Fatalf("login: %d", resp.StatusCode)
		}
	}
	for i, url := range urls {
		resp, err := client.Get(url + statePath)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Errorf("gateway %d: %d", i+1, resp.StatusCode)
		}
	}
}

// TestKeysOfClientsAreToldTheRole: whose key asks models alone is not left to think that it was mistyped.
func TestKeysOfClientsAreToldTheRole(t *testing.T) {
	s := newSite(t, true, console.Options{})
	for name, w := range map[string]*httptest.ResponseRecorder{
		"login":   s.ask("POST", "/api/v1/console/session", `{"key":"client"}`),
		"program": s.ask("GET", statePath, "", "Authorization", "Bearer client"),
	} {
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "role") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
