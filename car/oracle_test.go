package car_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	gocar "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
	"github.com/ipld/go-car/v2/index"
	"github.com/ipld/go-car/v2/storage"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// mixed returns blocks of several codecs, hash functions and sizes.
func mixed(t testing.TB) []block.Block {
	var all []block.Block
	for i, b := range blocksOf(t, 10, 0, 4000, 100_000, 300_000, 31, 32, 33, 1) {
		code := []digest.Code{digest.SHA256, digest.SHA512, digest.BLAKE3}[i%3]
		d, err := digest.Sum(code, b.Data)
		if err != nil {
			t.Fatal(err)
		}
		b.CID = d.CID([]uint64{cid.Raw, cid.DagProtobuf, cid.DagCBOR}[i/3])
		all = append(all, b)
	}
	all[0].CID = cid.NewCidV0(all[0].CID.Hash())
	return all
}

// goRead reads an archive with go-car, which verifies the blocks.
func goRead(raw []byte) ([]cid.Cid, []blocks.Block, error) {
	r, err := gocar.NewBlockReader(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, err
	}
	var all []blocks.Block
	for {
		b, err := r.Next()
		if err == io.EOF {
			return r.Roots, all, nil
		}
		if err != nil {
			return nil, nil, err
		}
		all = append(all, b)
	}
}

