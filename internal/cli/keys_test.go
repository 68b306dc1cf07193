package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
)

// keyring is a folder for keys that the commands of the test use.
func keyring(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("MILLRACE_STATE_DIR", dir)
	t.Setenv("MILLRACE_CONFIG", "")
	return filepath.Join(dir, "keys.yaml")
}

func TestKeysAreShownOnceAndKeptAsHashes(t *testing.T) {
	path := keyring(t)
	var secrets []string
	for _, line := range []string{"--name app --requests 60/m --seats 4 --weight 2.5", "--name web --tenant app --classes chat,batch --class batch --models gpt-4*,x", "--name third --tokens 5000/m"} {
		status, out, words := do(append([]string{"keys", "create"}, strings.Fields(line)...)...)
		secret := strings.TrimSuffix(out, "\n")
		if status != exitOK || !regexp.MustCompile(`^sk-mr-[0-9A-Za-z]{43}$`).MatchString(secret) || strings.Contains(words, secret) {
			t.Fatalf("%s: status %d, %q, %q", line, status, out, words)
		}
		secrets = append(secrets, secret)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	status, listed, _ := do("keys", "list")
	_, printed, _ := do("config", "print", "--origin")
	if status != exitOK || strings.Count(listed, "\n") != 4 {
		t.Errorf("list: %d %s", status, listed)
	}
	for _, secret := range secrets {
		hash := sha256.Sum256([]byte(secret))
		digits := hex.EncodeToString(hash[:])
		if !strings.Contains(string(kept), digits) || !strings.Contains(listed, digits[:8]) || strings.Contains(listed+printed, digits[:12]) {
			t.Errorf("%s is not kept, or not listed by its first digits alone:\n%s\n%s", digits, kept, listed)
		}
		if strings.Contains(string(kept)+listed+printed, secret[6:]) {
			t.Error("a key is shown again")
		}
	}
	c, err := config.Load(config.Source{})
	if err != nil || len(c.Keys) != 3 {
		t.Fatal(err)
	}
	web := c.Keys[1]
	if web.Tenant != "app" || web.Class != "batch" || len(web.Classes) != 2 || len(web.Models) != 2 || web.Seats != 4 || web.Weight != 2.5 || web.Requests.Count != 60 {
		t.Errorf("got %+v", web)
	}
}

func TestKeysAreRevoked(t *testing.T) {
	path := keyring(t)
	for _, name := range []string{"a", "b"} {
		if status, _, words := do("keys", "create", "--name", name); status != exitOK {
			t.Fatal(words)
		}
	}
	if status, out, words := do("keys", "revoke", "a"); status != exitOK || out != "revoked a; 1 left\n" {
		t.Errorf("%d %s %s", status, out, words)
	}
	open := "--set=listen=0.0.0.0:8080"
	if status, _, words := do("keys", "revoke", "b", open); status != exitUsage || !strings.Contains(words, "create another first") {
		t.Errorf("the last key of an open listener: %d %s", status, words)
	}
	if status, _, words := do("config", "check", open); status != exitOK {
		t.Error(words)
	}
	if status, _, words := do("keys", "revoke", "b"); status != exitOK {
		t.Error(words)
	}
	if status, _, words := do("config", "check", open); status != exitUsage || strings.Count(words, "\n") != 1 || !strings.Contains(words, "millrace keys create") {
		t.Errorf("an open listener without keys: %d %s", status, words)
	}
	if status, _, words := do("keys", "create", "--name", "c", open); status != exitOK {
		t.Errorf("the first key of an open listener: %s", words)
	}
	if err := os.WriteFile(path, []byte("keys:\n  - name: d\n    sha256: 5a1224f6297d2c9cd387bde92c8005a058300264d42d1873ad5953986ec71974\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, words := do("keys", "revoke", "d"); status != exitUsage || !strings.Contains(words, "keys.yaml:2:9: the key d was written by hand") {
		t.Errorf("%d %s", status, words)
	}
}

func TestI2WrongKeysChangeNothing(t *testing.T) {
	path := keyring(t)
	if status, _, words := do("keys", "create", "--name", "app", "--requests", "60/m"); status != exitOK {
		t.Fatal(words)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"create":                                          "--name is missing",
		"create --name app":                               `"app" is taken`,
		"create --name a.b":                               "not a plain name",
		"create --name x --class none":                    `"none" is no class`,
		"create --name x --requests 60":                   "no unit of time",
		"create --name x --weight 0":                      "is zero",
		"create --name x --seats many":                    "not a whole number",
		"create --name x --models g*t":                    "is no pattern",
		"create --name x --tenant ${HOME}/":               "not a plain name",
		"create --name x --tenant app --requests 90/m":    "keep one of them",
		"create --name x --class batch --classes chat":    "not among the classes",
		"create --name x --set limits.unknown=1":          "not a known setting",
		"create --name x extra":                           "belongs to no flag",
		"revoke":                                          "accepts 1 arg",
		"revoke nobody":                                   "there is no key nobody",
		"create --name x --config /nowhere/millrace.yaml": "no such file",
	} {
		status, out, words := do(append([]string{"keys"}, strings.Fields(line)...)...)
		if status != exitUsage || out != "" || !strings.Contains(words, want) {
			t.Errorf("%s: status %d, out %q, words %q", line, status, out, words)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file has changed: %v\n%s", err, after)
	}
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, words := do("keys", "create", "--name", "y"); status != exitError || !strings.Contains(words, "another millrace keys is at work") {
		t.Errorf("two at once: %d %s", status, words)
	}
}

// TestKeysNeedNoProviderKey: who makes keys may lack the gateway's environment.
func TestKeysWithOddModelsAreRevoked(t *testing.T) {
	where := "state_dir=" + t.TempDir()
	for _, args := range [][]string{{"create", "--name", "odd", "--models", "gpt-4#x,a}b"}, {"revoke", "odd"}} {
		var out, errs bytes.Buffer
		if code := Run(t.Context(), append(append([]string{"keys"}, args...), "--set", where), Streams{&out, &errs}); code != exitOK {
			t.Errorf("%v: %d, %s", args, code, errs.String())
		}
	}
}

func TestKeysNeedNoProviderKey(t *testing.T) {
	path := keyring(t)
	file := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(file, []byte("upstreams: [{name: main, api_key: ${NOWHERE_SET}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, words := do("keys", "create", "--name", "a", "-c", file); status != exitOK {
		t.Error(words)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
