package catalog

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/formattest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// TestDocumentedVectors compares the page of the format with the encoder.
func TestDocumentedVectors(t *testing.T) {
	documented := formattest.Vectors(t, "../../docs/formats/catalog.md")
	for name, e := range sampleEntries(t) {
		if got := hex.EncodeToString(e.Encode()); got != documented[name] {
			t.Errorf("%s is\n%s, documented as\n%s", name, got, documented[name])
		}
	}
}

func sampleEntries(t testing.TB) map[string]Entry {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, []byte("hello world"))
	if err != nil {
		t.Fatal(err)
	}
	loc := index.Location{Path: "/data/log.txt", Version: "b-5-7"}
	return map[string]Entry{
		"entry-file":    {Kind: File, Size: 11, CID: d.CID(cid.Raw), Location: loc},
		"entry-young":   {Kind: File, Size: 11, CID: d.CID(cid.Raw), Location: loc, Young: true},
		"entry-dir":     {Kind: Dir},
		"entry-symlink": {Kind: Symlink, Target: "../a"},
	}
}

// FuzzEntry decodes anything; what decodes encodes to the same bytes.
func FuzzEntry(f *testing.F) {
	for _, e := range sampleEntries(f) {
		f.Add(e.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err == nil && string(e.Encode()) != string(b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, e, e.Encode())
		}
	})
}

// FuzzSame decodes anything; what decodes encodes to the same bytes.
func FuzzSame(f *testing.F) {
	for _, e := range sampleEntries(f) {
		if e.CID.Defined() {
			f.Add(Same{e.CID, "/data/a"}.Encode())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSame(b)
		if err == nil && string(s.Encode()) != string(b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, s, s.Encode())
		}
	})
}

func ExampleNewFS() {
	ctx, keys, id := context.Background(), memkv.New(), ID{1}
	keys.Batch(ctx, []kv.Op{
		kv.Put(Key(id, "photos"), Entry{Kind: Dir}.Encode()),
		kv.Put(Key(id, "photos/latest"), Entry{Kind: Symlink, Target: "a.jpg"}.Encode()),
	})
	fs.WalkDir(NewFS(ctx, keys, id), ".", func(name string, _ fs.DirEntry, err error) error {
		fmt.Println(name, err)
		return nil
	})
	// Output:
	// . <nil>
	// photos <nil>
	// photos/latest <nil>
}
