package ingest_test

import (
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/pack"
)

// TestDocumentedPack holds the vector of docs/formats/pack.md against a pack.
func TestDocumentedPack(t *testing.T) {
	text, err := os.ReadFile("../docs/formats/pack.md")
	if err != nil {
		t.Fatal(err)
	}
	_, vector, _ := strings.Cut(string(text), "\n## Vector")
	documented := map[string]string{}
	for line := range strings.Lines(vector) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && strings.HasPrefix(line, "    ") {
			documented[name] = strings.TrimSpace(value)
		}
	}
	packs := memblob.New()
	if _, err := ingest.Add(t.Context(), fstest.MapFS{"f": {Data: []byte("hello world")}}, "f", ingest.Destination{Packs: packs}, nil); err != nil {
		t.Fatal(err)
	}
	for info, err := range pack.List(t.Context(), packs) {
		if err != nil {
			t.Fatal(err)
		}
		key := pack.Key(info.Digest)
		obj, err := packs.Get(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(obj)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(data); got != documented["pack"] || key != documented["key"] {
			t.Errorf("pack is\n%s, key\n%s, documented as\n%s\n%s", got, key, documented["pack"], documented["key"])
		}
	}
}
