package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// keysName is the file in the state directory that `millrace keys` writes.
const keysName = "keys.yaml"

// KeysFile is the path of the file that holds the keys made by `millrace keys`.
// It need not exist.
func (c *Config) KeysFile() string { return filepath.Join(c.StateDir, keysName) }

// keysFile reads the keys below dir, behind those of the configuration file;
// what stands in place of the file where it is given.
func (l *loader) keysFile(dir string, instead *string) {
	path := filepath.Join(dir, keysName)
	if instead != nil {
		l.file(path, *instead, "keys")
		return
	}
	switch source, err := read(path); {
	case err == nil:
		l.file(path, source, "keys")
	case !errors.Is(err, fs.ErrNotExist):
		l.fault(Origin{Layer: LayerFile, Name: path}, "state_dir", fail("let this user read it, or name another folder", "%v", err))
	}
}

// stateDir is what state_dir will be once the layers above the file have
// spoken; what is wrong with it is theirs to report.
func (l *loader) stateDir(sets []string) string {
	dir := l.config.StateDir
	if first, _, _ := strings.Cut(l.environment["STATE_DIRECTORY"], ":"); first != "" && !l.said("state_dir") {
		dir = first
	}
	if own := l.environment["MILLRACE_STATE_DIR"]; own != "" {
		dir = own
	}
	for _, set := range sets {
		if path, value, _ := strings.Cut(set, "="); strings.TrimSpace(path) == "state_dir" {
			dir = value
		}
	}
	return strings.TrimSpace(dir)
}

// shared are the settings that the keys of one tenant have in common.
var shared = []string{"weight", "requests", "tokens", "seats"}

// tenants names the tenant of every key that says none, and gives all keys of a
// tenant the limits that one of them has. Two that differ are a fault.
func (l *loader) tenants() {
	said := map[string]leaf{}
	each := func(visit func(id string, t leaf)) {
		for i := range l.config.Keys {
			k := &l.config.Keys[i]
			leaves(reflect.ValueOf(k).Elem(), at("keys", i, ""), rule{}, func(t leaf) {
				key := t.path[strings.LastIndexByte(t.path, '.')+1:]
				if slices.Contains(shared, key) {
					visit(k.Tenant+"."+key, t)
				}
			})
		}
	}
	for i := range l.config.Keys {
		if k := &l.config.Keys[i]; k.Tenant == "" {
			k.Tenant = k.Name
		}
	}
	each(func(id string, t leaf) {
		first, was := said[id]
		switch {
		case t.value.IsZero():
		case !was:
			said[id] = t
		case first.text() != t.text():
			l.wrong(t.path, "keep one of them: the keys of a tenant share its limits", "says %s, but %s says %s", t.text(), l.config.display(first.path), first.text())
		}
	})
	each(func(id string, t leaf) {
		if first, was := said[id]; was && t.value.IsZero() {
			t.value.Set(first.value)
			l.config.origins[t.path] = l.config.Origin(first.path)
		}
	})
}

func (l *loader) checkKeys() {
	names, hashes := map[string]bool{}, map[Hash]string{}
	for i := range l.config.Keys {
		path, k := at("keys", i, ""), &l.config.Keys[i]
		l.checkName(path+".name", k.Name, names)
		if k.Tenant != k.Name && !plainName.MatchString(k.Tenant) {
			l.wrong(path+".tenant", "use up to 64 letters, digits, - and _", "%q is not a plain name", k.Tenant)
		}
		other, taken := hashes[k.SHA256]
		switch {
		case k.SHA256 == Hash{}:
			l.wrong(path+".sha256", "make a key with millrace keys create", "is missing")
		case taken:
			l.wrong(path+".sha256", "make each its own with millrace keys create", "is the hash of %s too", other)
		}
		hashes[k.SHA256] = k.Name
		l.checkRights(path, k)
	}
}

func (l *loader) checkRights(path string, k *Key) {
	l.checkClassName(path+".class", k.Class)
	for i, name := range k.Classes {
		l.checkClassName(path+".classes", name)
		if slices.Contains(k.Classes[:i], name) {
			l.wrong(path+".classes", "name it once", "%q is named twice", name)
		}
	}
	if own := k.Class; own != "" && len(k.Classes) > 0 && !slices.Contains(k.Classes, own) {
		l.wrong(path+".class", "add it to classes", "%q is not among the classes of the key", own)
	}
	for i, model := range k.Models {
		l.checkPattern(path+".models", model)
		if slices.Contains(k.Models[:i], model) {
			l.wrong(path+".models", "name it once", "%q is named twice", model)
		}
	}
	l.most(path+".seats", k.Seats, 1_000_000)
}
