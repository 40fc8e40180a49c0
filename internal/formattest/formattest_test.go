package formattest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func page(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestVectors(t *testing.T) {
	got := Vectors(t, page(t, "# X\n\n    before  1\n\n## Vectors\n\nOf x:\n\n    a      01\n    b key  02\n    none\n  text  x\n\nMore:\n\n    c  x  y\n"))
	if diff := cmp.Diff(map[string]string{"a": "01", "b key": "02", "c": "x  y"}, got); diff != "" {
		t.Error(diff)
	}
}

// failing is a test that notes its failure.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper() {}

func (f *failing) Fatal(...any) {
	f.failed = true
	runtime.Goexit()
}

func (f *failing) Fatalf(string, ...any) { f.Fatal() }

func TestNoVectors(t *testing.T) {
	for _, name := range []string{page(t, "    a  01\n"), page(t, "\n## Vectors\n\na  01\n"), filepath.Join(t.TempDir(), "absent")} {
		f := &failing{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Vectors(f, name)
		}()
		if <-done; !f.failed {
			t.Errorf("%s: no failure", name)
		}
	}
}
