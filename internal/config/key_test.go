package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	hash1 = "5a1224f6297d2c9cd387bde92c8005a058300264d42d1873ad5953986ec71974"
	hash2 = "35f067c80ddcae2efec21a0f95d66f3ef89ace80ec62d5cce5bb1913b34a8447"
)

// keep writes a file of keys and returns its folder.
func keep(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keysName), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestKeysOfBothFiles(t *testing.T) {
	dir := keep(t, "keys:\n  - {name: b, sha256: "+hash2+", tenant: a}\n")
	source := "state_dir: " + dir + "\nkeys: [{name: a, sha256: " + hash1 + ", weight: 2, requests: 60/m, seats: 3}]\n"
	c := mustLoad(t, source, "MILLRACE_KEYS_B_CLASS=batch")
	var got []string
	for i, k := range c.Keys {
		got = append(got, fmt.Sprint(k.Name, " ", k.SHA256, " ", k.Tenant, " ", k.Class, " ", k.Weight, " ", k.Requests, " ", k.Seats, " ", filepath.Base(c.Origin(at("keys", i, "seats")).String())))
	}
	want := []string{"a 5a1224f6… a  2 60/m 3 millrace.yaml:2:126", "b 35f067c8… a batch 2 60/m 3 millrace.yaml:2:126"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c.KeysFile() != filepath.Join(dir, keysName) {
		t.Error(c.KeysFile())
	}
	other := keep(t, "")
	for name, s := range map[string]Source{
		"flag":     {Set: []string{"state_dir=" + dir}, Environ: []string{"MILLRACE_STATE_DIR=" + other}},
		"variable": {Environ: []string{"MILLRACE_STATE_DIR=" + dir}},
		"manager":  {Environ: []string{"STATE_DIRECTORY=" + dir + ":" + other}},
	} {
		if c, err := Load(s); err != nil || len(c.Keys) != 1 || c.KeysFile() != filepath.Join(dir, keysName) {
			t.Errorf("state_dir by %s: %v", name, err)
		}
	}
}

func TestI2FileOfKeysIsReadStrictly(t *testing.T) {
	for source, want := range map[string]string{
		"keys: [{name: a, sha256: " + hash1 + ", tenat: x}]": "keys.yaml:1:92: keys.a.tenat: is not a known key; did you mean tenant?",
		"keys:":                     "keys.yaml:1:7: keys: is blank",
		"listen: 127.0.0.1:1":       "keys.yaml:1:1: listen: does not belong here: this file holds keys alone",
		"keys: [{name: a}]":         "keys.yaml:1:8: keys.a.sha256: is missing",
		"keys: [{name: a, name":     "keys.yaml:1:",
		"keys: [{name: a b}]\nx: 1": "x: does not belong here",
	} {
		_, err := load("state_dir: " + keep(t, source))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, keysName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := load("state_dir: " + dir); err == nil || !strings.Contains(err.Error(), "let this user read it") {
		t.Errorf("a folder in place of the file: %v", err)
	}
}

// TestI4SafeStart: beyond loopback with a key only.
func TestI4SafeStart(t *testing.T) {
	keys := "keys: [{name: a, sha256: " + hash1 + "}]\n"
	empty := keep(t, "")
	for _, test := range []struct {
		source   string
		env      []string
		ok       bool
		loopback bool
	}{
		{source: "", ok: true, loopback: true},
		{source: keys, ok: true, loopback: true},
		{source: "listen: 0.0.0.0:8080\n"},
		{source: "listen: 0.0.0.0:8080\nkeys: []\n"},
		{source: "listen: 0.0.0.0:8080\n" + keys, ok: true},
		{source: "listen: '[::]:8080'\n" + keys, ok: true},
		{source: "listen: :8080\n" + keys, ok: true},
		{source: "", env: []string{"MILLRACE_LISTEN=10.1.2.3:80"}},
		{source: keys, env: []string{"MILLRACE_LISTEN=10.1.2.3:80"}, ok: true},
		{source: "admin: {listen: 0.0.0.0:9}\n"},
		{source: "admin: {listen: 0.0.0.0:9}\n" + keys, ok: true, loopback: true},
		{source: "listen: 0.0.0.0:8080\nkeys: [{name: a, sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}]\n"},
		{source: "listen: 0.0.0.0:8080\n" + keys + "upstreams: [{name: m, api_key: sk-1234}]\n"},
		{source: "listen: 0.0.0.0:8080\n" + keys + "upstreams: [{name: m, api_key: ''}]\n"},
	} {
		c, err := load(test.source, append(test.env, "MILLRACE_STATE_DIR="+empty)...)
		if (err == nil) != test.ok {
			t.Errorf("%q %q: %v", test.source, test.env, err)
		} else if err == nil && c.AllLoopback() != test.loopback {
			t.Errorf("%q %q: all on loopback %v", test.source, test.env, c.AllLoopback())
		}
	}
	dir := keep(t, keys)
	if _, err := load("listen: 0.0.0.0:1\nstate_dir: " + dir); err != nil {
		t.Error("the keys of the file of keys do not count:", err)
	}
}

func TestI3KeyIsNeverRepeated(t *testing.T) {
	for _, text := range []string{"hunter2hunter2", "sk-mr-hunter2hunter2", strings.Repeat("hunter2x", 8), "\"hunter2hunter2", "[hunter2]", "{hunter2: 1}", hash1[:63] + "hunter2"} {
		_, err := load("keys:\n  - {name: a, sha256: " + text + "}\n")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
	c := mustLoad(t, "keys: [{name: a, sha256: "+hash1+"}]")
	if out := fmt.Sprintf("%v %+v %v", c.Settings(), c, c.Keys); strings.Contains(out, hash1[8:]) {
		t.Error("the whole hash is printed")
	}
	_, err := Load(Source{Environ: []string{}, Set: []string{"upstreams.main.api_key=hunter2 hunter2", "keys.a.sha256=hunter2", "hunter2", "upstreams.main.api_keys=hunter2"}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("flags: %v", err)
	}
}

func TestLoadKeysForgivesWhatIsNotAboutKeys(t *testing.T) {
	dir := keep(t, "keys: [{name: a, sha256: "+hash1+"}]")
	file := filepath.Join(dir, "m.yaml")
	broken := "listen: 0.0.0.0:80\nstate_dir: " + dir + "\nupstreams: [{name: m, api_key: ${ABSENT}}]\nlimits: {hold: 5}\nroutes: [{model: x, upstreams: [none]}]\n"
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadKeys(Source{File: file, Environ: []string{}})
	if err != nil || len(c.Keys) != 1 {
		t.Fatalf("%v", err)
	}
	for _, bad := range []string{"keys: [{name: a}]", "keys: [", "keys: [{name: a, sha256: " + hash1 + ", class: none}]"} {
		if _, err := LoadKeys(Source{File: file, Environ: []string{}, Keys: &bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	for _, source := range []string{"upstreams: []", "upstreams: [{}]", "endpoints: [{}]", "routes: [{}]", "upstreams: 1", "classes: {chat: 1}"} {
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeys(Source{File: file, Environ: []string{}}); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestTenantsShareTheirLimits(t *testing.T) {
	for field, values := range map[string][2]string{"weight": {"2", "3"}, "requests": {"60/m", "1/s"}, "tokens": {"5/m", "6/m"}, "seats": {"1", "2"}} {
		source := "keys:\n  - {name: a, sha256: " + hash1 + ", tenant: t, " + field + ": " + values[0] + "}\n  - {name: b, sha256: " + hash2 + ", tenant: t, " + field + ": %s}\n"
		if _, err := load(fmt.Sprintf(source, values[0])); err != nil {
			t.Errorf("equal %s: %v", field, err)
		}
		if _, err := load(fmt.Sprintf(source, values[1])); err == nil || !strings.Contains(err.Error(), "keys.b."+field+": says "+values[1]+", but keys.a."+field+" says "+values[0]) {
			t.Errorf("different %s: %v", field, err)
		}
	}
}

func TestProxies(t *testing.T) {
	c := mustLoad(t, "trusted_proxies: [10.0.0.0/8, 192.168.1.7, '::1', 'fd00::/8']")
	if got := fmt.Sprint(c.Proxies()); got != "[10.0.0.0/8 192.168.1.7/32 ::1/128 fd00::/8]" {
		t.Error(got)
	}
}

func TestCacheIsATimeOrOff(t *testing.T) {
	for text, want := range map[string]time.Duration{"false": 0, "0": 0, "0s": 0, "5m": 5 * time.Minute} {
		c := mustLoad(t, oneUpstream+"routes: [{model: x, upstreams: [main], cache: "+text+"}]")
		if c.Routes[0].Cache != want {
			t.Errorf("%s is read as %s", text, c.Routes[0].Cache)
		}
	}
}
