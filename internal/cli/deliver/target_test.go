package deliver

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/internal/cli/app"
)

func TestParseTarget(t *testing.T) {
	const c = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
	tests := []struct {
		in   string
		path []string
		ok   bool
	}{
		{c, nil, true},
		{c + "/", nil, true},
		{"/ipfs/" + c + "/a/b", []string{"a", "b"}, true},
		{"ipfs://" + c + "/a%20b//c%2Fd", []string{"a b", "c/d"}, true},
		{c + "/a%20b", []string{"a%20b"}, true},
		{c + "/..", []string{".."}, true},
		{"ipfs://" + c + "/%zz", nil, false},
		{"", nil, false},
		{"/", nil, false},
		{"ipfs://", nil, false},
		{c + "x", nil, false},
	}
	for _, tt := range tests {
		sel, err := parseTarget(tt.in)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, app.ErrUsage) {
			t.Errorf("%q: error %v", tt.in, err)
		}
		if err == nil && (sel.Root.String() != c || !cmp.Equal(sel.Path, tt.path)) {
			t.Errorf("%q: %s %q", tt.in, sel.Root, sel.Path)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("ipfs://bafkqaaa/a%2f/b")
	f.Add("/ipfs/bafkqaaa//")
	f.Add("ipfs://bafkqaaa/%2f")
	f.Add("bafkqaaa/..")
	f.Fuzz(func(t *testing.T, s string) {
		sel, err := parseTarget(s)
		if err != nil {
			return
		}
		// What is made of it by default is a name in the current directory.
		for _, name := range []string{defaultName(sel), defaultName(sel) + ".car"} {
			if strings.Contains(name, "/") || !filepath.IsLocal(name) || name == "." {
				t.Errorf("%q is written to %q", s, name)
			}
		}
	})
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:8080": "http://127.0.0.1:8080",
		"http://[::]:80":        "http://127.0.0.1:80",
		"https://0.0.0.0:443":   "https://127.0.0.1:443",
		"http://10.0.0.7:1":     "http://10.0.0.7:1",
	} {
		if got := reachable(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
