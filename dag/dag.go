// Package dag traverses DAGs of blocks: it resolves paths, and it walks what a
// [block.Selection] selects in the order that the trustless gateway answers in
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
//
// It understands dag-pb with UnixFS, dag-cbor and dag-json. Blocks of any other
// codec are leaves. It is pure: all blocks come from a [block.Source], each is
// demanded when its turn in depth-first order comes, and none is read twice for
// one visit. Identity CIDs are traversed without asking the source.
//
// # Errors
//
// A block or a name that does not exist matches [io/fs.ErrNotExist]. A path that
// goes on where a value has no link matches [block.ErrNotLink], a byte range
// outside a file [block.ErrRange], bytes of something that is no file
// [ErrNotFile]. Content that contradicts itself matches [ErrMalformed] or
// [unixfs.ErrMalformed], and a DAG that would take too much memory [ErrLimit].
//
// All functions may be called at the same time. An iterator runs in its caller,
// and stops without reading on when the caller breaks.
package dag

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/unixfs"
)

// Limits of one traversal. They bound the memory that a hostile DAG can take.
const (
	maxDepth   = 1 << 16 // links from the terminus down
	maxPending = 1 << 19 // links on the way down that are yet to be followed
	maxNesting = 256     // maps and lists inside each other in one block
)

var (
	// ErrMalformed reports a block that is not what its codec or its parent says.
	ErrMalformed = errors.New("malformed content")
	// ErrNotFile reports that something other than a file was asked for its bytes.
	ErrNotFile = errors.New("not a file")
	// ErrNotDir reports that something other than a directory was asked for its entries.
	ErrNotDir = errors.New("not a directory")
	// ErrLimit reports a DAG deeper or wider than a traversal can hold.
	ErrLimit = errors.New("the DAG is too deep or too wide")
)

// Links returns the CIDs that a block links to, in the order they stand in it and
// as often as they do. A block of codec raw, or of one that is not known, has none.
func Links(b block.Block) ([]cid.Cid, error) {
	switch b.CID.Type() {
	case cid.DagProtobuf:
		links, err := unixfs.DecodeLinks(b.Data)
		if err != nil {
			return nil, fmt.Errorf("dag: links of %s: %w", b.CID, err)
		}
		cids := make([]cid.Cid, len(links))
		for i, l := range links {
			cids[i] = l.CID
		}
		return cids, nil
	case cid.DagCBOR, cid.DagJSON:
		return nodeLinks(b)
	}
	return nil, nil
}

func nodeLinks(b block.Block) ([]cid.Cid, error) {
	node, err := decodeNode(b)
	if err != nil {
		return nil, fmt.Errorf("dag: links of %s: %w", b.CID, err)
	}
	links, err := traversal.SelectLinks(node)
	if err != nil {
		return nil, fmt.Errorf("dag: links of %s: %w", b.CID, err)
	}
	cids := make([]cid.Cid, 0, len(links))
	for _, l := range links {
		if l, ok := l.(cidlink.Link); ok && l.Cid.Defined() {
			cids = append(cids, l.Cid)
		}
	}
	return cids, nil
}

// decodeNode reads a block of codec dag-cbor or dag-json. It takes the forms that
// older software wrote: the block is what its CID names, canonical or not.
func decodeNode(b block.Block) (datamodel.Node, error) {
	if len(b.Data) > block.MaxSize {
		return nil, block.ErrTooLarge
	}
	nb := basicnode.Prototype.Any.NewBuilder()
	var err error
	if b.CID.Type() == cid.DagJSON {
		o := dagjson.DecodeOptions{ParseLinks: true, ParseBytes: true, MaxDepth: maxNesting}
		err = o.Decode(nb, bytes.NewReader(b.Data))
	} else {
		o := dagcbor.DecodeOptions{AllowLinks: true, RelaxedDecode: true, MaxDepth: maxNesting}
		err = o.Decode(nb, bytes.NewReader(b.Data))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nb.Build(), nil
}
