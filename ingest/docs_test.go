package ingest_test

import (
	"encoding/hex"
	"io"
	"testing"
	"testing/fstest"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/formattest"
	"github.com/hashstream/hashstream/pack"
)

// TestDocumentedPack holds the vector of docs/formats/pack.md against a pack.
func TestDocumentedPack(t *testing.T) {
	documented := formattest.Vectors(t, "../docs/formats/pack.md")
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
