package jsstore_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/jsstore"
	"github.com/hashstream/hashstream/pack"
)

// made is what the fixture says of a store that hash-stream wrote.
type made struct {
	Root    string            `json:"root"`
	Packs   []string          `json:"packs"`
	Small   string            `json:"small"`
	InPlace map[string]string `json:"inplace"` // path → root
}

// fixture unpacks testdata/js-store.tar.gz: what hash-stream wrote, store by store.
func fixture(t testing.TB) (stores map[string]*memblob.Store, about map[string]made) {
	t.Helper()
	file, err := os.Open("testdata/js-store.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	stores = map[string]*memblob.Store{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return stores, about
		}
		if err != nil {
			t.Fatal(err)
		}
		name, key, _ := strings.Cut(h.Name, "/")
		switch {
		case h.Name == "made.json":
			if err := json.NewDecoder(r).Decode(&about); err != nil {
				t.Fatal(err)
			}
		case h.Typeflag == tar.TypeReg:
			if stores[name] == nil {
				stores[name] = memblob.New()
			}
			if err := stores[name].Put(t.Context(), key, r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func parse(t testing.TB, s string) digest.Digest {
	t.Helper()
	d, err := digest.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// indexes is where the indexes of the fixture are.
func indexes() map[string]*jsstore.Options {
	return map[string]*jsstore.Options{
		"disk-single": {Prefix: "index/"}, "disk-multiple": {Prefix: "index/"},
		"s3-single": {Prefix: "idx/", Layout: jsstore.S3}, "s3-multiple": {Prefix: "idx/", Layout: jsstore.S3},
	}
}

func read(t testing.TB, s *memblob.Store, key string) []byte {
	t.Helper()
	obj, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	b, err := io.ReadAll(obj)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestForeign reads everything that hash-stream wrote and writes it again.
func TestForeign(t *testing.T) {
	stores, about := fixture(t)
	for name, o := range indexes() {
		t.Run(name, func(t *testing.T) {
			written, again, objects := stores[name], memblob.New(), 0
			r := jsstore.NewReader(written, o)
			for obj, err := range r.Objects(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				objects++
				want := read(t, written, obj.Key)
				if got := jsstore.Encode(obj.Record, obj.Format); !bytes.Equal(got, want) {
					t.Fatalf("%s: written again as\n%s, not\n%s", obj.Key, got, want)
				}
				n, err := dagjsonAgain(want)
				n = bytes.ReplaceAll(n, []byte(`\u2028`), []byte("\u2028")) // which needs no escape
				if err != nil || !bytes.Equal(n, want) {
					t.Errorf("%s: another implementation writes %s, %v", obj.Key, n, err)
				}
				if err := jsstore.Put(t.Context(), again, obj.Record, obj.Format, o); err != nil {
					t.Fatal(err)
				}
				if _, err := again.Stat(t.Context(), obj.Key); len(obj.Sub) > 0 && err != nil {
					t.Errorf("put under another key than hash-stream's: %v", err)
				}
			}
			listed := 0
			for _, err := range written.List(t.Context(), o.Prefix) {
				if listed++; err != nil {
					t.Fatal(err)
				}
			}
			if objects != listed || objects < 5 {
				t.Errorf("%d of %d objects were read", objects, listed)
			}
			if diff := cmp.Diff(found(t, r, about[name]), found(t, jsstore.NewReader(again, o), about[name])); diff != "" {
				t.Errorf("found in what was written again (-js +ours):\n%s", diff)
			}
		})
	}
}

// dagjsonAgain is the dag-json of go-ipld-prime.
func dagjsonAgain(b []byte) ([]byte, error) {
	node := basicnode.Prototype.Any.NewBuilder()
	if err := dagjson.Decode(node, bytes.NewReader(b)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err := dagjson.Encode(node.Build(), &out)
	return out.Bytes(), err
}

// found looks up every root and pack.
func found(t *testing.T, r *jsstore.Reader, m made) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, name := range append([]string{m.Root, m.Small, m.InPlace["one.bin"]}, m.Packs...) {
		for rec, err := range r.Find(t.Context(), parse(t, name)) {
			if err != nil {
				t.Fatal(err)
			}
			all[name] = append(all[name], string(jsstore.Encode(rec, "")))
		}
	}
	if len(all[m.Root]) == 0 || len(all[m.Small]) == 0 {
		t.Error("nothing is found")
	}
	return all
}

func TestFindMerges(t *testing.T) {
	store, root := memblob.New(), parse(t, "bafkreih46ueeqaytwe34cs4kgxmhzisups6ld7md23mv3ddino7y5o57h4")
	packs := []digest.Digest{parse(t, "bafkreibcgb35n7o4exofkpjzlpzjqsfp74gtyubfumsrj5duo37zzwbo3u"), parse(t, "bafkreiaqmjgpcreloif2zqrkwavxlc54xxc2dz6mido2pohy4auir3yxxy")}
	for _, o := range []*jsstore.Options{{}, {Layout: jsstore.S3}} {
		for _, p := range packs {
			if err := jsstore.Put(t.Context(), store, jsstore.Containing(root, jsstore.Pack(p)), jsstore.MultipleLevel, o); err != nil {
				t.Fatal(err)
			}
		}
		if err := jsstore.Put(t.Context(), store, jsstore.Blob(root, index.Location{Pack: packs[0]}, 5, 6), jsstore.SingleLevel, o); err != nil {
			t.Fatal(err)
		}
		var got []index.Type
		for rec, err := range jsstore.NewReader(store, o).Find(t.Context(), root) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rec.Type)
			if rec.Type == index.Containing && len(rec.Sub) < 2 {
				t.Errorf("%d sub-records", len(rec.Sub))
			}
		}
		if len(got) != 2 {
			t.Errorf("records of types %v", got)
		}
	}
}

func TestPacks(t *testing.T) {
	stores, about := fixture(t)
	for name, o := range map[string]*jsstore.PackOptions{"disk-single": {Prefix: "packs/"}, "s3-multiple": {Prefix: "packs/", Layout: jsstore.S3}} {
		t.Run(name, func(t *testing.T) {
			packs, n := jsstore.NewPacks(stores[name], o), 0
			for info, err := range pack.List(t.Context(), packs) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				if _, err := packs.Stat(t.Context(), pack.Key(info.Digest)); err != nil {
					t.Error(err)
				}
			}
			if n != 8 {
				t.Errorf("%d packs are listed", n)
			}
			for _, p := range about[name].Packs {
				for f, err := range pack.Verify(t.Context(), packs, parse(t, p)) {
					t.Errorf("pack %s: %v, %v", p, f, err)
				}
			}
			d, err := digest.Sum(digest.SHA256, []byte("new"))
			if err == nil {
				err = packs.Put(t.Context(), pack.Key(d), strings.NewReader("new"))
			}
			if err != nil {
				t.Fatal(err)
			}
			key := map[jsstore.Layout]string{"": "packs/" + d.String() + ".car", jsstore.S3: "packs/" + d.String() + "/" + d.String() + ".car"}[o.Layout]
			if got := read(t, stores[name], key); string(got) != "new" {
				t.Errorf("%s holds %q", key, got)
			}
			if err := packs.Delete(t.Context(), pack.Key(d)); err != nil {
				t.Error(err)
			}
			if _, err := packs.Stat(t.Context(), pack.Key(d)); err == nil {
				t.Error("a deleted pack is there")
			}
			if _, err := packs.Get(t.Context(), "other", 0, -1); err == nil {
				t.Error("a key that is no pack's is read")
			}
		})
	}
}

func TestPackExtensions(t *testing.T) {
	store := memblob.New()
	d := parse(t, "bafkreibcgb35n7o4exofkpjzlpzjqsfp74gtyubfumsrj5duo37zzwbo3u")
	if err := store.Put(t.Context(), "p-"+d.String(), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	packs := jsstore.NewPacks(store, &jsstore.PackOptions{Prefix: "p-", Extensions: []string{".car", ""}})
	obj, err := packs.Get(t.Context(), pack.Key(d), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	obj.Close()
	for info, err := range packs.List(t.Context(), "") {
		if err != nil || info.Key != pack.Key(d) {
			t.Errorf("listed %+v, %v", info, err)
		}
	}
}
