// Package depcheck holds the architecture of the project as data and checks it.
//
// [Hashstream] lists the layers, who may know what, where heavy modules live, and
// the limits of style. [Rules.Graph] judges the import graph that [Load] reads with
// go list; [Rules.Source] judges the text of a package. The test of this package
// applies both to the whole module, so a broken rule fails go test. The reasons
// stand in docs/design.md, section 4.
//
// # Errors
//
// A broken rule is a [Problem], not an error. Load fails if go list does.
//
// Rules are read-only and safe for concurrent use.
package depcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Package is what go list tells about a package.
type Package struct {
	ImportPath string
	Dir        string
	Standard   bool     // of the standard library
	DepOnly    bool     // not of the module, only imported
	GoFiles    []string // without tests
	Imports    []string // direct, without tests
	Deps       []string // all that it needs, directly or not
	Error      *struct{ Err string }
}

// Problem is a broken rule.
type Problem struct {
	Package string // import path
	Rule    string // which rule: layer, backend, heavy, …
	Detail  string
}

// String returns one line.
func (p Problem) String() string { return p.Package + ": " + p.Rule + ": " + p.Detail }

// Load lists the packages of the module in dir and everything they import.
func Load(ctx context.Context, dir string) ([]Package, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-deps", "-json=ImportPath,Dir,Standard,DepOnly,GoFiles,Imports,Deps,Error", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("depcheck: go list: %w: %s", err, stderr.Bytes())
	}
	var all []Package
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := d.Decode(&p); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("depcheck: read go list: %w", err)
		}
		all = append(all, p)
	}
}

// Own returns the packages of all that belong to the module.
func (r Rules) Own(all []Package) []Package {
	return slices.DeleteFunc(slices.Clone(all), func(p Package) bool { _, own := r.cut(p.ImportPath); return !own })
}

// Graph checks which package imports which.
func (r Rules) Graph(all []Package) []Problem {
	var problems []Problem
	for _, p := range r.Own(all) {
		name, _ := r.cut(p.ImportPath)
		report := func(rule, format string, args ...any) {
			problems = append(problems, Problem{p.ImportPath, rule, fmt.Sprintf(format, args...)})
		}
		if p.Error != nil {
			report("build", "%s", p.Error.Err)
		}
		r.checkName(name, report)
		r.checkLayer(name, p, report)
		r.checkBackends(name, p, report)
		r.checkHeavy(name, p, report)
		r.checkKnows(name, p, report)
		r.checkTesting(name, p, report)
	}
	return problems
}

// reporter records a problem of the package at hand.
type reporter func(rule, format string, args ...any)

// cut returns an import path relative to the module.
func (r Rules) cut(importPath string) (string, bool) {
	if importPath == r.Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, r.Module+"/")
}

// layer returns the layer of a package: that of the longest entry above it.
func (r Rules) layer(name string) (int, bool) {
	for dir := name; dir != "."; dir = path.Dir(dir) {
		if n, ok := r.Layers[dir]; ok {
			return n, true
		}
	}
	return 0, false
}

func (r Rules) checkName(name string, report reporter) {
	if slices.Contains(r.BadNames, path.Base(name)) {
		report("name", "%q says nothing about what the package is for", path.Base(name))
	}
}

// checkLayer wants imports to point downwards, and the pure layers to touch
// nothing of the machine.
func (r Rules) checkLayer(name string, p Package, report reporter) {
	layer, known := r.layer(name)
	if !known {
		report("layer", "is in no layer: give it one in internal/depcheck/rules.go")
		return
	}
	for _, path := range p.Imports {
		if slices.Contains(r.PureLayers, layer) && within(path, r.Impure) && !within(path, r.Harmless) {
			report("pure", "imports %s, which layer %d must not", path, layer)
		}
		other, own := r.cut(path)
		if !own {
			continue
		}
		above, known := r.layer(other)
		switch {
		case known && above > layer:
			report("layer", "of layer %d imports %s of layer %d", layer, other, above)
		case known && above == layer && slices.Contains(r.ApartLayers, layer) && !related(name, other) && r.Ends[name] != other:
			report("layer", "imports %s: packages of layer %d stand apart", other, layer)
		}
	}
}

func (r Rules) checkBackends(name string, p Package, report reporter) {
	for _, path := range p.Imports {
		other, own := r.cut(path)
		if own && within(other, r.Backends) && !within(name, r.BackendUsers) && !r.sameBackend(name, other) {
			report("backend", "imports the backend %s: only %s may", other, strings.Join(r.BackendUsers, ", "))
		}
	}
}

// sameBackend reports whether two packages are parts of one backend, or one stands
// below the other.
func (r Rules) sameBackend(a, b string) bool {
	return related(a, b) || slices.ContainsFunc(r.Backends, func(dir string) bool { return within(a, []string{dir}) && within(b, []string{dir}) })
}

// checkHeavy keeps heavy modules in their places: nobody else imports them, and
// below the layer of assembly nobody else drags them in through a third module.
func (r Rules) checkHeavy(name string, p Package, report reporter) {
	layer, _ := r.layer(name)
	home := slices.ContainsFunc(r.Heavy, func(h Heavy) bool { return h.home(name) })
	for _, h := range r.Heavy {
		if h.home(name) {
			continue
		}
		for _, path := range p.Imports {
			if within(path, h.Modules) && !within(path, h.Except) {
				report("heavy", "imports %s, which lives in %s", path, strings.Join(h.Homes, ", "))
			}
		}
		if home || layer >= r.Assembly {
			continue
		}
		for _, path := range p.Deps {
			if within(path, h.Modules) && !within(path, h.Except) && !slices.Contains(p.Imports, path) {
				report("heavy", "needs %s through what it imports; it lives in %s", path, strings.Join(h.Homes, ", "))
				break // one is enough to say
			}
		}
	}
}

// checkKnows holds packages with a list of acquaintances to it.
func (r Rules) checkKnows(name string, p Package, report reporter) {
	for whose, known := range r.Knows {
		if !within(name, []string{whose}) {
			continue
		}
		for _, path := range p.Deps {
			other, own := r.cut(path)
			if own && !within(other, known) && !within(other, []string{whose}) {
				report("knows", "knows %s, but %s may know only %s", other, whose, strings.Join(known, ", "))
			}
		}
	}
}

func (r Rules) checkTesting(name string, p Package, report reporter) {
	if slices.Contains(p.Imports, "testing") && !strings.HasSuffix(name, "test") {
		report("testing", "imports testing outside of a …test package")
	}
}

// within reports whether name is one of dirs or below one.
func within(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
	})
}

// related reports whether one package stands below the other.
func related(a, b string) bool { return within(a, []string{b}) || within(b, []string{a}) }
