package dag_test

import (
	"context"
	"fmt"
	"io/fs"
	"iter"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
	"github.com/ipfs/go-cid"
)

// exampleSource is the simplest source.
type exampleSource map[digest.Digest][]byte

func (s exampleSource) Blocks(_ context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		data, ok := s[d]
		if !ok {
			yield(block.Block{}, fs.ErrNotExist)
			return
		}
		yield(block.Block{CID: d.CID(cid.Raw), Data: data}, nil)
	}
}

func (s exampleSource) add(b block.Block, err error) cid.Cid {
	if err != nil {
		panic(err)
	}
	d, _ := digest.FromCID(b.CID)
	s[d] = b.Data
	return b.CID
}

func Example() {
	src := exampleSource{}
	p, _ := unixfs.ParseProfile(unixfs.V1)
	p.ChunkSize = 6
	shape := p.FileRoot(11)
	root := src.add(p.FileNode(shape, []cid.Cid{
		src.add(p.Leaf([]byte("hello "))),
		src.add(p.Leaf([]byte("world"))),
	}))

	// The blocks that prove the last two bytes.
	last := block.Selection{Root: root, Bytes: &block.ByteRange{From: -2, Open: true}}
	for b, err := range dag.Walk(context.Background(), src, last) {
		fmt.Println(len(b.Data), "bytes", err)
	}
	for data, err := range dag.FileBytes(context.Background(), src, root) {
		fmt.Printf("%q %v\n", data, err)
	}
	// Output:
	// 98 bytes <nil>
	// 5 bytes <nil>
	// "hello " <nil>
	// "world" <nil>
}
