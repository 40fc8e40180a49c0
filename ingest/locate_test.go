package ingest_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/ingest"
)

// TestDedupIsServed adds two trees that share files, the second without storing
// them again, and streams it.
func TestDedupIsServed(t *testing.T) {
	p := profiles(t)["v1 small"]
	fsys := randomTree(rand.New(rand.NewPCG(6, 9)), 60, 3000)
	n, o, src := newNode(), newOracle(t, p), blocks{}
	n.dst.Locate = ingest.Locator(n.index, n.packs)
	opts := &ingest.Options{Profile: p, PackSize: 9000, Dedup: true}
	first, err := ingest.Add(t.Context(), fsys, "top", n.dst, opts)
	if err != nil {
		t.Fatal(err)
	}
	fsys["top/zz new"] = fsys["top/"+firstFile(fsys)]
	delete(fsys, "top/"+firstFile(fsys))
	root := o.tree(fsys, "top", false).Cid()
	src.fromOracle(t, o, root)
	second, err := ingest.Add(t.Context(), fsys, "top", n.dst, opts)
	if err != nil || second.Root != root || !second.Stored {
		t.Fatalf("%+v, %v, want root %s", second, err, root)
	}
	if second.PackBytes > first.PackBytes/2 {
		t.Errorf("%d bytes in packs, the first add needed %d", second.PackBytes, first.PackBytes)
	}
	for _, dups := range []bool{false, true} {
		sel := block.Selection{Root: root, Scope: block.ScopeAll, Dups: dups}
		if diff := cmp.Diff(src.walk(t, sel), n.served(t, sel)); diff != "" {
			t.Errorf("dups %v (-want +got):\n%s", dups, diff)
		}
	}
	// The same bytes under another CID stand without its frame.
	for _, b := range src {
		if b.CID.Type() != cid.Raw {
			continue
		}
		known, err := n.dst.Locate(t.Context(), b.CID)
		other, err2 := n.dst.Locate(t.Context(), cid.NewCidV1(cid.DagCBOR, b.CID.Hash()))
		if err != nil || err2 != nil || !known.Framed || other.Framed {
			t.Fatalf("%+v, %v; %+v, %v", known, err, other, err2)
		}
	}
	absent := blocks{}.add(t, cid.Raw, []byte("nobody has this"))
	if _, err := n.dst.Locate(t.Context(), absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// TestLocateInDamagedPacks looks for blocks in packs that lost their end.
func TestLocateInDamagedPacks(t *testing.T) {
	n := newNode()
	fsys := fstest.MapFS{"a": {Data: []byte("the first")}, "b": {Data: []byte("the second")}}
	c := func(name string) cid.Cid {
		res, err := ingest.Add(t.Context(), fsys, name, n.dst, &ingest.Options{Profile: profiles(t)["v1 small"]})
		if err != nil {
			t.Fatal(err)
		}
		return res.Root
	}
	a, b := c("a"), c("b")
	locate := ingest.Locator(n.index, n.packs)
	for keep := int64(200); ; keep = keep * 3 / 4 {
		for info, err := range n.packs.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			data, err := blob.Read(t.Context(), n.packs, info.Key, 0, min(info.Size-1, keep))
			if err == nil {
				err = n.packs.Put(t.Context(), info.Key, bytes.NewReader(data))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []cid.Cid{a, b} {
			if known, err := locate(t.Context(), c); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d bytes kept: %+v, %v, want fs.ErrNotExist", keep, known, err)
			}
		}
		if keep == 0 {
			return
		}
	}
}

func firstFile(fsys fs.ReadDirFS) string {
	entries, err := fsys.ReadDir("top")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name()[0] != '.' {
			return e.Name()
		}
	}
	panic("no file")
}
