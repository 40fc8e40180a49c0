// Package formattest reads the vectors at the end of the pages in docs/formats, which tests hold
// against the encoders.
//
// # Errors
//
// What goes wrong ends the test.
package formattest

import (
	"os"
	"strings"
	"testing"
)

// Vectors returns the lines "    name  value" behind the heading "Vector" or "Vectors" of a page, by
// their names. There must be some.
func Vectors(tb testing.TB, page string) map[string]string {
	tb.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		tb.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(text), "\n## Vector")
	found := map[string]string{}
	for line := range strings.Lines(tail) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && strings.HasPrefix(line, "    ") {
			found[name] = strings.TrimSpace(value)
		}
	}
	if len(found) == 0 {
		tb.Fatalf("formattest: %s has no vectors", page)
	}
	return found
}
