package dag_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/unixfs"
)

// Every block is read when its turn comes, once, and none after the consumer
// stopped.
func TestWalkReadsOnce(t *testing.T) {
	p := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.HAMTFanout, p.HAMTThreshold = 16, 3, 8, 300 })
	m := newMemory()
	root, _ := m.tree(t, p, rand.New(rand.NewPCG(5, 5)), 3)
	sub, paths := m.tree(t, p, rand.New(rand.NewPCG(6, 6)), 2)
	top := m.dir(t, p, map[string]node{"a": root, "b": sub})
	sels := []block.Selection{
		{Root: top.c},
		{Root: top.c, Dups: true},
		{Root: top.c, Path: []string{"a"}, Dups: true, Scope: block.ScopeEntity},
		{Root: top.c, Path: append([]string{"b"}, strings.Split(paths[0], "/")...)},
	}
	for _, sel := range sels {
		m.reads = nil
		var yielded []string
		for b, err := range dag.Walk(t.Context(), m, sel) {
			if err != nil {
				t.Fatal(err)
			}
			yielded = append(yielded, digestOf(t, b.CID).String())
			if got := len(m.reads); got != len(yielded) {
				t.Fatalf("%d reads for %d blocks", got, len(yielded))
			}
		}
		var reads []string
		for _, d := range m.reads {
			reads = append(reads, d.String())
		}
		if diff := cmp.Diff(yielded, reads); diff != "" {
			t.Errorf("%+v (-yielded +read):\n%s", sel, diff)
		}
		if !sel.Dups && len(slices.Compact(slices.Sorted(slices.Values(yielded)))) != len(yielded) {
			t.Errorf("%+v yields a block twice", sel)
		}
		m.reads = nil
		for range dag.Walk(t.Context(), m, sel) {
			break
		}
		if len(m.reads) != 1 {
			t.Errorf("%+v: %d reads before the consumer stopped", sel, len(m.reads))
		}
	}
}

func TestWalkFails(t *testing.T) {
	m := fixtures(t)
	got, err := walk(t, m, selection(t, missing, block.ScopeAll, ""))
	if diff := cmp.Diff([]string{missing, missing0}, got); diff != "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing block: %v\n%s", err, diff)
	}
	got, err = walk(t, m, selection(t, twoFiles+"/subdir/absent", block.ScopeAll, ""))
	if diff := cmp.Diff([]string{twoFiles, twoFilesSub}, got); diff != "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing name: %v\n%s", err, diff)
	}
	garbage := m.data(t, cid.DagProtobuf, []byte("hello world"))
	for _, scope := range []block.Scope{block.ScopeAll, block.ScopeEntity} {
		if got, err := walk(t, m, selection(t, garbage.String(), scope, "")); !errors.Is(err, unixfs.ErrMalformed) || len(got) != 1 {
			t.Errorf("%s of garbage: %v, %v", scope, got, err)
		}
	}
	if got, err := walk(t, m, selection(t, garbage.String(), block.ScopeBlock, "")); err != nil || len(got) != 1 {
		t.Errorf("the block of garbage: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err = range dag.Walk(ctx, m, selection(t, duplicates, block.ScopeAll, "")) {
		n++
		cancel()
	}
	if n != 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled after the first block: %d values, %v", n, err)
	}
	if _, err := walk(t, m, block.Selection{}); err == nil {
		t.Error("a walk without a root")
	}
}

