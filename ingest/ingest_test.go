package ingest_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/unixfs"
)

func profiles(t testing.TB) map[string]unixfs.Profile {
	small := func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.HAMTThreshold, p.HAMTFanout = 300, 3, 600, 8 }
	return map[string]unixfs.Profile{
		"v1":        profile(t, unixfs.V1, nil),
		"v0":        profile(t, unixfs.V0, nil),
		"v1 small":  profile(t, unixfs.V1, small),
		"v0 small":  profile(t, unixfs.V0, small),
		"v0 raw":    profile(t, unixfs.V0, func(p *unixfs.Profile) { small(p); p.RawLeaves = true }),
		"blake3":    profile(t, unixfs.V1, func(p *unixfs.Profile) { small(p); p.Hash = digest.BLAKE3 }),
		"sha2-512":  profile(t, unixfs.V1, func(p *unixfs.Profile) { small(p); p.Hash = digest.SHA512 }),
		"tiny leaf": profile(t, unixfs.V1, func(p *unixfs.Profile) { small(p); p.ChunkSize = 7 }),
	}
}

// TestAddLikeBoxo holds roots, order of blocks and records against boxo.
func TestAddLikeBoxo(t *testing.T) {
	for name, p := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				fsys := randomTree(rand.New(rand.NewPCG(seed, 1)), 80, 4000)
				for _, limit := range []int64{128 << 20, 5000, 700} {
					testTree(t, fsys, "top", limit, &ingest.Options{Profile: p, PackSize: limit, Hidden: seed%2 == 0, Concurrency: 1 + int(seed)})
				}
			}
		})
	}
}

func testTree(t *testing.T, fsys fs.FS, name string, limit int64, o *ingest.Options) {
	t.Helper()
	oracle := newOracle(t, o.Profile)
	want := oracle.tree(fsys, name, o.Hidden)
	size, err := want.Size()
	if err != nil {
		t.Fatal(err)
	}
	store, rec := memblob.New(), newRecorder(t)
	dst := ingest.Destination{Packs: store, Record: func() ingest.Recorder { return rec }}
	got, err := ingest.Add(t.Context(), fsys, name, dst, o)
	if err != nil {
		t.Fatal(err)
	}
	if got.Root != want.Cid() || got.DAGSize != size || !got.Stored {
		t.Errorf("got %+v, want root %s of %d bytes", got, want.Cid(), size)
	}
	rec.check(store, got)
	order := rec.blocks(store, got.Root, limit)
	if diff := cmp.Diff(text(oracle.order(want.Cid())), text(order)); diff != "" {
		t.Errorf("blocks in packs (-want +got):\n%s", diff)
	}
	if rec.loose {
		t.Error("the record is said to be loose")
	}
}

func text(cs []cid.Cid) []string {
	var s []string
	for _, c := range cs {
		s = append(s, c.String())
	}
	return s
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed)})
	c.Read(b)
	return b
}

// TestFiles adds files of sizes at the edges of chunks and layers.
func TestFiles(t *testing.T) {
	p := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.ChunkSize, p.Width = 100, 3 })
	for _, size := range []int{0, 1, 99, 100, 101, 300, 301, 899, 900, 901, 2700, 2701, 9000} {
		testTree(t, fstest.MapFS{"f": {Data: random(1, size)}}, "f", 1<<30, &ingest.Options{Profile: p})
		// Zeros: all leaves are duplicates, and whole layers too.
		testTree(t, fstest.MapFS{"f": {Data: make([]byte, size)}}, "f", 400, &ingest.Options{Profile: p, PackSize: 400})
	}
	big := random(2, 5<<20+17)
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		testTree(t, fstest.MapFS{"f": {Data: big}}, "f", 2<<20, &ingest.Options{Profile: profile(t, name, nil), PackSize: 2 << 20})
	}
}

func TestNestedDuplicates(t *testing.T) {
	fsys := fstest.MapFS{}
	for _, d := range []string{"a/x", "a/y", "b/x", "b/y", "c/b/x", "c/b/y"} {
		for i := range 30 {
			fsys[fmt.Sprintf("top/%s/file%02d", d, i)] = &fstest.MapFile{Data: random(uint64(i), 900)}
		}
	}
	for name, p := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			for _, limit := range []int64{128 << 20, 3000} {
				testTree(t, fsys, "top", limit, &ingest.Options{Profile: p, PackSize: limit})
			}
		})
	}
}

func TestHAMTAboveTheThreshold(t *testing.T) {
	fsys := fstest.MapFS{}
	for i := range 6000 {
		fsys[fmt.Sprintf("top/a file with a longer name, number %06d", i)] = &fstest.MapFile{Data: random(uint64(i%200), 10+i%200)}
	}
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		testTree(t, fsys, "top", 100_000, &ingest.Options{Profile: profile(t, name, nil), PackSize: 100_000})
	}
}

