package dag_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"testing"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/unixfs"
)

// part is a link of a hand-made file node, with the size that it is said to have.
type part struct {
	c    cid.Cid
	size int64
}

// fileNode stores a file node with data of its own and parts.
func (m *memory) fileNode(t testing.TB, data []byte, parts ...part) cid.Cid {
	t.Helper()
	var node, inner []byte
	total := uint64(len(data))
	for _, p := range parts {
		link := protowire.AppendBytes([]byte{0x0a}, p.c.Bytes())
		node = protowire.AppendBytes(append(node, 0x12), link)
		total += uint64(p.size)
	}
	inner = append(inner, 0x08, byte(unixfs.File))
	inner = protowire.AppendBytes(append(inner, 0x12), data)
	inner = protowire.AppendVarint(append(inner, 0x18), total)
	for _, p := range parts {
		inner = protowire.AppendVarint(append(inner, 0x20), uint64(p.size))
	}
	return m.data(t, cid.DagProtobuf, protowire.AppendBytes(append(node, 0x0a), inner))
}

// inline stores data as a file in which interior nodes carry bytes as well.
func (m *memory) inline(t testing.TB, data []byte) cid.Cid {
	if len(data) <= 8 {
		return m.fileNode(t, data)
	}
	own, rest := data[:5], data[5:]
	half := len(rest) / 2
	return m.fileNode(t, own,
		part{m.inline(t, rest[:half]), int64(half)},
		part{m.data(t, cid.Raw, nil), 0},
		part{m.inline(t, rest[half:]), int64(len(rest) - half)})
}

func content(t testing.TB, src block.Source, c cid.Cid) ([]byte, error) {
	t.Helper()
	var all []byte
	for data, err := range dag.FileBytes(t.Context(), src, c) {
		if err != nil {
			return all, err
		}
		all = append(all, data...)
	}
	return all, nil
}

func TestFileBytes(t *testing.T) {
	for _, data := range [][]byte{nil, random(1, 1), random(1, 150), bytes.Repeat([]byte{7}, 150)} {
		m := newMemory()
		for name, c := range m.layouts(t, data) {
			got, err := content(t, m, c)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s of %d bytes: %d bytes, %v", name, len(data), len(got), err)
			}
			size, err := dag.FileSize(t.Context(), m, c)
			if err != nil || size != int64(len(data)) {
				t.Errorf("%s of %d bytes: size %d, %v", name, len(data), size, err)
			}
		}
	}
}

// Every block that a range yields is needed, and with them alone the range can be
// read.
func TestRangesAreMinimal(t *testing.T) {
	rangesAreMinimal(t, random(4, 60))
	rangesAreMinimal(t, bytes.Repeat(random(9, 30), 3)) // subtrees that occur again
}

func rangesAreMinimal(t *testing.T, data []byte) {
	m := newMemory()
	for name, c := range m.layouts(t, data) {
		for from := 0; from < len(data); from += 3 {
			for to := from; to < len(data); to += 7 {
				sel := block.Selection{Root: c, Bytes: &block.ByteRange{From: int64(from), To: int64(to)}}
				got := newMemory()
				for b, err := range dag.Walk(t.Context(), m, sel) {
					if err != nil {
						t.Fatal(err)
					}
					got.put(t, b, nil)
				}
				if !canRead(t, got, sel) {
					t.Fatalf("%s %s: blocks are missing", name, sel.Bytes)
				}
				for d := range got.blocks {
					less := newMemory()
					for e, b := range got.blocks {
						if e != d {
							less.blocks[e] = b
						}
					}
					if canRead(t, less, sel) {
						t.Fatalf("%s %s: %s is not needed", name, sel.Bytes, d)
					}
				}
			}
		}
	}
}

// canRead tells whether the source holds the bytes of a range, by a reader that
// has nothing in common with Walk.
func canRead(t *testing.T, src *memory, sel block.Selection) bool {
	t.Helper()
	var read func(c cid.Cid, at int64) bool
	read = func(c cid.Cid, at int64) bool {
		b, ok := src.blocks[digestOf(t, c)]
		if !ok {
			return false
		}
		b.CID = c
		n, err := unixfs.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		at += int64(len(n.Data))
		for i, l := range n.Links {
			size := int64(n.BlockSizes[i])
			if size > 0 && at <= sel.Bytes.To && at+size > sel.Bytes.From && !read(l.CID, at) {
				return false
			}
			at += size
		}
		return true
	}
	return read(sel.Root, 0)
}