// A digest can occur under several codecs: it is yielded once, but what is below
// it under either codec is walked.
func TestOneDigestUnderTwoCodecs(t *testing.T) {
	m := newMemory()
	leaf := m.data(t, cid.Raw, []byte("leaf"))
	inner := m.cbor(t, map[string]cid.Cid{"leaf": leaf})
	asRaw := cid.NewCidV1(cid.Raw, inner.Hash())
	root := m.cbor(t, map[string]cid.Cid{"a": asRaw, "b": inner, "c": inner, "d": asRaw})
	got, err := walk(t, m, block.Selection{Root: root})
	if diff := cmp.Diff([]string{root.String(), asRaw.String(), leaf.String()}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func identityOf(t testing.TB, codec uint64, data []byte) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(codec, mh)
}

func TestIdentityIsTraversed(t *testing.T) {
	m := newMemory()
	leaf := m.data(t, cid.Raw, []byte("leaf"))
	inner := m.blocks[digestOf(t, m.cbor(t, map[string]cid.Cid{"leaf": leaf}))].Data
	id := identityOf(t, cid.DagCBOR, inner)
	root := m.cbor(t, map[string]cid.Cid{"id": id})
	for _, dups := range []bool{true, false} {
		got, err := walk(t, m, block.Selection{Root: root, Dups: dups})
		if diff := cmp.Diff([]string{root.String(), leaf.String()}, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		got, err = walk(t, m, block.Selection{Root: root, Path: []string{"id", "leaf"}, Dups: dups})
		if diff := cmp.Diff([]string{root.String(), leaf.String()}, got); diff != "" || err != nil {
			t.Errorf("path: %v\n%s", err, diff)
		}
	}
	long := m.cbor(t, map[string]cid.Cid{"id": identityOf(t, cid.Raw, make([]byte, 129))})
	if _, err := walk(t, m, block.Selection{Root: long}); err == nil {
		t.Error("an identity CID of 129 bytes is taken")
	}
}

func TestDeepDAGs(t *testing.T) {
	m := newMemory()
	c := m.data(t, cid.Raw, []byte("end"))
	for range 5000 { // such as a log, where each entry links to the one before
		c = m.cbor(t, map[string]cid.Cid{"prev": c})
	}
	if got, err := walk(t, m, block.Selection{Root: c}); err != nil || len(got) != 5001 {
		t.Errorf("a chain of 5001: %d blocks, %v", len(got), err)
	}
	for range 62000 {
		c = m.cbor(t, map[string]cid.Cid{"prev": c})
	}
	if got, err := walk(t, m, block.Selection{Root: c}); !errors.Is(err, dag.ErrLimit) {
		t.Errorf("a chain of 67001: %d blocks, %v", len(got), err)
	}
	// Wide at every level: the links that wait would take all memory.
	c = m.data(t, cid.Raw, []byte("end"))
	for level := range 10 {
		var list []byte
		list = append(list, 0x9a, 0, 1, 0x11, 0x70) // 70000 links
		link := append([]byte{0xd8, 0x2a, 0x45, 0}, identityOf(t, cid.Raw, nil).Bytes()...)
		first := append([]byte{0xd8, 0x2a, 0x58, byte(c.ByteLen() + 1), 0}, c.Bytes()...)
		list = append(list, first...)
		for range 70000 - 1 {
			list = append(list, link...)
		}
		c = m.data(t, cid.DagCBOR, list)
		_ = level
	}
	if got, err := walk(t, m, block.Selection{Root: c, Dups: true}); !errors.Is(err, dag.ErrLimit) {
		t.Errorf("70000 links at each of 10 levels: %d blocks, %v", len(got), err)
	}
}

func TestBombs(t *testing.T) {
	m := newMemory()
	c := m.data(t, cid.Raw, []byte("end"))
	for range 100 { // 2^100 paths
		c = m.cbor(t, map[string]cid.Cid{"a": c, "b": c})
	}
	if got, err := walk(t, m, block.Selection{Root: c}); err != nil || len(got) != 101 {
		t.Errorf("bomb: %d blocks, %v", len(got), err)
	}
	nested := append(slices.Repeat([]byte{0x81}, 1<<20), 0)
	json := append(slices.Repeat([]byte{'['}, 1<<20), slices.Repeat([]byte{']'}, 1<<20)...)
	for codec, data := range map[uint64][]byte{cid.DagCBOR: nested, cid.DagJSON: json} {
		if _, err := dag.Links(block.Block{CID: m.data(t, codec, data), Data: data}); !errors.Is(err, dag.ErrMalformed) {
			t.Errorf("codec 0x%x nested a million deep: %v", codec, err)
		}
	}
}

func TestEntries(t *testing.T) {
	p := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.HAMTFanout, p.HAMTThreshold = 8, 1000 })
	for _, n := range []int{0, 1, 10, 500} {
		m := newMemory()
		nodes := map[string]node{}
		for i := range n {
			nodes[fmt.Sprintf("%d ä.txt", i)] = m.file(t, p, fmt.Append(nil, i))
		}
		root := m.dir(t, p, nodes)
		dir := m.blocks[digestOf(t, root.c)]
		m.reads = nil
		seen := 0
		for l, err := range dag.Entries(t.Context(), m, dir) {
			if err != nil {
				t.Fatal(err)
			}
			if want := nodes[l.Name]; !l.CID.Equals(want.c) || l.Tsize != want.tsize {
				t.Errorf("%q: %+v, want %+v", l.Name, l, want)
			}
			delete(nodes, l.Name)
			seen++
		}
		if seen != n || len(nodes) != 0 {
			t.Errorf("%d of %d entries, %d are missing", seen, n, len(nodes))
		}
		// The shards are demanded in the order of Walk.
		var walked []string
		for b, err := range dag.Walk(t.Context(), m, block.Selection{Root: root.c, Scope: block.ScopeEntity}) {
			if err != nil {
				t.Fatal(err)
			}
			walked = append(walked, digestOf(t, b.CID).String())
		}
		var reads []string
		for _, d := range m.reads[:len(m.reads)-len(walked)] {
			reads = append(reads, d.String())
		}
		if diff := cmp.Diff(walked[1:], reads, cmp.Transformer("", func(s []string) string { return strings.Join(s, "\n") })); diff != "" {
			t.Errorf("%d entries: shards (-walk +entries):\n%s", n, diff)
		}
	}
}

