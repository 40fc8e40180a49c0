package origin

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// TestDocumentedVectors compares the page of the format with the encoder.
func TestDocumentedVectors(t *testing.T) {
	text, err := os.ReadFile("../docs/formats/catalog.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(text), "\n## Vectors")
	documented := map[string]string{}
	for line := range strings.Lines(tail) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(line, "    ") {
			documented[name] = strings.TrimSpace(value)
		}
	}
	for name, e := range sampleEntries(t) {
		if got := hex.EncodeToString(e.encode()); got != documented[name] {
			t.Errorf("%s is\n%s, documented as\n%s", name, got, documented[name])
		}
	}
}

func sampleEntries(t testing.TB) map[string]entry {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, []byte("hello world"))
	if err != nil {
		t.Fatal(err)
	}
	loc := index.Location{Path: "/data/log.txt", Version: "b-5-7"}
	return map[string]entry{
		"entry-file":    {kind: kindFile, size: 11, cid: d.CID(cid.Raw), location: loc},
		"entry-dir":     {kind: kindDir},
		"entry-symlink": {kind: kindSymlink, target: "../a"},
	}
}

// FuzzEntry decodes anything; what decodes encodes to the same bytes.
func FuzzEntry(f *testing.F) {
	for _, e := range sampleEntries(f) {
		f.Add(e.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err == nil && string(e.encode()) != string(b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, e, e.encode())
		}
	})
}

// FuzzSource decodes anything without harm.
func FuzzSource(f *testing.F) {
	f.Add(Status{Source: Source{URL: "/data", Level: index.LevelAll}, Files: 3, packs: []string{"x"}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := decodeSource(b)
		if err != nil {
			return
		}
		again, err := decodeSource(st.encode())
		if err != nil || again.Root != st.Root || again.URL != st.URL {
			t.Errorf("%s decodes to %+v, then to %+v, %v", b, st, again, err)
		}
	})
}
