package streamer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer"
	"github.com/hashstream/hashstream/unixfs"
)

// home is stores with content, and a streamer over them.
type home struct {
	dir   string
	packs *fsblob.Store
	keys  *memkv.Store
}

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{dir: t.TempDir(), keys: memkv.New()}
	var err error
	if h.packs, err = fsblob.Open(h.dir, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.packs.Close() })
	return h
}

func (h *home) streamer(o *streamer.Options) *streamer.Streamer {
	return streamer.New(index.New(h.keys, nil), h.packs, o)
}

// small is a profile whose DAGs are deep at sizes that tests like.
func small(t *testing.T) unixfs.Profile {
	t.Helper()
	p, err := unixfs.ParseProfile("unixfs-v1-2025")
	if err != nil {
		t.Fatal(err)
	}
	p.ChunkSize, p.Width = 1000, 4
	return p
}

func (h *home) add(t *testing.T, fsys fs.FS, name string, level index.Level, o ingest.Options) cid.Cid {
	t.Helper()
	if o.Profile == (unixfs.Profile{}) {
		o.Profile = small(t)
	}
	dst := ingest.Destination{Packs: h.packs, Record: func() ingest.Recorder { return index.NewBuilder(h.keys, level) }}
	res, err := ingest.Add(t.Context(), fsys, name, dst, &o)
	if err != nil {
		t.Fatal(err)
	}
	return res.Root
}

// memory is every block of the packs, found without an index.
type memory map[digest.Digest]block.Block

func (m memory) Blocks(_ context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		b, ok := m[d]
		if !ok {
			yield(block.Block{}, fs.ErrNotExist)
			return
		}
		yield(b, nil)
	}
}

