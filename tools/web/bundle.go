package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// maxPacked is how much a browser may have to fetch, in bytes.
const maxPacked = 120_000

// modules are the packages that web/src imports, by the names it uses.
var modules = map[string]string{
	"preact":               "preact/preact.mjs",
	"preact/hooks":         "preact/hooks.mjs",
	"preact/jsx-runtime":   "preact/jsx-runtime.mjs",
	"@preact/signals":      "signals/signals.mjs",
	"@preact/signals-core": "signals-core/signals-core.mjs",
	"uplot":                "uplot/uPlot.esm.js",
	"uplot.css":            "uplot/uPlot.min.css",
}

// bundle returns the files of dist.
func bundle(source string, vendored []vendor) (map[string][]byte, error) {
	source, err := filepath.Abs(source)
	if err != nil {
		return nil, err
	}
	result := api.Build(api.BuildOptions{
		AbsWorkingDir: source,
		EntryPoints:   []string{"src/app.tsx", "src/theme.ts"},
		Outdir:        "out", // named, never written
		Bundle:        true, Format: api.FormatESModule, Target: api.ES2022, Platform: api.PlatformBrowser,
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true,
		JSX: api.JSXAutomatic, JSXImportSource: "preact",
		LegalComments: api.LegalCommentsNone, // they are in licenses.txt
		Charset:       api.CharsetUTF8,
		Plugins:       []api.Plugin{resolver(filepath.Join(source, "vendor"))},
		TsconfigRaw:   `{"compilerOptions":{"target":"ES2022"}}`,
	})
	if len(result.Errors) > 0 {
		return nil, errors.New(strings.Join(api.FormatMessages(result.Errors, api.FormatMessagesOptions{}), ""))
	}
	if len(result.Warnings) > 0 {
		return nil, errors.New(strings.Join(api.FormatMessages(result.Warnings, api.FormatMessagesOptions{}), ""))
	}
	made := make(map[string][]byte)
	for _, f := range result.OutputFiles {
		made[filepath.Base(f.Path)] = f.Contents
	}
	for _, name := range []string{"index.html", "icon.svg"} {
		if made[name], err = os.ReadFile(filepath.Join(source, name)); err != nil {
			return nil, err
		}
	}
	made["licenses.txt"] = licenses(vendored)
	return made, nil
}

// resolver finds vendored packages by name; nothing else is looked for outside
// web/src.
func resolver(folder string) api.Plugin {
	return api.Plugin{Name: "vendor", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: `^[^./]`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			file, ok := modules[a.Path]
			if !ok {
				if a.Kind == api.ResolveEntryPoint {
					return api.OnResolveResult{}, nil
				}
				return api.OnResolveResult{}, fmt.Errorf("%s is not vendored", a.Path)
			}
			return api.OnResolveResult{Path: filepath.Join(folder, filepath.FromSlash(file))}, nil
		})
	}}
}

// weigh is what all files weigh as a browser fetches them.
func weigh(made map[string][]byte) (int, error) {
	var b bytes.Buffer
	for _, name := range names(made) {
		if name == "licenses.txt" {
			continue // fetched by nobody but who wants to read them
		}
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			return 0, err
		}
		if _, err := z.Write(made[name]); err != nil {
			return 0, err
		}
		if err := z.Close(); err != nil {
			return 0, err
		}
	}
	if b.Len() > maxPacked {
		return 0, fmt.Errorf("the pages have %d bytes gzipped, at most %d are allowed", b.Len(), maxPacked)
	}
	return b.Len(), nil
}

// unsafe are ways to turn text into markup or code. The pages need none of them.
var unsafe = []string{
	"innerHTML", "outerHTML", "insertAdjacentHTML", "dangerouslySetInnerHTML", "document.write", "createContextualFragment",
	"DOMParser", "setHTMLUnsafe", "eval(", "new Function", "javascript:", "localStorage.setItem(\"key", "srcdoc",
}

// forbidden looks for them in the sources.
func forbidden(folder string) error {
	var faults []error
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, word := range unsafe {
			if bytes.Contains(text, []byte(word)) {
				faults = append(faults, fmt.Errorf("%s: %s makes markup or code of text: write text as text", path, word))
			}
		}
		return nil
	})
	return errors.Join(append(faults, err)...)
}
