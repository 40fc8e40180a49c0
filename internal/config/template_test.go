package config

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write template.toml from the comments in sections.go")

// ignoreOrigin leaves out what differs between a default and a loaded Config.
var ignoreOrigin = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "Home", "File")}

// TestTemplate keeps the file that init writes equal to the comments in the code.
func TestTemplate(t *testing.T) {
	want := generate(t)
	if *update {
		if err := os.WriteFile("template.toml", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(Template())); diff != "" {
		t.Errorf("template.toml is out of date, run: go test ./internal/config -run TestTemplate -update\n%s", diff)
	}
}

// generate writes the template from the syntax tree of sections.go.
func generate(t *testing.T) []byte {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), "sections.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}        // type to comment
	keys := map[string]map[string]string{} // type to field to comment
	for _, decl := range tree.Decls {
		gen := decl.(*ast.GenDecl)
		spec := gen.Specs[0].(*ast.TypeSpec)
		sections[spec.Name.Name] = gen.Doc.Text()
		keys[spec.Name.Name] = map[string]string{}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			keys[spec.Name.Name][f.Names[0].Name] = f.Doc.Text()
		}
	}
	var b bytes.Buffer
	b.WriteString("# Hashstream's configuration. Every key is listed with its default, commented out.\n" +
		"# The variable HASHSTREAM_SECTION_KEY overrides a key, options of a command override both.\n")
	c := Default("")
	for section, v := range reflect.ValueOf(&c).Elem().Fields() {
		tag := section.Tag.Get("toml")
		if !section.IsExported() || tag == "-" {
			continue
		}
		fmt.Fprintf(&b, "\n%s[%s]\n", comment(t, tag, sections[section.Type.Name()]), tag)
		for f, value := range v.Fields() {
			name := f.Tag.Get("toml")
			fmt.Fprintf(&b, "\n%s#%s = %s\n", comment(t, tag+"."+name, keys[section.Type.Name()][f.Name]), name, literal(value))
		}
	}
	return b.Bytes()
}

func comment(t *testing.T, name, doc string) string {
	t.Helper()
	if doc == "" {
		t.Errorf("%s has no comment in sections.go", name)
	}
	var b strings.Builder
	for line := range strings.Lines(doc) {
		b.WriteString("# " + line)
	}
	return b.String()
}

// TestTemplateIsDefault reads the template as it is and with every key active.
func TestTemplateIsDefault(t *testing.T) {
	active := strings.ReplaceAll(string(Template()), "\n#", "\n") // prose becomes "\n prose" …
	var lines []string
	for line := range strings.Lines(active) {
		if !strings.HasPrefix(line, " ") {
			lines = append(lines, line)
		}
	}
	for name, text := range map[string]string{"inactive": string(Template()), "active": strings.Join(lines, "")} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.WriteFile(filepath.Join(home, FileName), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Load(home, "", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Default(home), got, ignoreOrigin); diff != "" {
				t.Errorf("the template changes the defaults:\n%s", diff)
			}
			want := 0
			if name == "active" {
				want = len(Keys())
			}
			if len(got.origins) != want {
				t.Errorf("%d keys were set, want %d", len(got.origins), want)
			}
		})
	}
}

// TestDescribe reads the description back: it must be the same configuration.
func TestDescribe(t *testing.T) {
	home := t.TempDir()
	c, err := Load(home, "", []string{"HASHSTREAM_GATEWAY_TRUSTED_PROXIES=10.0.0.0/8, ::1", `HASHSTREAM_GATEWAY_TLS_CERT=a"b\c`, "HASHSTREAM_GATEWAY_TLS_KEY=k"},
		map[string]string{"gateway.rate": "0.25"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home, "described.toml")
	if err := os.WriteFile(file, []byte(c.Describe()), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Load(home, file, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Describe())
	}
	if diff := cmp.Diff(c, again, ignoreOrigin); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"# HASHSTREAM_GATEWAY_TLS_KEY\n", "# command line\n", "# default\n", "# file: none"} {
		if !strings.Contains(c.Describe(), want) {
			t.Errorf("no %q in:\n%s", want, c.Describe())
		}
	}
}
