package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/explain"
)

// askStory runs the command and returns what came of it.
func askStory(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var stdout bytes.Buffer
	cmd := newExplainCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stdout)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), err
}

// teller is a gateway that knows one request.
func teller(t *testing.T) (url string) {
	t.Helper()
	story := explain.Story{
		ID: "req_1", State: explain.Over, Summary: "Answered in full after 2.0 s.", Class: "chat", Arrived: time.Unix(1, 0),
		Why: []string{"It waited 1.0 s."}, Attempts: []explain.Try{},
	}
	mux := http.NewServeMux()
	problem := func(w http.ResponseWriter, status int, detail string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "detail": detail})
	}
	guard := func(serve http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer secret" {
				problem(w, http.StatusUnauthorized, "No key.")
				return
			}
			serve(w, r)
		}
	}
	mux.HandleFunc("GET /api/v1/requests", guard(func(w http.ResponseWriter, r *http.Request) {
		lines := []explain.Line{}
		if r.URL.Query().Get("limit") != "3" {
			lines = append(lines, explain.Line{ID: "req_1", Class: "chat", Outcome: "served", Queued: 1000, Total: 2000, Reason: "tokens"})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"requests": lines})
	}))
	mux.HandleFunc("GET /api/v1/requests/{id}", guard(func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("id") {
		case "req_1":
			_ = json.NewEncoder(w).Encode(story)
		case "away":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "page":
			_, _ = w.Write([]byte("<html>"))
		default:
			problem(w, http.StatusNotFound, "There is no such request.\x1b[2J")
		}
	}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestExplain(t *testing.T) {
	url := teller(t)
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"req_1 --key secret --url " + url:               "req_1  Answered in full after 2.0 s.\n",
		"req_1 --key secret --url " + url + "/v1/":      "  It waited 1.0 s.\n",
		"req_1 --key-file " + keyFile + " --url " + url: "  class     chat\n",
		"req_1 --json --key secret --url " + url:        `"id":"req_1"`,
		"--key secret --url " + url:                     "req_1  00:00:00  chat   served   1.0 s   tokens  2.0 s",
		"--json --limit 7 --key secret --url " + url:    `"requests":[{"id":"req_1"`,
		"--limit 3 --key secret --url " + url:           "No request has ended yet",
	} {
		if out, err := askStory(t, strings.Fields(line)...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %q, %v; want %q", line, out, err, want)
		}
	}
}

func TestExplainSaysWhatIsWrong(t *testing.T) {
	url := teller(t)
	for line, want := range map[string]struct {
		usage bool
		says  string
	}{
		"a b":                                 {true, "accepts at most 1 arg"},
		"--url gateway":                       {true, "no address of a gateway"},
		"--url http://u:p@127.0.0.1":          {true, "credential"},
		"--limit 0":                           {true, "--limit: 0"},
		"--limit 201":                         {true, "--limit: 201"},
		"--key-file /nowhere":                 {true, "--key-file"},
		"--key a --key-file b":                {true, "exclude each other"},
		"x --url http://127.0.0.1:1":          {false, "say with --url where it listens"},
		"req_1 --url " + url:                  {false, "says 401: No key. Pass a key with --key-file."},
		"req_2 --key secret --url " + url:     {false, "says 404: There is no such request._[2J"},
		"../config --key secret --url " + url: {false, "says 404"},
		"away --key secret --url " + url:      {false, "says 302"},
		"page --key secret --url " + url:      {false, "gave no answer of a gateway"},
	} {
		out, err := askStory(t, strings.Fields(line)...)
		usage := new(usageError)
		if err == nil || out != "" || errors.As(err, &usage) != want.usage || !strings.Contains(err.Error(), want.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, %v; want %+v", line, out, err, want)
		}
	}
}
