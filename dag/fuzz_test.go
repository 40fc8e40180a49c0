package dag_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/unixfs"
)

// part2 is a link of a hand-made shard.
type part2 struct {
	name string
	c    cid.Cid
}

// shard stores a shard of fanout 8, whether it makes sense or not.
func (m *memory) shard(t testing.TB, links map[byte]part2) cid.Cid {
	t.Helper()
	var node []byte
	bits := byte(0)
	for _, bucket := range slices.Sorted(maps.Keys(links)) {
		l := links[bucket]
		link := protowire.AppendBytes([]byte{0x0a}, l.c.Bytes())
		link = protowire.AppendString(append(link, 0x12), fmt.Sprintf("%X%s", bucket, l.name))
		node = protowire.AppendBytes(append(node, 0x12), link)
		bits |= 1 << bucket
	}
	inner := []byte{0x08, byte(unixfs.HAMT), 0x12, 1, bits, 0x28, 0x22, 0x30, 8}
	return m.data(t, cid.DagProtobuf, protowire.AppendBytes(append(node, 0x0a), inner))
}

// seeds are blocks of every kind.
func seeds(f *testing.F) {
	m := fixtures(f)
	for _, c := range []string{duplicates, multiblock, shard00, document, cborChain, jsonChain, ascii} {
		b := m.blocks[digestOf(f, parse(f, c))]
		codec := b.CID.Type()
		f.Add(codec, b.Data, "files/single")
	}
	f.Add(uint64(cid.DagCBOR), []byte{0x82, 1, 0xd8, 0x2a, 0x45, 0, 1, 0x55, 0, 0}, "1")
	f.Add(uint64(cid.DagJSON), []byte(`{"a":[{"/":"bafkqaaa"},{"/":{"bytes":"AA"}}]}`), "a/0")
}

func FuzzLinks(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, codec uint64, data []byte, _ string) {
		links, err := dag.Links(block.Block{CID: cid.NewCidV1(codec, identityOf(t, codec, nil).Hash()), Data: data})
		if err != nil && links != nil {
			t.Error("links beside an error")
		}
		for _, c := range links {
			if !c.Defined() {
				t.Error("an undefined link")
			}
		}
	})
}

// FuzzTraverse puts one hostile block among good ones and traverses it in all ways.
func FuzzTraverse(f *testing.F) {
	seeds(f)
	good := fixtures(f)
	f.Fuzz(func(t *testing.T, codec uint64, data []byte, path string) {
		m := &memory{blocks: maps.Clone(good.blocks)}
		root := m.data(t, codec, data)
		segments := strings.Split(path, "/")
		r, err := dag.Resolve(t.Context(), m, root, segments)
		if err == nil && (!r.Terminus.Defined() || len(r.Visited) == 0) {
			t.Errorf("path %q: %+v", path, r)
		}
		for _, sel := range []block.Selection{
			{Root: root},
			{Root: root, Path: segments, Scope: block.ScopeEntity},
			{Root: root, Bytes: &block.ByteRange{From: -7, Open: true}},
		} {
			n := 0
			for b, err := range dag.Walk(t.Context(), m, sel) {
				if n++; err == nil && !b.CID.Defined() {
					t.Error("a block without a name")
				}
			}
			if n > len(m.blocks) {
				t.Errorf("%d values from %d blocks", n, len(m.blocks))
			}
		}
		size, sizeErr := dag.FileSize(t.Context(), m, root)
		var total int64
		for data, err := range dag.FileBytes(t.Context(), m, root) {
			if total += int64(len(data)); err != nil {
				size = -1
			}
			if total > 1<<20 {
				size = -1
				break
			}
		}
		if sizeErr == nil && size >= 0 && total != size {
			t.Errorf("%d bytes of a file of %d", total, size)
		}
		for range dag.Entries(t.Context(), m, m.blocks[digestOf(t, root)]) {
		}
	})
}
