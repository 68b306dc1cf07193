package app

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
)

// TestI7LogHoldsNoCredential: whatever is logged, and however it is wrapped, the
// credentials of this configuration and of the one before are masked.
func TestI7LogHoldsNoCredential(t *testing.T) {
	with := func(key string) *config.Config {
		return &config.Config{Upstreams: []config.Upstream{{Name: "a"}, {Name: "b", APIKey: config.NewSecret(key)}}}
	}
	var out bytes.Buffer
	m := newMask(slog.NewJSONHandler(&out, nil))
	log := slog.New(m)
	log.Info("nothing is known yet")
	m.learn(with("first-credential"))
	m.learn(with("second-credential"))
	for _, key := range []string{"first-credential", "second-credential"} {
		log.Info("the key is "+key, "text", "Bearer "+key, "error", errors.New("sent "+key), //nolint:sloglint // on purpose
			"header", http.Header{"Authorization": {key}}, "number", 7)
		log.With("always", key).WithGroup("g").Info("grouped", "key", key)
		log.Info("nested", slog.Group("in", "key", key))
	}
	for _, key := range []string{"first-credential", "second-credential"} {
		if strings.Contains(out.String(), key) {
			t.Errorf("%s is told in\n%s", key, out.String())
		}
	}
	if n := strings.Count(out.String(), `"number":7`); n != 2 || strings.Count(out.String(), "***") < 10 {
		t.Errorf("something was lost:\n%s", out.String())
	}
}
