package streamer_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/gateway/gatewaytest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/ipfs/boxo/ipld/unixfs"
)

// shelf is how packs of this home are indexed.
func (h *home) shelf(level index.Level) ingest.Shelf {
	return ingest.Shelf{Keys: h.keys, Level: level, Packs: h.packs, Complete: h.streamer(nil).Complete}
}

// importCAR stores an archive as a pack and records it, the DAGs below roots too.
func (h *home) importCAR(t testing.TB, archive []byte, level index.Level, roots ...cid.Cid) {
	t.Helper()
	p, _, err := ingest.ImportCAR(t.Context(), bytes.NewReader(archive), h.packs, h.shelf(level))
	if err != nil {
		t.Fatal(err)
	}
	if len(roots) > 0 {
		if _, err := ingest.IndexPack(t.Context(), p.Digest, h.shelf(level), roots...); err != nil {
			t.Fatal(err)
		}
	}
}

// cids lists the sections of an archive.
func cids(t testing.TB, archive []byte) (cids []cid.Cid) {
	t.Helper()
	for _, b := range sectionsOf(t, archive) {
		cids = append(cids, b.CID)
	}
	return cids
}

// TestConformance runs the gateway's suite over stores: with plans of every DAG in
// the fixtures, with those that its roots alone give, and without any plan.
func TestConformance(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, archive []byte) block.Opener{
		"as imported": func(t *testing.T, archive []byte) block.Opener {
			h := newHome(t)
			h.importCAR(t, archive, index.LevelAll)
			return h.streamer(nil)
		},
		"every DAG planned": func(t *testing.T, archive []byte) block.Opener {
			h := newHome(t)
			h.importCAR(t, archive, index.LevelAll, cids(t, archive)...)
			return h.streamer(nil)
		},
		"without plans": func(t *testing.T, archive []byte) block.Opener {
			h := newHome(t)
			h.importCAR(t, archive, index.LevelSingle)
			return h.streamer(nil)
		},
		"verified always, through memory": func(t *testing.T, archive []byte) block.Opener {
			h := newHome(t)
			h.importCAR(t, archive, index.LevelAll, cids(t, archive)...)
			return newPlain(h, always())
		},
		"beside packs in order": func(t *testing.T, archive []byte) block.Opener {
			h := newHome(t)
			h.reimport(t, archive)
			return h.streamer(nil)
		},
	} {
		t.Run(name, func(t *testing.T) { gatewaytest.Run(t, open) })
	}
}

// reimport imports an archive, and after it the DAG below each of its blocks once
// more as a CAR of its own, in depth-first order, as adding its files would.
func (h *home) reimport(t *testing.T, archive []byte) {
	t.Helper()
	h.importCAR(t, archive, index.LevelSingle)
	s := h.streamer(nil)
	for _, c := range cids(t, archive) {
		body, err := s.Open(t.Context(), whole(c))
		if err != nil {
			t.Fatal(err)
		}
		var one bytes.Buffer
		if _, err := body.Send(t.Context(), &one); err != nil {
			continue // the one with a hole
		}
		h.importCAR(t, one.Bytes(), index.LevelAll)
	}
}

// TestAddedAgain adds a tree natively that was imported before in another order.
func TestAddedAgain(t *testing.T) {
	from := newHome(t)
	root := from.add(t, tree(), "tree", index.LevelAll, ingest.Options{})
	m := from.memory(t)
	archive := walked(t, m, whole(root))
	h := newHome(t)
	h.importCAR(t, shuffled(t, archive, 1), index.LevelAll, root)
	if again := h.add(t, tree(), "tree", index.LevelAll, ingest.Options{}); again != root {
		t.Fatalf("root %s, want %s", again, root)
	}
	s := h.streamer(nil)
	for _, sel := range selections(root) {
		checkBody(t, describe(sel), s, sel, walked(t, m, sel), true)
	}
}

// version2 wraps an archive into a CAR of version 2 without an index.
func version2(archive []byte) []byte {
	b := []byte("\x0a\xa1\x67version\x02")
	b = append(b, make([]byte, 16)...)
	for _, n := range []int{51 + 7, len(archive), 0} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, make([]byte, 7)...) // padding, which is allowed
	return append(b, archive...)
}

func TestVersion2(t *testing.T) {
	from := newHome(t)
	root := from.add(t, tree(), "tree", index.LevelAll, ingest.Options{})
	m := from.memory(t)
	h := newHome(t)
	h.importCAR(t, version2(shuffled(t, walked(t, m, whole(root)), 2)), index.LevelAll, root)
	s := h.streamer(nil)
	for _, sel := range selections(root) {
		checkBody(t, describe(sel), s, sel, walked(t, m, sel), true)
	}
}

// TestLongPath goes through more directories than are held in memory.
func TestLongPath(t *testing.T) {
	made := newShapes(1, 0)
	below := made.files[0].c
	var path []string
	for i := range 8 {
		links := []*format.Link{{Name: "down", Cid: below}}
		for j := range 18_000 { // about a megabyte
			links = append(links, &format.Link{Name: fmt.Sprint("x", i, j), Cid: made.files[0].c})
		}
		below = made.node(unixfs.NewFSNode(unixfs.TDirectory), links)
		path = append(path, "down")
	}
	m := memory{}
	for _, b := range made.blocks {
		m[mustDigest(t, b.CID)] = b
	}
	s := imported(t, archived(made.blocks), nil)
	for _, n := range []int{1, 3, 8} {
		sel := block.Selection{Root: below, Path: path[:n], Scope: block.ScopeEntity, Encoding: block.EncodingCAR}
		compare(t, s, m, sel)
	}
}

// TestInlineRoots asks for DAGs whose root is inside of its CID.
func TestInlineRoots(t *testing.T) {
	s := newShapes(3, 40)
	leaf := s.files[0].c
	for _, f := range s.files {
		if f.c.Prefix().MhType != uint64(digest.Identity) {
			leaf = f.c
		}
	}
	m := memory{}
	for _, b := range s.blocks {
		d, _ := digest.FromCID(b.CID)
		m[d] = b
	}
	inline := func(codec uint64, data []byte) cid.Cid {
		d, err := digest.Sum(digest.Identity, data)
		if err != nil {
			t.Fatal(err)
		}
		return d.CID(codec)
	}
	link := append([]byte{0xa1, 0x61, 'a', 0xd8, 0x2a, 0x58, byte(leaf.ByteLen() + 1), 0}, leaf.Bytes()...)
	open := imported(t, archived(s.blocks), nil)
	for _, root := range []cid.Cid{inline(cid.DagCBOR, link), inline(cid.Raw, []byte("raw")), inline(cid.DagProtobuf, nil)} {
		for _, path := range [][]string{nil, {"a"}, {"a", "b"}} {
			for _, scope := range []block.Scope{block.ScopeAll, block.ScopeEntity, block.ScopeBlock} {
				compare(t, open, m, block.Selection{Root: root, Path: path, Scope: scope, Encoding: block.EncodingCAR})
			}
		}
	}
	body, err := open.Open(t.Context(), whole(inline(cid.DagCBOR, link)))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := body.Send(t.Context(), &got); err != nil || !bytes.Contains(got.Bytes(), m[mustDigest(t, leaf)].Data) {
		t.Errorf("the DAG below an inline root was not sent: %d bytes, %v", got.Len(), err)
	}
}

func mustDigest(t *testing.T, c cid.Cid) digest.Digest {
	t.Helper()
	d, err := digest.FromCID(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
