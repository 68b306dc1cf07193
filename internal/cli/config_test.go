package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
)

func TestConfigInit(t *testing.T) {
	keyring(t)
	t.Setenv("OPENAI_API_KEY", "sk-story-1")
	path := filepath.Join(t.TempDir(), "m.yaml")
	if status, out, words := do("config", "init", path); status != exitOK || !strings.Contains(out, path) {
		t.Fatal(words)
	}
	if status, out, words := do("config", "check", "-c", path); status != exitOK || words != "" {
		t.Errorf("what init writes is not sound: %s%s", out, words)
	}
	written, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(written), "# yaml-language-server: $schema=./"+schemaName+"\n") {
		t.Errorf("%v\n%s", err, written)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, words := do("config", "init", path)
	if kept, err := os.ReadFile(path); status != exitUsage || err != nil || string(kept) != "mine" {
		t.Errorf("it wrote over a file: %d %s", status, words)
	}
	if status, _, _ := do("config", "init", path+".2", "more"); status != exitUsage {
		t.Error("two files")
	}
}

func TestConfigPrintTakesFlags(t *testing.T) {
	keyring(t)
	t.Setenv("MAX_REQUESTS_PER_MINUTE", "7")
	status, out, words := do("config", "print", "--origin", "--set", "upstreams.main.quota.requests=100/m", "--set=endpoints.chat.wait=1s")
	for _, line := range []string{"upstreams.main.quota.requests: 100/m  # --set\n", "endpoints.chat.wait: 1s  # --set\n"} {
		if status != exitOK || !strings.Contains(out, line) {
			t.Errorf("%d %s lacks %s", status, words, line)
		}
	}
}

func TestConfigSchemaHasEverySetting(t *testing.T) {
	keyring(t)
	status, out, words := do("config", "schema")
	var root object
	if err := json.Unmarshal([]byte(out), &root); status != exitOK || err != nil {
		t.Fatal(words, err)
	}
	if root["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$schema is %v", root["$schema"])
	}
	c, err := config.Load(config.Source{Environ: []string{}, Set: []string{"state_dir=" + t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Settings() {
		leaf := root
		for part := range strings.SplitSeq(s.Key, ".") {
			leaf = below(leaf, part)
		}
		if leaf == nil || leaf["description"] == "" || leaf["type"] == nil && leaf["enum"] == nil && leaf["anyOf"] == nil {
			t.Errorf("%s: %v", s.Key, leaf)
		}
	}
	walk(t, "", root)
}

// below is the schema of a key, of a list's entry or of a map's.
func below(o object, key string) object {
	if properties, ok := o["properties"].(object); ok {
		next, _ := properties[key].(object)
		return next
	}
	for _, of := range []string{"items", "additionalProperties"} {
		if next, ok := o[of].(object); ok {
			return next
		}
	}
	return nil
}

// walk wants every section closed, and every pattern to be one.
func walk(t *testing.T, path string, o object) {
	t.Helper()
	if _, section := o["properties"]; section && o["additionalProperties"] != false {
		t.Errorf("%s takes unknown keys", path)
	}
	if p, ok := o["pattern"].(string); ok {
		if _, err := regexp.Compile(p); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for key, part := range o {
		if next, ok := part.(object); ok {
			walk(t, path+"/"+key, next)
		}
	}
}