func TestAddIsDeterministic(t *testing.T) {
	fsys := randomTree(rand.New(rand.NewPCG(1, 2)), 300, 9000)
	p := profiles(t)["v1 small"]
	var want map[int]digest.Digest
	for i := range 6 {
		rec := newRecorder(t)
		dst := ingest.Destination{Packs: memblob.New(), Record: func() ingest.Recorder { return rec }}
		if _, err := ingest.Add(t.Context(), fsys, "top", dst, &ingest.Options{Profile: p, PackSize: 20_000, Concurrency: i + 1}); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = rec.packs
		}
		if diff := cmp.Diff(want, rec.packs, cmp.Comparer(func(a, b digest.Digest) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAddFileAndWrap(t *testing.T) {
	data := random(3, 3_000_000)
	p := profile(t, unixfs.V1, nil)
	oracle := newOracle(t, p)
	file := oracle.file(data)
	wrapped := oracle.directory([]string{"in.bin"}, nodes(file))
	for _, wrap := range []string{"", "in.bin"} {
		store, rec := memblob.New(), newRecorder(t)
		dst := ingest.Destination{Packs: store, Record: func() ingest.Recorder { return rec }}
		var entries []ingest.Entry
		o := &ingest.Options{Wrap: wrap, Trace: ingest.Trace{Added: func(e ingest.Entry) { entries = append(entries, e) }}}
		got, err := ingest.AddFile(t.Context(), bytes.NewReader(data), int64(len(data)), "stdin", dst, o)
		if err != nil {
			t.Fatal(err)
		}
		want := []cid.Cid{file.Cid()}
		if wrap != "" {
			want = append(want, wrapped.Cid())
		}
		var roots []cid.Cid
		for _, e := range entries {
			roots = append(roots, e.CID)
		}
		if !slices.Equal(want, roots) || got.Root != want[len(want)-1] {
			t.Errorf("wrap %q: got %v, root %s, want %v", wrap, roots, got.Root, want)
		}
		rec.check(store, got)
	}
}

func TestTrace(t *testing.T) {
	fsys := fstest.MapFS{
		"d/f":  {Data: random(1, 1000)},
		"d/g":  {Data: random(2, 2<<20)},
		"d/l":  {Data: []byte("f"), Mode: fs.ModeSymlink},
		"d/.h": {Data: random(3, 10)},
	}
	var files, bytes, read int64
	var entries []string
	packs := 0
	o := &ingest.Options{Trace: ingest.Trace{
		Scanned: func(f, b int64) { files, bytes = f, b },
		Read:    func(_ string, n int64) { read += n },
		Added:   func(e ingest.Entry) { entries = append(entries, fmt.Sprint(e.Path, " ", e.Type, " ", e.Size)) },
		Packed:  func(int, digest.Digest, int64) { packs++ },
	}}
	res, err := ingest.Add(t.Context(), fsys, "d", ingest.Destination{Packs: memblob.New()}, o)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(1000 + 2<<20)
	if files != 2 || bytes != total || read != total || res.Size != total || packs != 1 {
		t.Errorf("files %d, bytes %d, read %d, packs %d, result %+v", files, bytes, read, packs, res)
	}
	want := []string{"d/f file 1000", "d/g file 2097152", "d/l symlink 0", "d directory 0"}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Error(diff)
	}
}

func TestDryRun(t *testing.T) {
	fsys := randomTree(rand.New(rand.NewPCG(5, 5)), 100, 5000)
	p := profiles(t)["v1 small"]
	want := newOracle(t, p).tree(fsys, "top", false)
	got, err := ingest.Add(t.Context(), fsys, "top", ingest.Destination{}, &ingest.Options{Profile: p, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.Root != want.Cid() || got.Stored || got.Packs != 0 {
		t.Errorf("got %+v, want root %s", got, want.Cid())
	}
}

// TestSameBytesAnotherCodec adds a file whose bytes are those of a directory and of
// a symlink beside it: one digest, two blocks.
func TestSameBytesAnotherCodec(t *testing.T) {
	p := profile(t, unixfs.V1, nil)
	oracle := newOracle(t, p)
	inner := oracle.directory([]string{"f"}, nodes(oracle.file([]byte("x"))))
	fsys := fstest.MapFS{
		"top/a":   {Data: inner.RawData()},
		"top/b/f": {Data: []byte("x")},
		"top/l":   {Data: []byte("x"), Mode: fs.ModeSymlink},
		"top/m":   {Data: oracle.symlink("x").RawData()},
	}
	testTree(t, fsys, "top", 1<<20, &ingest.Options{Profile: p})
}