func TestFilesThatLie(t *testing.T) {
	m := newMemory()
	raw := m.data(t, cid.Raw, []byte("0123456789"))
	dir := m.dir(t, profile(t, unixfs.V1, nil), nil)
	for name, c := range map[string]cid.Cid{
		"short part":        m.fileNode(t, nil, part{raw, 11}),
		"long part":         m.fileNode(t, nil, part{raw, 9}),
		"huge part":         m.fileNode(t, []byte("x"), part{raw, math.MaxInt64 - 1}),
		"directory as part": m.fileNode(t, nil, part{dir.c, 4}),
		"deep":              m.fileNode(t, nil, part{m.fileNode(t, nil, part{raw, 12}), 12}),
	} {
		if _, err := content(t, m, c); !errors.Is(err, dag.ErrMalformed) {
			t.Errorf("FileBytes of %s: %v", name, err)
		}
		if _, err := walk(t, m, selection(t, c.String(), block.ScopeEntity, "0:*")); !errors.Is(err, dag.ErrMalformed) {
			t.Errorf("range of %s: %v", name, err)
		}
	}
	if _, err := content(t, m, m.fileNode(t, nil, part{m.cbor(t, nil), 1})); !errors.Is(err, unixfs.ErrNotUnixFS) {
		t.Errorf("FileBytes of a dag-cbor part: %v", err)
	}
	if _, err := content(t, m, dir.c); !errors.Is(err, dag.ErrNotFile) {
		t.Errorf("FileBytes of a directory: %v", err)
	}
	if _, err := dag.FileSize(t.Context(), m, m.cbor(t, nil)); !errors.Is(err, dag.ErrNotFile) {
		t.Errorf("FileSize of dag-cbor: %v", err)
	}
	absent := m.fileNode(t, []byte("abc"), part{parse(t, hello), 12})
	got, err := content(t, m, absent)
	if !errors.Is(err, fs.ErrNotExist) || string(got) != "abc" {
		t.Errorf("FileBytes with a block missing: %q, %v", got, err)
	}
}

// Nodes that hold no bytes can be nested to an astronomic number of visits.
func TestEmptyPartsAreNotFollowed(t *testing.T) {
	m := newMemory()
	c := m.data(t, cid.Raw, nil)
	for range 60 {
		c = m.fileNode(t, nil, part{c, 0}, part{c, 0}, part{c, 0})
	}
	got, err := content(t, m, c)
	if err != nil || len(got) != 0 || len(m.reads) != 1 {
		t.Errorf("%d bytes, %v after %d reads", len(got), err, len(m.reads))
	}
	// The same with bytes at the end: each block is walked once.
	c = m.data(t, cid.Raw, []byte("x"))
	size := int64(1)
	for range 60 {
		c, size = m.fileNode(t, nil, part{c, size}, part{c, size}), size*2
	}
	for _, bytes := range []string{"", "0:*", "5:-5", "1000000:2000000"} {
		sel := selection(t, c.String(), block.ScopeEntity, bytes)
		sel.Dups = false
		if got, err := walk(t, m, sel); err != nil || len(got) < 50 || len(got) > 61 {
			t.Errorf("bomb, bytes %q: %d blocks, %v", bytes, len(got), err)
		}
	}
}

func TestRangesOutside(t *testing.T) {
	m := fixtures(t)
	for _, bytes := range []string{"1026:*", "2000:3000", "-5000:-3000"} {
		got, err := walk(t, m, selection(t, multiblock, "", bytes))
		if !errors.Is(err, block.ErrRange) || len(got) != 0 {
			t.Errorf("%s: %v, %v", bytes, got, err)
		}
	}
	if got, err := walk(t, m, selection(t, multiblock, "", "5:-1024")); err != nil || len(got) != 1 {
		t.Errorf("a range whose ends cross: %v, %v", got, err) // the root alone, by the specification
	}
	empty := m.data(t, cid.Raw, nil)
	if got, err := walk(t, m, selection(t, empty.String(), "", "0:5")); err != nil || len(got) != 1 {
		t.Errorf("range of the empty file: %v, %v", got, err)
	}
}
