package openai

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestModels(t *testing.T) {
	const key = "sk-canary-0123456789"
	answer, status := `{"object":"list","data":[{"id":"a"},{"id":"b"},{"id":""}]}`, 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/v1/models" || r.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("%s %s, authorization %q", r.Method, r.URL.Path, r.Header.Get("Authorization"))
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	c, err := New(Options{BaseURL: server.URL + "/v1", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names, err := c.Models(t.Context())
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, bad := range []struct {
		name   string
		change func()
	}{
		{"refused", func() { status = 401 }},
		{"not JSON", func() { status, answer = 200, "<html>" }},
		{"no server", server.Close},
	} {
		bad.change()
		if _, err := c.Models(t.Context()); err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", bad.name, err)
		}
	}
}
