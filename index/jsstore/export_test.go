package jsstore_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/jsstore"
	"github.com/hashstream/hashstream/ingest"
)

// TestExportGivesWhatWasImported imports what hash-stream wrote and exports it: the same
// objects, but for what could not be imported, byte for byte.
func TestExportGivesWhatWasImported(t *testing.T) {
	for name, o := range indexes() {
		t.Run(name, func(t *testing.T) {
			store, packs, files, m := stored(t, name)
			h := newHome(packs, files, o.Layout, index.LevelAll)
			if _, err := jsstore.Import(t.Context(), jsstore.NewReader(store, o), h.Home, &jsstore.ImportOptions{Files: h.file}); err != nil {
				t.Fatal(err)
			}
			level := index.LevelMultiple
			if strings.HasSuffix(name, "single") {
				level = index.LevelSingle
			}
			out := memblob.New()
			n, err := jsstore.Export(t.Context(), h.index, out, &jsstore.ExportOptions{Options: *o, Level: level})
			if err != nil {
				t.Fatal(err)
			}
			same, other := 0, 0
			for obj, err := range jsstore.NewReader(store, o).Objects(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case contains(t, jsstore.NewReader(out, o), obj):
					same++
				case obj.Digest.String() == m.InPlace["sub/deep.bin"]: // whose plan is not known
					other++
				case obj.Path == "sub/deep.bin": // inner nodes, which the file does not hold
					other++
				default:
					t.Errorf("%s is not exported", obj.Key)
				}
			}
			if n.Blocks+n.Packs+n.Roots != int64(same) || other > 4 || same < 5 {
				t.Errorf("%+v, %d of it are as they were, %d are not there", n, same, other)
			}
		})
	}
}

// contains reports whether r has the very record, the sub-records in any order.
func contains(t *testing.T, r *jsstore.Reader, want jsstore.Object) bool {
	t.Helper()
	for rec, err := range r.Find(t.Context(), want.Digest) {
		if err != nil {
			t.Fatal(err)
		}
		a, b := jsstore.Encode(rec, want.Format), jsstore.Encode(want.Record, want.Format)
		if bytes.Equal(a, b) || len(want.Sub) > 0 && len(a) == len(b) && equalSub(rec, want.Record) {
			return true
		}
	}
	return false
}

func equalSub(a, b jsstore.Record) bool {
	known := map[string]int{}
	for _, r := range a.Sub {
		for _, s := range append(r.Sub, r) {
			s.Sub = nil
			known[string(jsstore.Encode(s, ""))]++
		}
	}
	for _, r := range b.Sub {
		for _, s := range append(r.Sub, r) {
			s.Sub = nil
			known[string(jsstore.Encode(s, ""))]--
		}
	}
	for _, n := range known {
		if n != 0 {
			return false
		}
	}
	return len(a.Sub) == len(b.Sub)
}

// TestRoundTrip exports what was added here, imports it elsewhere and serves it from there.
func TestRoundTrip(t *testing.T) {
	files := fstest.MapFS{}
	var want []byte
	for i, rng := 0, rand.New(rand.NewPCG(1, 2)); i < 40; i++ {
		b := make([]byte, rng.IntN(200_000))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		files["top/"+string(rune('A'+i))] = &fstest.MapFile{Data: b}
	}
	for _, layout := range []jsstore.Layout{jsstore.Disk, jsstore.S3} {
		for _, level := range []index.Level{index.LevelSingle, index.LevelMultiple} {
			from := newHome(memblob.New(), nil, "", index.LevelAll)
			dst := ingest.Destination{Packs: memblob.New(), Record: func() ingest.Recorder { return index.NewBuilder(from.Keys, index.LevelAll) }}
			res, err := ingest.Add(t.Context(), files, "top", dst, &ingest.Options{PackSize: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			packs := dst.Packs.(*memblob.Store)
			for info, err := range packs.List(t.Context(), "") { // where hash-stream has them
				if err == nil {
					name := strings.TrimSuffix(info.Key, ".car")
					if layout == jsstore.S3 {
						name += "/" + name
					}
					err = packs.Put(t.Context(), "packs/"+name+".car", bytes.NewReader(read(t, packs, info.Key)))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			out, o := memblob.New(), jsstore.Options{Layout: layout, Prefix: "i-"}
			if _, err := jsstore.Export(t.Context(), from.index, out, &jsstore.ExportOptions{Options: o, Level: level}); err != nil {
				t.Fatal(err)
			}
			to := newHome(packs, memblob.New(), layout, index.LevelAll)
			n, err := jsstore.Import(t.Context(), jsstore.NewReader(out, &o), to.Home, &jsstore.ImportOptions{
				Root:    func(c cid.Cid, reason error) {},
				Problem: func(err error) { t.Error(err) },
			})
			if err != nil || n.Roots != 1 || n.Packs < 3 {
				t.Fatalf("%s %s: %+v, %v", layout, level, n, err)
			}
			want = want[:0]
			for i := range 40 {
				want = append(want, files["top/"+string(rune('A'+i))].Data...)
			}
			if got := to.content(t, res.Root); !bytes.Equal(got, want) {
				t.Errorf("%s %s: other bytes are served", layout, level)
			}
		}
	}
}

func TestExportOfAnUnknownRoot(t *testing.T) {
	h := newHome(memblob.New(), nil, "", index.LevelAll)
	o := &jsstore.ExportOptions{}
	o.Roots = append(o.Roots, parse(t, "bafkreibcgb35n7o4exofkpjzlpzjqsfp74gtyubfumsrj5duo37zzwbo3u"))
	if n, err := jsstore.Export(context.Background(), h.index, memblob.New(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v, %v", n, err)
	}
}
