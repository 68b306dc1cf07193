package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// vendor is one package of web/vendor, as vendor.json describes it.
type vendor struct {
	Package string            `json:"package"`
	Version string            `json:"version"`
	License string            `json:"license"`
	Folder  string            `json:"folder"`
	Archive string            `json:"archive_sha256"`
	Files   map[string]string `json:"files"` // SHA-256 by name

	text []byte // of the licence
}

// readVendor reads what is vendored and compares every hash.
func readVendor(folder string) ([]vendor, error) {
	list, err := os.ReadFile(filepath.Join(folder, "vendor.json"))
	if err != nil {
		return nil, err
	}
	var all []vendor
	if err := json.Unmarshal(list, &all); err != nil {
		return nil, fmt.Errorf("vendor.json: %w", err)
	}
	var faults []error
	known := map[string]bool{}
	for i := range all {
		faults = append(faults, all[i].check(folder, known))
	}
	for name, file := range modules {
		if !known[file] {
			faults = append(faults, fmt.Errorf("vendor.json names no hash for %s (%s)", file, name))
		}
	}
	return all, errors.Join(faults...)
}

func (v *vendor) check(folder string, known map[string]bool) error {
	var faults []error
	for name, want := range v.Files {
		body, err := os.ReadFile(filepath.Join(folder, v.Folder, name))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != want {
			faults = append(faults, fmt.Errorf("%s/%s is not the recorded one: %x", v.Folder, name, sum))
		}
		known[v.Folder+"/"+name] = true
		if name == "LICENSE" {
			v.text = body
		}
	}
	if len(v.text) == 0 {
		faults = append(faults, fmt.Errorf("%s has no LICENSE", v.Folder))
	}
	return errors.Join(faults...)
}

// licenses is what must go with the bundle.
func licenses(all []vendor) []byte {
	var b bytes.Buffer
	b.WriteString("The console contains these packages.\n")
	for i := range all {
		v := &all[i]
		fmt.Fprintf(&b, "\n%s %s (%s)\n\n%s\n", v.Package, v.Version, v.License, bytes.TrimSpace(v.text))
	}
	return b.Bytes()
}
