package depcheck

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestHashstream applies the rules to this module.
func TestHashstream(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	rules := Hashstream()
	own := rules.Own(all)
	if len(own) < 10 || len(all) < 100 {
		t.Fatalf("go list found %d packages, %d of this module", len(all), len(own))
	}
	problems := rules.Graph(all)
	for _, p := range own {
		more, err := rules.Source(p, os.DirFS(p.Dir))
		if err != nil {
			t.Fatal(err)
		}
		problems = append(problems, more...)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// pkg makes a package of the module for the rules to judge.
func pkg(name string, imports ...string) Package {
	for i, path := range imports {
		if own, ok := strings.CutPrefix(path, "./"); ok {
			imports[i] = "github.com/hashstream/hashstream/" + own
		}
	}
	return Package{ImportPath: "github.com/hashstream/hashstream/" + name, Imports: imports, Deps: imports}
}

// needs adds what a package needs indirectly.
func needs(p Package, deps ...string) Package {
	p.Deps = append(slices.Clone(p.Deps), pkg("", deps...).Imports...)
	return p
}

// TestGraphSeesViolations breaks every rule once, beside what is allowed.
func TestGraphSeesViolations(t *testing.T) {
	const pebble, prom, libp2p = "github.com/cockroachdb/pebble/v2", "github.com/prometheus/client_golang/prometheus", "github.com/libp2p/go-libp2p"
	tests := []struct {
		p    Package
		rule string // "" if allowed
	}{
		{pkg("digest", "fmt", "github.com/ipfs/go-cid"), ""},
		{pkg("block", "./digest"), ""},
		{pkg("digest", "./blob"), "layer"},
		{pkg("car", "./index"), "layer"},
		{pkg("blob", "./pack"), "layer"},
		{pkg("index", "./kv"), ""},
		{pkg("index", "./gateway"), "layer"},
		{pkg("streamer", "./dag", "./index", "./pack"), ""},
		{pkg("fetch", "./internal/config"), "layer"},
		{pkg("fetch", "./gateway"), ""},
		{pkg("gateway", "./fetch"), "layer"},
		{pkg("p2p", "./fetch"), "layer"},
		{pkg("p2p/dht", "./p2p"), ""},
		{pkg("ipni/ipnihttp", "./ipni", "net/http"), ""},
		{pkg("ipni", "./ipni/ipnihttp"), "layer"},
		{pkg("surprise"), "layer"},
		{pkg("digest", "os"), "pure"},
		{pkg("unixfs", "net/http"), "pure"},
		{pkg("pack", "os/exec"), "pure"},
		{pkg("streamer", "log"), "pure"},
		{pkg("dag", "flag"), "pure"},
		{pkg("dag", "log/slog", "io/fs"), ""},
		{pkg("blob/fsblob", "os"), ""},
		{pkg("gateway", "net/http", "os"), ""},
		{pkg("fetch", "./kv/memkv"), "backend"},
		{pkg("internal/cli", "./blob/fsblob"), "backend"},
		{pkg("internal/backends", "./blob/fsblob"), ""},
		{pkg("internal/node", "./kv/pebblekv"), ""},
		{pkg("blob/cloudblob", "gocloud.dev/blob"), ""},
		{pkg("internal/node", "gocloud.dev/blob"), "heavy"},
		{pkg("internal/backends", pebble), "heavy"},
		{needs(pkg("kv/pebblekv", pebble), prom), ""},
		{pkg("kv/pgkv", "github.com/jackc/pgx/v5/pgxpool"), ""},
		{pkg("index", "github.com/jackc/pgx/v5"), "heavy"},
		{pkg("gateway", prom), "heavy"},
		{needs(pkg("unixfs", "github.com/ipfs/boxo/files"), prom), "heavy"},
		{needs(pkg("internal/node", "./kv/pebblekv"), pebble, prom), ""},
		{pkg("internal/obs", prom, "go.opentelemetry.io/otel"), ""},
		{pkg("p2p/dht", libp2p), ""},
		{pkg("fetch", libp2p), "heavy"},
		{pkg("ipns", libp2p+"/core/crypto"), ""},
		{pkg("nostr/nostrws", "github.com/coder/websocket"), ""},
		{pkg("fetch", "github.com/coder/websocket"), "heavy"},
		{pkg("internal/node", "github.com/spf13/cobra"), "heavy"},
		{pkg("gateway", "./block", "./car", "./digest"), ""},
		{pkg("gateway", "./dag"), "knows"},
		{pkg("gateway", "./blob"), "knows"},
		{needs(pkg("gateway", "./block"), "./index"), "knows"},
		{pkg("gateway/gatewaytest", "./gateway", "./block", "testing"), ""},
		{pkg("gateway/gatewaytest", "./streamer"), "knows"},
		{pkg("kv/kvtest", "testing"), ""},
		{pkg("kv", "testing"), "testing"},
		{pkg("internal/util"), "name"},
		{pkg("block/types"), "name"},
	}
	for _, test := range tests {
		var rules []string
		for _, problem := range Hashstream().Graph([]Package{test.p, {ImportPath: "fmt", Imports: []string{"os"}}}) {
			rules = append(rules, problem.Rule)
			if problem.Package != test.p.ImportPath {
				t.Errorf("problem of another package: %s", problem)
			}
		}
		if test.rule == "" && len(rules) > 0 || test.rule != "" && !slices.Contains(rules, test.rule) {
			t.Errorf("%s importing %v: %v, want %q", test.p.ImportPath, test.p.Deps, rules, test.rule)
		}
	}
}

func TestBrokenPackageIsReported(t *testing.T) {
	p := pkg("digest")
	p.Error = &struct{ Err string }{"no such package"}
	if got := Hashstream().Graph([]Package{p}); len(got) != 1 || got[0].Rule != "build" {
		t.Errorf("got %v", got)
	}
}

// TestSourceSeesViolations gives one file at a time to the rules.
func TestSourceSeesViolations(t *testing.T) {
	tests := []struct{ name, text, rule string }{
		{"errors", `import "errors"; var ErrX = errors.New("x"); var errY = errors.New("y")`, ""},
		{"wrapped error", `import "fmt"; var ErrX = fmt.Errorf("x: %w", errY)`, ""},
		{"group", `var ( a = 1; b = "x" )`, ""},
		{"assertion", `var _ I = (*T)(nil)`, ""},
		{"regular expression", `import "regexp"; var r = regexp.MustCompile("x")`, ""},
		{"method of a pure result", `import "encoding/base32"; var e = base32.NewEncoding("x").WithPadding(-1)`, ""},
		{"table", `var t = map[string]int{"a": 1}; func f() int { return t["a"] }`, ""},
		{"table of functions", `import "os"; var t = map[string]func(){"a": func() { os.Getpid() }}`, ""},
		{"embed", "import \"embed\"\n//go:embed x\nvar files embed.FS", ""},
		{"embedded text", "import _ \"embed\"\n//go:embed x\nvar text string", ""},
		{"pool", `import "sync"; var p = sync.Pool{New: func() any { return new([8]byte) }}`, ""},
		{"local of the same name", `var t = 1; func f() { t := 2; t = 3; t++ }`, ""},
		{"parameter of the same name", `var t = 1; func f(t map[int]int) { t[1] = 2; delete(t, 1) }`, ""},
		{"field of the same name", `var t = 1; func f(x struct{ t int }) { x.t = 2 }`, ""},
		{"no value", `var n int`, "variable"},
		{"mutex", `import "sync"; var mu = sync.Mutex{}`, "variable"},
		{"atomic", `import "sync/atomic"; var n atomic.Int64`, "variable"},
		{"pointer to once", `import "sync"; var o = &sync.Once{}`, "variable"},
		{"exported", `var Default = 5`, "variable"},
		{"call", `import "time"; var start = time.Now()`, "variable"},
		{"own call", `var x = load(); func load() int { return 1 }`, "variable"},
		{"call in a table", `import "os"; var t = []string{os.TempDir()}`, "variable"},
		{"assigned", `var n = 1; func f() { n = 2 }`, "variable"},
		{"counted", `var n = 1; func f() { n++ }`, "variable"},
		{"assigned in a range", `var n = 1; func f() { for n = range 3 {} }`, "variable"},
		{"element", `var t = map[int]int{}; func f() { t[1] = 2 }`, "variable"},
		{"element of a field", `var t = struct{ a []int }{}; func f() { t.a[1] = 2 }`, "variable"},
		{"delete", `var t = map[int]int{}; func f() { delete(t, 1) }`, "variable"},
		{"clear", `var t = []int{1}; func f() { clear(t[1:]) }`, "variable"},
		{"address", `var n = 1; func f() *int { return &n }`, "variable"},
		{"init", `func init() {}`, "init"},
		{"method init", `func (t T) init() {}`, ""},
		{"blank import", `import _ "net/http/pprof"`, "blank import"},
		{"environment", `import "os"; func f() string { return os.Getenv("X") }`, "environment"},
		{"arguments", `import "os"; func f() int { return len(os.Args) }`, "environment"},
		{"long file", strings.Repeat("\n", 401), "size"},
		{"long package", strings.Repeat("const ( a = 1\n\n)\n", 13), ""},
	}
	for _, test := range tests {
		got := sourceRules(t, pkg("index"), map[string]string{"x.go": "package index\n\n" + test.text + "\n"})
		if test.rule == "" && len(got) > 0 || test.rule != "" && !slices.Contains(got, test.rule) {
			t.Errorf("%s: %v, want %q", test.name, got, test.rule)
		}
	}
}

func sourceRules(t *testing.T, p Package, files map[string]string) []string {
	t.Helper()
	dir := fstest.MapFS{}
	for name, text := range files {
		dir[name] = &fstest.MapFile{Data: []byte(text)}
		p.GoFiles = append(p.GoFiles, name)
	}
	problems, err := Hashstream().Source(p, dir)
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, problem := range problems {
		rules = append(rules, problem.Rule)
	}
	return rules
}

func TestVariableChangedInAnotherFile(t *testing.T) {
	got := sourceRules(t, pkg("index"), map[string]string{
		"a.go": "package index\n\nvar n = 1\n", "b.go": "package index\n\nfunc f() { n = 2 }\n",
	})
	if !slices.Contains(got, "variable") {
		t.Errorf("got %v", got)
	}
}

func TestSizes(t *testing.T) {
	lines := func(n int) string { return "package x\n" + strings.Repeat("// comment\n\nvar _ = 1\n", n-1) }
	if got := codeLines([]byte(lines(100) + "const s = `a\n\nb` /* c\n */ + \"d\"\n")); got != 104 {
		t.Errorf("codeLines = %d, want 104", got)
	}
	for _, test := range []struct {
		name        string
		files, each int
		want        bool
	}{
		{"pack", 12, 100, false}, {"pack", 13, 100, true}, {"cmd/hashstream", 1, 15, false}, {"cmd/hashstream", 1, 16, true},
	} {
		files := map[string]string{}
		for i := range test.files {
			files[string(rune('a'+i))+".go"] = lines(test.each)
		}
		if got := sourceRules(t, pkg(test.name), files); slices.Contains(got, "size") != test.want {
			t.Errorf("%s with %d lines: %v", test.name, test.files*test.each, got)
		}
	}
}

func TestEnvironmentIsForTheConfiguration(t *testing.T) {
	text := "package config\n\nimport \"os\"\n\nfunc f() []string { return os.Environ() }\n"
	if got := sourceRules(t, pkg("internal/config"), map[string]string{"x.go": text}); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}