func (h *home) memory(t *testing.T) memory {
	t.Helper()
	m := memory{}
	for info, err := range pack.List(t.Context(), h.packs) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(h.dir, pack.Key(info.Digest)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := car.NewReader(bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		for {
			s, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := r.Data()
			if err != nil {
				t.Fatal(err)
			}
			b, err := block.New(s.CID, bytes.Clone(data))
			if err != nil {
				t.Fatal(err)
			}
			d, _ := digest.FromCID(s.CID)
			m[d] = b
		}
	}
	return m
}

// walked is the CAR of sel by traversal of m.
func walked(t *testing.T, m memory, sel block.Selection) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := car.NewWriter(&buf, sel.Root)
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range dag.Walk(t.Context(), m, sel) {
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng.Read(b)
	return b
}

// tree has files of every shape, and repeats within and between files.
func tree() fstest.MapFS {
	shared := random(1, 9000)
	f := fstest.MapFS{
		"tree/empty":       {},
		"tree/one":         {Data: random(2, 500)},
		"tree/deep":        {Data: random(3, 70_500)},
		"tree/zeros":       {Data: make([]byte, 33_000)},
		"tree/sub/a":       {Data: append(random(4, 3000), shared...)},
		"tree/sub/shared":  {Data: shared},
		"tree/sub/again":   {Data: shared},
		"tree/sub/zeros":   {Data: make([]byte, 12_345)},
		"tree/sub/x/y/z":   {Data: random(5, 20_000)},
		"tree/tail/shared": {Data: append(shared, random(6, 5000)...)},
	}
	for i := range 40 {
		f[fmt.Sprintf("tree/many/file-%02d", i)] = &fstest.MapFile{Data: random(uint64(100+i), 37*i)}
	}
	return f
}

// selections are ways to ask for the content of tree.
func selections(root cid.Cid) []block.Selection {
	var sels []block.Selection
	for _, path := range [][]string{nil, {"one"}, {"empty"}, {"deep"}, {"zeros"}, {"sub"}, {"sub", "again"}, {"sub", "zeros"}, {"sub", "x", "y", "z"}, {"tail", "shared"}, {"many"}} {
		for _, scope := range []block.Scope{block.ScopeAll, block.ScopeEntity, block.ScopeBlock} {
			for _, dups := range []bool{false, true} {
				sels = append(sels, block.Selection{Root: root, Path: path, Scope: scope, Dups: dups, Encoding: block.EncodingCAR})
			}
		}
	}
	for _, path := range [][]string{{"deep"}, {"zeros"}, {"sub", "again"}, {"sub", "x", "y", "z"}, {"tail", "shared"}} {
		for _, r := range []string{"0:*", "0:0", "999:1000", "1000:1999", "4321:8765", "-1:*", "-5000:-3000", "0:8999", "3999:4000"} {
			for _, dups := range []bool{false, true} {
				br, err := block.ParseByteRange(r)
				if err != nil {
					panic(err)
				}
				sels = append(sels, block.Selection{Root: root, Path: path, Scope: block.ScopeEntity, Bytes: br, Dups: dups, Encoding: block.EncodingCAR})
			}
		}
	}
	return sels
}

func describe(s block.Selection) string {
	text := fmt.Sprintf("%v scope=%s dups=%v", s.Path, s.Scope, s.Dups)
	if s.Bytes != nil {
		text += " bytes=" + s.Bytes.String()
	}
	return text
}

// TestBodiesEqualWalks compares every body with a traversal of blocks that were
// found without an index, for every way to store and to read.
func TestBodiesEqualWalks(t *testing.T) {
	for _, level := range []index.Level{index.LevelAll, index.LevelMultiple, index.LevelSingle} {
		for _, packSize := range []int64{1 << 20, 10_000} {
			t.Run(fmt.Sprint(level, packSize), func(t *testing.T) {
				h := newHome(t)
				root := h.add(t, tree(), "tree", level, ingest.Options{PackSize: packSize})
				m := h.memory(t)
				direct := h.streamer(nil)
				buffered := streamer.New(index.New(h.keys, nil), plain{h.packs}, nil)
				for _, sel := range selections(root) {
					want := walked(t, m, sel)
					for name, s := range map[string]*streamer.Streamer{"direct": direct, "buffered": buffered} {
						checkBody(t, name+" "+describe(sel), s, sel, want, level != index.LevelSingle)
					}
				}
			})
		}
	}
}

func checkBody(t *testing.T, name string, s *streamer.Streamer, sel block.Selection, want []byte, planned bool) {
	t.Helper()
	body, err := s.Open(t.Context(), sel)
	if err != nil {
		t.Errorf("%s: open: %v", name, err)
		return
	}
	var got bytes.Buffer
	n, err := body.Send(t.Context(), &got)
	if err != nil || n != int64(got.Len()) {
		t.Errorf("%s: sent %d of %d bytes, %v", name, n, got.Len(), err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s: body of %d bytes differs from the walk's %d", name, got.Len(), len(want))
	}
	size, exact := body.Size()
	if exact && size != int64(len(want)) {
		t.Errorf("%s: size %d, sent %d", name, size, len(want))
	}
	if planned && !exact && sel.Scope == block.ScopeAll {
		t.Errorf("%s: a planned body does not know its size", name)
	}
}

// plain hides the quick ways around Read, as an object store does.
type plain struct{ *fsblob.Store }

type plainObject struct{ obj blob.Object }

func (p plainObject) Read(b []byte) (int, error) { return p.obj.Read(b) }
func (p plainObject) Close() error               { return p.obj.Close() }
func (p plainObject) Info() blob.Info            { return p.obj.Info() }

func (p plain) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	obj, err := p.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	return plainObject{obj}, nil
}

func TestRaw(t *testing.T) {
	h := newHome(t)
	h.add(t, tree(), "tree", index.LevelAll, ingest.Options{})
	s := h.streamer(nil)
	for d, b := range h.memory(t) {
		for range 2 { // verifying, and then not
			body, err := s.Open(t.Context(), block.Selection{Root: b.CID, Encoding: block.EncodingRaw})
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := body.Send(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), b.Data) {
				t.Fatalf("%s: %d bytes, %v", d, got.Len(), err)
			}
			if n := int64(len(b.Data)); n > 10 {
				got.Reset()
				if _, err := body.(block.Ranger).SendRange(t.Context(), &got, 3, n-7); err != nil || !bytes.Equal(got.Bytes(), b.Data[3:n-4]) {
					t.Fatalf("%s: range of %d bytes, %v", d, got.Len(), err)
				}
			}
		}
	}
	absent, _ := digest.Sum(digest.SHA256, []byte("absent"))
	if _, err := s.Open(t.Context(), block.Selection{Root: absent.CID(cid.Raw), Encoding: block.EncodingRaw}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent block: %v", err)
	}
}

func TestSourceYieldsWholeDAG(t *testing.T) {
	h := newHome(t)
	root := h.add(t, tree(), "tree", index.LevelAll, ingest.Options{})
	var want, got []cid.Cid
	for b, err := range dag.Walk(t.Context(), h.memory(t), whole(root)) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b.CID)
	}
	d, _ := digest.FromCID(root)
	for b, err := range h.streamer(nil).Blocks(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := block.New(b.CID, b.Data); err != nil {
			t.Fatal(err)
		}
		got = append(got, b.CID)
	}
	if len(got) != len(want) {
		t.Fatalf("%d blocks, want %d", len(got), len(want))
	}
	for i := range got[1:] { // the codec of the first is not the source's to know
		if got[i+1] != want[i+1] {
			t.Fatalf("block %d is %s, want %s", i+1, got[i+1], want[i+1])
		}
	}
}
