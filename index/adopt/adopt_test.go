package adopt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"
	gocar "github.com/ipld/go-car/v2"
	carindex "github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multicodec"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer"
)

// files is raw files that are read if they did not change. It counts what is read.
type files struct {
	*memblob.Store
	bytes *atomic.Int64
}

func (f files) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	obj, err := f.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	if obj.Info().Version != identity {
		obj.Close()
		return nil, blob.ErrChanged
	}
	return counted{obj, f.bytes}, nil
}

type counted struct {
	blob.Object
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Object.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// node is a node with raw files.
type node struct {
	adopt.Home
	packs *memblob.Store
	files files
	index *index.Index
	serve *streamer.Streamer
}

func newNode() *node {
	keys := memkv.New()
	n := &node{packs: memblob.New(), files: files{memblob.New(), new(atomic.Int64)}, index: index.New(keys, nil)}
	n.serve = streamer.New(n.index, n.packs, &streamer.Options{Files: n.files})
	n.Home = adopt.Home{Keys: keys, Packs: n.packs, Files: n.files, Complete: n.serve.Complete}
	return n
}

// put stores a raw file and returns its location.
func (n *node) put(t testing.TB, name string, data []byte) index.Location {
	t.Helper()
	if err := n.files.Put(t.Context(), name, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	info, err := n.files.Stat(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return index.Location{Path: name, Version: info.Version}
}

// pack stores a pack.
func (n *node) pack(t testing.TB, data []byte) digest.Digest {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, data)
	if err == nil {
		err = n.packs.Put(t.Context(), pack.Key(d), bytes.NewReader(data))
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// selections is what a node is asked for.
func selections(root cid.Cid) []block.Selection {
	return []block.Selection{
		{Root: root, Scope: block.ScopeAll, Encoding: block.EncodingCAR},
		{Root: root, Scope: block.ScopeAll, Dups: true, Encoding: block.EncodingCAR},
		{Root: root, Scope: block.ScopeEntity, Encoding: block.EncodingCAR},
	}
}

func (n *node) served(t testing.TB, sel block.Selection) []byte {
	t.Helper()
	body, err := n.serve.Open(t.Context(), sel)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := body.Send(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// planned returns how many plans root has.
func (n *node) planned(t testing.TB, root cid.Cid) (plans int) {
	t.Helper()
	d, err := digest.FromCID(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range n.index.Plans(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		plans++
	}
	return plans
}

// added is a tree on a node, as other programs have it.
type added struct {
	*node
	root   cid.Cid
	blocks []block.Block
}

func add(t testing.TB) added {
	t.Helper()
	tree, rng := fstest.MapFS{}, rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		b := make([]byte, rng.IntN(1200_000)/(i+1))
		if i%5 != 0 { // the others are alike in their blocks
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
		}
		tree[fmt.Sprintf("top/%d/%d", i%7, i)] = &fstest.MapFile{Data: b}
	}
	n := newNode()
	dst := ingest.Destination{Packs: n.packs, Record: func() ingest.Recorder { return index.NewBuilder(n.Keys, index.LevelAll) }}
	res, err := ingest.Add(t.Context(), tree, "top", dst, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := added{node: n, root: res.Root}
	r, err := car.NewReader(bytes.NewReader(n.served(t, selections(res.Root)[0])), nil)
	for err == nil {
		var s car.Section
		if s, err = r.Next(); err == nil {
			var data []byte
			data, err = r.Data()
			a.blocks = append(a.blocks, block.Block{CID: s.CID, Data: data})
		}
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return a
}

func archive(blocks []block.Block, roots ...cid.Cid) []byte {
	b := car.AppendHeader(nil, roots...)
	for _, x := range blocks {
		b = append(car.AppendHead(b, x.CID, int64(len(x.Data))), x.Data...)
	}
	return b
}

func (a added) shuffled(seed uint64) []block.Block {
	all := append([]block.Block{}, a.blocks...)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// equal compares what two nodes serve of the tree.
func (a added) equal(t *testing.T, n *node) {
	t.Helper()
	if n.planned(t, a.root) != 1 {
		t.Errorf("%d plans", n.planned(t, a.root))
	}
	for _, sel := range selections(a.root) {
		if !bytes.Equal(n.served(t, sel), a.served(t, sel)) {
			t.Errorf("%v dups=%v: other bytes are served", sel.Scope, sel.Dups)
		}
	}
}

// TestManyPacks takes in a DAG that is spread over packs, some of its blocks twice.
func TestManyPacks(t *testing.T) {
	a := add(t)
	for seed := range uint64(4) {
		for _, named := range []bool{true, false} {
			n, ad := newNode(), (*adopt.Adopter)(nil)
			ad = adopt.New(n.Home, nil)
			d, err := digest.FromCID(a.root)
			if err != nil {
				t.Fatal(err)
			}
			ad.Want(d)
			all := a.shuffled(seed)
			for i := range 3 {
				part := all[i*len(all)/3 : min((i+1)*len(all)/3+20, len(all))]
				var roots []cid.Cid
				if named && i == 2 {
					roots = append(roots, a.root)
				}
				p, err := ad.Pack(t.Context(), n.pack(t, archive(part, roots...)))
				if err != nil || p.Blocks != int64(len(part)) || p.Unverified || len(p.Bad) > 0 {
					t.Fatalf("%+v, %v", p, err)
				}
			}
			roots, err := ad.Roots(t.Context())
			if err != nil || len(roots) != 1 || roots[0] != a.root || ad.CIDs(d)[0] != a.root {
				t.Fatalf("roots %v, %v", roots, err)
			}
			if err := ad.DAG(t.Context(), a.root); err != nil {
				t.Fatal(err)
			}
			a.equal(t, n)
			if err := ad.DAG(t.Context(), a.root); err != nil || n.planned(t, a.root) != 1 {
				t.Errorf("again: %v, %d plans", err, n.planned(t, a.root))
			}
		}
	}
}

// entriesOf has go-car index an archive.
func entriesOf(t testing.TB, codec multicodec.Code, raw []byte) iter.Seq2[car.IndexEntry, error] {
	t.Helper()
	x, err := carindex.New(codec)
	if err == nil {
		err = gocar.LoadIndex(x, bytes.NewReader(raw))
	}
	var b bytes.Buffer
	if err == nil {
		_, err = carindex.WriteTo(x, &b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return car.ReadSidecar(bytes.NewReader(b.Bytes()), int64(b.Len()), int64(len(raw)))
}

// TestInPlace takes in archives that are raw files: by a sidecar, by the index inside, by reading.
func TestInPlace(t *testing.T) {
	a := add(t)
	v1 := archive(a.shuffled(9), a.root)
	var v2 bytes.Buffer
	if err := gocar.WrapV1(bytes.NewReader(v1), &v2); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw []byte
		by  func(*adopt.Adopter, index.Location) (adopt.Packed, error)
	}{
		"multihash sidecar": {v1, func(ad *adopt.Adopter, loc index.Location) (adopt.Packed, error) {
			return ad.Indexed(t.Context(), loc, entriesOf(t, multicodec.CarMultihashIndexSorted, v1))
		}},
		"sidecar": {v1, func(ad *adopt.Adopter, loc index.Location) (adopt.Packed, error) {
			return ad.Indexed(t.Context(), loc, entriesOf(t, multicodec.CarIndexSorted, v1))
		}},
		"index inside": {v2.Bytes(), func(ad *adopt.Adopter, loc index.Location) (adopt.Packed, error) {
			return ad.Indexed(t.Context(), loc, car.ReadIndex(bytes.NewReader(v2.Bytes()), int64(v2.Len())))
		}},
		"reading v1": {v1, func(ad *adopt.Adopter, loc index.Location) (adopt.Packed, error) { return ad.CAR(t.Context(), loc) }},
		"reading v2": {v2.Bytes(), func(ad *adopt.Adopter, loc index.Location) (adopt.Packed, error) { return ad.CAR(t.Context(), loc) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode()
			loc := n.put(t, "dir/some.car", c.raw)
			ad := adopt.New(n.Home, nil)
			p, err := c.by(ad, loc)
			if err != nil || len(p.Bad) > 0 || p.Blocks != int64(len(a.blocks)) || !p.Unverified {
				t.Fatalf("%+v, %v", p, err)
			}
			roots, err := ad.Roots(t.Context())
			if err != nil || len(roots) != 1 {
				t.Fatal(roots, err)
			}
			if err := ad.DAG(t.Context(), roots[0]); err != nil {
				t.Fatal(err)
			}
			if read := n.files.bytes.Load(); !strings.HasPrefix(name, "reading") && read > int64(len(c.raw))/4 {
				t.Errorf("%d of %d bytes were read", read, len(c.raw))
			}
			a.equal(t, n)
			if err := n.files.Put(t.Context(), loc.Path, bytes.NewReader(c.raw)); err != nil {
				t.Fatal(err)
			}
			if _, err := n.serve.Open(t.Context(), selections(a.root)[0]); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file was replaced: %v", err)
			}
		})
	}
}

// TestWrongIndex takes in an archive by the index of another.
func TestWrongIndex(t *testing.T) {
	a, n := add(t), newNode()
	raw, other := archive(a.shuffled(1), a.root), archive(a.shuffled(2), a.root)
	ad := adopt.New(n.Home, nil)
	p, err := ad.Indexed(t.Context(), n.put(t, "x", raw), entriesOf(t, multicodec.CarMultihashIndexSorted, other))
	if err != nil || len(p.Bad) == 0 || p.Blocks > 5 {
		t.Errorf("%+v, %v", p, err)
	}
	if err := ad.DAG(t.Context(), a.root); !errors.Is(err, adopt.ErrIncomplete) {
		t.Errorf("a DAG is planned: %v", err)
	}
}

func TestFaults(t *testing.T) {
	a := add(t)
	t.Run("absent pack", func(t *testing.T) {
		d, err := digest.FromCID(a.root)
		if err == nil {
			_, err = adopt.New(newNode().Home, nil).Pack(t.Context(), d)
		}
		if !errors.Is(err, adopt.ErrPack) || !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("damaged pack", func(t *testing.T) {
		n := newNode()
		raw := archive(a.blocks, a.root)
		d := n.pack(t, raw)
		raw[len(raw)/2] ^= 1
		if err := n.packs.Put(t.Context(), pack.Key(d), bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
		ad := adopt.New(n.Home, nil)
		if p, err := ad.Pack(t.Context(), d); !errors.Is(err, adopt.ErrPack) || !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%+v, %v", p, err)
		}
		if err := ad.DAG(t.Context(), a.root); !errors.Is(err, adopt.ErrIncomplete) || n.planned(t, a.root) != 0 {
			t.Errorf("a DAG is planned: %v", err)
		}
	})
	t.Run("damaged block", func(t *testing.T) {
		n := newNode()
		raw := archive(a.blocks, a.root)
		raw[len(raw)-1] ^= 1
		p, err := adopt.New(n.Home, nil).Pack(t.Context(), n.pack(t, raw))
		if err != nil || len(p.Bad) != 1 || !errors.Is(p.Bad[0].Err, digest.ErrMismatch) || p.Blocks != int64(len(a.blocks)-1) {
			t.Errorf("%+v, %v", p, err)
		}
	})
	t.Run("no CAR", func(t *testing.T) {
		n := newNode()
		if _, err := adopt.New(n.Home, nil).Pack(t.Context(), n.pack(t, []byte("hello"))); !errors.Is(err, adopt.ErrPack) {
			t.Error(err)
		}
	})
	t.Run("missing block", func(t *testing.T) {
		n := newNode()
		ad := adopt.New(n.Home, nil)
		if _, err := ad.Pack(t.Context(), n.pack(t, archive(a.blocks[:len(a.blocks)-1]))); err != nil {
			t.Fatal(err)
		}
		if err := ad.DAG(t.Context(), a.root); !errors.Is(err, adopt.ErrIncomplete) {
			t.Error(err)
		}
		st, err := n.index.Stats(t.Context())
		if err != nil || st.Blocks != int64(len(a.blocks)-1) || st.Plans != 0 || st.Segments != 0 {
			t.Errorf("%+v, %v", st, err)
		}
	})
	t.Run("too many blocks", func(t *testing.T) {
		n := newNode()
		ad := adopt.New(n.Home, &adopt.Options{MaxBlocks: len(a.blocks) - 1})
		if p, err := ad.Pack(t.Context(), n.pack(t, archive(a.blocks, a.root))); err != nil || p.Blocks != int64(len(a.blocks)) {
			t.Fatal(p, err)
		}
		if err := ad.DAG(t.Context(), a.root); !errors.Is(err, adopt.ErrUnplanned) {
			t.Error(err)
		}
	})
}

// TestSidecar writes the very index that go-car writes.
func TestSidecar(t *testing.T) {
	a, n := add(t), newNode()
	raw := archive(a.shuffled(3), a.root)
	got, err := adopt.Sidecar(t.Context(), n.packs, index.Location{Pack: n.pack(t, raw)})
	if err != nil {
		t.Fatal(err)
	}
	x, err := carindex.New(multicodec.CarMultihashIndexSorted)
	if err == nil {
		err = gocar.LoadIndex(x, bytes.NewReader(raw))
	}
	var want bytes.Buffer
	if err == nil {
		_, err = carindex.WriteTo(x, &want)
	}
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes, not go-car's %d, %v", len(got), want.Len(), err)
	}
	var v2 bytes.Buffer
	if err := gocar.WrapV1(bytes.NewReader(raw), &v2); err != nil {
		t.Fatal(err)
	}
	if _, err := adopt.Sidecar(t.Context(), n.packs, index.Location{Pack: n.pack(t, v2.Bytes())}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of a CARv2: %v", err)
	}
}
