package peer

import "testing"

func TestI4Private(t *testing.T) {
	for host, want := range map[string]bool{
		"":                          true,
		"localhost":                 true,
		"LocalHost:8080":            true,
		"app.localhost:8080":        true,
		"127.0.0.1":                 true,
		"127.0.0.1:8080":            true,
		"192.168.1.5:8080":          true,
		"8.8.8.8":                   true,
		"[::1]":                     true,
		"[::1]:8080":                true,
		"[fe80::1%25eth0]:80":       true,
		"millrace":                  true,
		"millrace:8080":             true,
		"host.docker.internal":      true,
		"host.docker.Internal:8080": true,

		"evil.example":              false,
		"evil.example:8080":         false,
		"evil.example.":             false,
		"com.":                      false,
		"localhost.evil.example:80": false,
		"internal.evil.example":     false,
		"evillocalhost.example":     false,
		"127.0.0.1.evil.example":    false,
		"127.0.0.1.nip.io:8080":     false,
		"127.0.0.1.":                false,
		"[evil.example]:80":         false,
		"[evil]":                    false,
		"evil.notinternal":          false,
		"printer.local":             false,
	} {
		if got := Private(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = Private("127.0.0.1:8080") && Private("localhost:8080") && Private("[::1]:8080") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
