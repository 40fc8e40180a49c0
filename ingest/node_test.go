package ingest_test

import (
	"bytes"
	"context"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/streamer"
)

// node is a node: packs and an index in memory.
type node struct {
	packs *memblob.Store
	index *index.Index
	serve *streamer.Streamer
	shelf ingest.Shelf
	dst   ingest.Destination
}

func newNode() *node {
	db := memkv.New()
	n := &node{packs: memblob.New(), index: index.New(db, nil)}
	n.serve = streamer.New(n.index, n.packs, nil)
	record := func() ingest.Recorder { return index.NewBuilder(db, index.LevelAll) }
	n.shelf = ingest.Shelf{Keys: db, Packs: n.packs, Complete: n.serve.Complete}
	n.dst = ingest.Destination{Packs: n.packs, Record: record, Has: n.index.Has, Complete: n.serve.Complete}
	return n
}

// served returns the CIDs that the node streams for a selection.
func (n *node) served(t testing.TB, sel block.Selection) []string {
	t.Helper()
	sel.Encoding = block.EncodingCAR
	body, err := n.serve.Open(t.Context(), sel)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	sent, err := body.Send(t.Context(), &buf)
	if err != nil {
		t.Fatal(err)
	}
	if size, ok := body.Size(); ok && size != sent {
		t.Errorf("%d bytes, the size was said to be %d", sent, size)
	}
	r, err := car.NewReader(&buf, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		s, err := r.Next()
		if err != nil {
			return got
		}
		data, err := r.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := block.New(s.CID, data); err != nil {
			t.Fatal(err)
		}
		got = append(got, s.CID.String())
	}
}

// blocks is a source in memory.
type blocks map[digest.Digest]block.Block

func (s blocks) Blocks(_ context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		if b, ok := s[d]; ok {
			yield(b, nil)
		} else {
			yield(block.Block{}, fs.ErrNotExist)
		}
	}
}

func (s blocks) add(t testing.TB, codec uint64, data []byte) cid.Cid {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, data)
	if err != nil {
		t.Fatal(err)
	}
	s[d] = block.Block{CID: d.CID(codec), Data: data}
	return d.CID(codec)
}

// encode writes the blocks as a CAR in random order.
func (s blocks) encode(seed uint64, roots ...cid.Cid) []byte {
	var all []block.Block
	for _, b := range s {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b block.Block) int { return bytes.Compare(a.CID.Bytes(), b.CID.Bytes()) })
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	b := car.AppendHeader(nil, roots...)
	for _, x := range all {
		b = append(car.AppendHead(b, x.CID, int64(len(x.Data))), x.Data...)
	}
	return b
}

// walk is what must be served.
func (s blocks) walk(t testing.TB, sel block.Selection) []string {
	t.Helper()
	var want []string
	for b, err := range dag.Walk(t.Context(), s, sel) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b.CID.String())
	}
	return want
}

func (s blocks) fromOracle(t testing.TB, o *oracle, root cid.Cid) {
	for _, c := range o.order(root) {
		n, err := o.dserv.Get(t.Context(), c)
		o.must(err)
		d, err := digest.FromCID(c)
		o.must(err)
		s[d] = block.Block{CID: c, Data: n.RawData()}
	}
}