func TestEntriesRefuses(t *testing.T) {
	m := newMemory()
	leaf := m.data(t, cid.Raw, nil)
	shard := func(links map[byte]part2) cid.Cid { return m.shard(t, links) }
	empty := shard(nil)
	bomb := shard(map[byte]part2{0: {"name", leaf}})
	for range 30 {
		bomb = shard(map[byte]part2{0: {"", bomb}, 1: {"", bomb}, 2: {"", bomb}})
	}
	// A name whose first bits make it look right in a shard of another fanout.
	name := ""
	for i := 0; ; i++ {
		name = fmt.Sprint(i)
		if h := unixfs.NameHash(name); h>>53&0xff == h>>56 {
			break
		}
	}
	wide := m.dir(t, profile(t, unixfs.V1, func(p *unixfs.Profile) { p.HAMTThreshold = 1 }), map[string]node{name: {leaf, 0}}).c
	plain := m.dir(t, profile(t, unixfs.V1, nil), nil).c
	wrong := byte(0)
	for unixfs.NameHash("name")>>61 == uint64(wrong) {
		wrong++
	}
	for name, c := range map[string]cid.Cid{
		"empty shard":   shard(map[byte]part2{0: {"", empty}}),
		"other fanout":  shard(map[byte]part2{byte(unixfs.NameHash(name) >> 61): {"", wide}}),
		"plain shard":   shard(map[byte]part2{0: {"", plain}}),
		"deep":          bomb,
		"another place": shard(map[byte]part2{wrong: {"name", leaf}}),
	} {
		var last error
		n := 0
		for _, err := range dag.Entries(t.Context(), m, m.blocks[digestOf(t, c)]) {
			last = err
			n++
		}
		if !errors.Is(last, dag.ErrMalformed) || n > 2 {
			t.Errorf("%s: %v after %d values", name, last, n)
		}
	}
	if _, err := dag.Resolve(t.Context(), m, bomb, []string{"name"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name in shards without end: %v", err)
	}
	for _, err := range dag.Entries(t.Context(), m, m.blocks[digestOf(t, leaf)]) {
		if !errors.Is(err, dag.ErrNotDir) {
			t.Errorf("entries of a file: %v", err)
		}
	}
}

// Directories of early software have no UnixFS data.
func TestPlainDagPB(t *testing.T) {
	m := newMemory()
	leaf := m.data(t, cid.Raw, []byte("x"))
	link := append([]byte{0x0a, 36}, leaf.Bytes()...)
	link = append(link, 0x12, 4, 'n', 'a', 'm', 'e')
	root := m.data(t, cid.DagProtobuf, append([]byte{0x12, byte(len(link))}, link...))
	r, err := dag.Resolve(t.Context(), m, root, []string{"name"})
	if err != nil || !r.Terminus.Equals(leaf) {
		t.Errorf("%v, %v", r.Terminus, err)
	}
	if _, err := dag.Resolve(t.Context(), m, root, []string{"other"}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	got, err := walk(t, m, block.Selection{Root: root, Scope: block.ScopeEntity})
	if diff := cmp.Diff([]string{root.String()}, got); diff != "" || err != nil {
		t.Errorf("entity: %v\n%s", err, diff)
	}
	list := m.data(t, cid.DagCBOR, append([]byte{0x82, 0, 0xd8, 0x2a, 0x58, 37, 0}, leaf.Bytes()...))
	for segment, want := range map[string]error{"0": block.ErrNotLink, "1": nil, "2": fs.ErrNotExist, "01": fs.ErrNotExist, "-1": fs.ErrNotExist} {
		if r, err := dag.Resolve(t.Context(), m, list, []string{segment}); !errors.Is(err, want) || (want == nil && !r.Terminus.Equals(leaf)) {
			t.Errorf("index %q: %v, %v; want %v", segment, r.Terminus, err, want)
		}
	}
	other := identityOf(t, 0x78, []byte("git"))
	if _, err := dag.Resolve(t.Context(), m, other, []string{"x"}); !errors.Is(err, block.ErrNotLink) {
		t.Errorf("a path into an unknown codec: %v", err)
	}
}
