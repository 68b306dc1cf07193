package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
)

// TestDatedInterface: an upstream that wants api-version in the query of every call and
// its key in the header api-key, as Azure's deployments do, answers through the gateway.
func TestDatedInterface(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		h := r.Header
		if r.URL.Path != "/openai/deployments/gpt/chat/completions" || r.URL.RawQuery != "api-version=2024-10-21" || h.Get("Api-Key") != "azure-key-of-the-test" || h["Authorization"] != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"code":"401","message":"Access denied"}}`)
			return
		}
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"done"}}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`)
	}))
	t.Cleanup(up.Close)
	folder := t.TempDir()
	file := filepath.Join(folder, "millrace.yaml")
	text := "upstreams: [{name: main, base_url: '" + up.URL + "/openai/deployments/gpt?api-version=2024-10-21', api_key: azure-key-of-the-test}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Source{File: file, Listen: "127.0.0.1:0", Environ: []string{"MILLRACE_STATE_DIR=" + filepath.Join(folder, "state")}})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := running(t, c)
	if status, answer := ask(t, a, question); status != http.StatusOK || !strings.Contains(answer, "done") {
		t.Errorf("%d %s", status, answer)
	}
}