func TestGoCarReadsWhatWeWrite(t *testing.T) {
	want := mixed(t)
	roots := []cid.Cid{want[3].CID, want[0].CID}
	gotRoots, got, err := goRead(encode(t, roots, want...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(roots, gotRoots, cidComparer); diff != "" {
		t.Error(diff)
	}
	if len(got) != len(want) {
		t.Fatalf("%d blocks, want %d", len(got), len(want))
	}
	for i, b := range got {
		if !b.Cid().Equals(want[i].CID) || !bytes.Equal(b.RawData(), want[i].Data) {
			t.Errorf("block %d is %v", i, b)
		}
	}
}

// goFiles are archives as go-car's writers make them.
func goFiles(t *testing.T, all []block.Block) map[string][]byte {
	dir, roots := t.TempDir(), []cid.Cid{all[0].CID}
	options := map[string][]gocar.Option{
		"v1":             {gocar.WriteAsCarV1(true)},
		"v2":             {},
		"v2 padded":      {gocar.UseDataPadding(1413), gocar.UseIndexPadding(1314)},
		"v2 sorted":      {gocar.UseIndexCodec(multicodec.CarIndexSorted)},
		"v2 whole CIDs":  {gocar.UseWholeCIDs(true)},
		"v2 identity":    {gocar.StoreIdentityCIDs(true)},
		"v2 data padded": {gocar.UseDataPadding(200_000), gocar.UseIndexCodec(multicodec.CarIndexSorted)},
	}
	files := map[string][]byte{}
	for name, o := range options {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		bs, err := blockstore.OpenReadWrite(path, roots, o...)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			gb, err := blocks.NewBlockWithCid(b.Data, b.CID)
			if err != nil {
				t.Fatal(err)
			}
			if err := bs.Put(t.Context(), gb); err != nil {
				t.Fatal(err)
			}
		}
		if err := bs.Finalize(); err != nil {
			t.Fatal(err)
		}
		files["blockstore "+name] = read(t, path)
		files["storage "+name] = goStorage(t, filepath.Join(dir, "storage"), roots, all, o...)
	}
	var wrapped bytes.Buffer
	if err := gocar.WrapV1(bytes.NewReader(encode(t, roots, all...)), &wrapped); err != nil {
		t.Fatal(err)
	}
	files["wrapped v2"] = wrapped.Bytes()
	return files
}

func goStorage(t *testing.T, path string, roots []cid.Cid, all []block.Block, o ...gocar.Option) []byte {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := storage.NewReadableWritable(f, roots, o...)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		if err := w.Put(t.Context(), b.CID.KeyString(), b.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finalize(); err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWeReadWhatGoCarWrites(t *testing.T) {
	want := mixed(t)
	for name, raw := range goFiles(t, want) {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{bytes.NewReader(raw), stream{bytes.NewReader(raw)}} {
				reader, got, err := readAll(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if isV2 := strings.Contains(name, "v2"); isV2 != (reader.Version() == 2) {
					t.Errorf("version %d", reader.Version())
				}
				if diff := cmp.Diff([]cid.Cid{want[0].CID}, reader.Roots(), cidComparer); diff != "" {
					t.Error(diff)
				}
				if len(got) != len(want) {
					t.Fatalf("%d sections, want %d", len(got), len(want))
				}
				for i, f := range got {
					if !f.CID.Equals(want[i].CID) || !bytes.Equal(f.Data, want[i].Data) {
						t.Errorf("section %d is %v", i, f.CID)
					}
					if !bytes.Equal(raw[f.Offset:f.Offset+f.Size], f.Data) {
						t.Errorf("section %d is not at %d", i, f.Offset)
					}
				}
			}
			checkIndex(t, raw, want)
		})
	}
}

// checkIndex finds every block of want through the index of raw.
func checkIndex(t *testing.T, raw []byte, want []block.Block) {
	t.Helper()
	found := map[string]bool{}
	for e, err := range car.ReadIndex(bytes.NewReader(raw), int64(len(raw))) {
		if err != nil {
			if string(raw[:3]) != "\x0a\xa1\x67" && errors.Is(err, fs.ErrNotExist) {
				return // a CARv1
			}
			t.Fatal(err)
		}
		s, err := car.SectionAt(bytes.NewReader(raw), e.Offset, int64(len(raw)))
		if err != nil {
			t.Fatalf("entry %x: %v", e.Value, err)
		}
		d, err := digest.FromCID(s.CID)
		if err != nil || !e.Matches(d) {
			t.Errorf("entry %x points to %s (%v)", e.Value, s.CID, err)
		}
		if err := d.Verify(raw[s.Offset : s.Offset+s.Size]); err != nil {
			t.Error(err)
		}
		found[s.CID.KeyString()] = true
	}
	for _, b := range want {
		if !found[b.CID.KeyString()] {
			t.Errorf("the index lacks %s", b.CID)
		}
	}
}

// TestIndexAgreesWithGoCar compares entry by entry.
func TestIndexAgreesWithGoCar(t *testing.T) {
	type entry struct {
		Hash   string
		Offset uint64
	}
	raw := goFiles(t, mixed(t))["blockstore v2 padded"]
	r, err := gocar.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	ir, err := r.IndexReader()
	if err != nil {
		t.Fatal(err)
	}
	idx, err := index.ReadFrom(ir)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []entry
	err = idx.(index.IterableIndex).ForEach(func(mh multihash.Multihash, offset uint64) error {
		want = append(want, entry{string(mh), offset + r.Header.DataOffset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range car.ReadIndex(bytes.NewReader(raw), int64(len(raw))) {
		if err != nil {
			t.Fatal(err)
		}
		mh, err := multihash.Encode(e.Value, uint64(e.Code))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{string(mh), uint64(e.Offset)})
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 9 {
		t.Errorf("%d entries: %s", len(got), diff)
	}
}

func TestGoCarWithoutRoots(t *testing.T) {
	for _, roots := range [][]cid.Cid{nil, {}} {
		raw := goStorage(t, filepath.Join(t.TempDir(), "f"), roots, nil, gocar.WriteAsCarV1(true))
		r, got, err := readAll(bytes.NewReader(raw), nil)
		if err != nil || len(r.Roots()) != 0 || len(got) != 0 {
			t.Errorf("roots %v: %v, %v", roots, got, err)
		}
	}
}

// TestSamples reads archives that came with go-car, written by older versions of it.
func TestSamples(t *testing.T) {
	for name, want := range map[string]int{"sample-rw-bs-v2.car": 3, "sample-unixfs-v2.car": 3} {
		raw := read(t, filepath.Join("testdata", name))
		r, got, err := readAll(bytes.NewReader(raw), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Version() != 2 || len(got) != want {
			t.Errorf("%s: version %d, %d sections; want 2, %d", name, r.Version(), len(got), want)
		}
		entries, err := collect(raw)
		if err != nil || len(entries) == 0 {
			t.Errorf("%s: index: %v, %v", name, entries, err)
		}
		for _, e := range entries {
			s, err := car.SectionAt(bytes.NewReader(raw), e.Offset, int64(len(raw)))
			if err != nil {
				t.Fatalf("%s: entry %x: %v", name, e.Value, err)
			}
			if d, err := digest.FromCID(s.CID); err != nil || !e.Matches(d) {
				t.Errorf("%s: entry %x points to %s", name, e.Value, s.CID)
			}
		}
	}
}
