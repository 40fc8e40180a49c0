package dag

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/unixfs"
)

// Resolution is where a path leads.
type Resolution struct {
	Terminus cid.Cid       // what the path ends at; it was not read
	Visited  []block.Block // every block that proves the way there, from the root on, identity CIDs included
}

// Resolve follows path, the decoded names of its segments, from root through
// directories, HAMT shards, named links of plain dag-pb, and maps and lists of
// dag-cbor and dag-json. On an error the blocks read so far are in Visited.
func Resolve(ctx context.Context, src block.Source, root cid.Cid, path []string) (Resolution, error) {
	var r Resolution
	var err error
	r.Terminus, err = resolve(ctx, src, root, path, func(b block.Block) error {
		r.Visited = append(r.Visited, b)
		return nil
	})
	return r, err
}

// resolve calls visit with each block on the way, before it looks into it. An
// error of visit ends it.
func resolve(ctx context.Context, src block.Source, root cid.Cid, path []string, visit func(block.Block) error) (cid.Cid, error) {
	at := root
	for rest := path; len(rest) > 0; {
		b, err := block.Get(ctx, src, at)
		if err != nil {
			return cid.Undef, fmt.Errorf("dag: resolve %q: %w", rest[0], err)
		}
		if err := visit(b); err != nil {
			return cid.Undef, err
		}
		var used int
		switch at.Type() {
		case cid.DagProtobuf, cid.Raw:
			at, err = lookup(ctx, src, b, rest[0], visit)
			used = 1
		case cid.DagCBOR, cid.DagJSON:
			at, used, err = lookupNode(b, rest)
		default:
			err = fmt.Errorf("codec 0x%x: %w", at.Type(), block.ErrNotLink)
		}
		if err != nil {
			return cid.Undef, fmt.Errorf("dag: resolve %q in %s: %w", rest[0], b.CID, err)
		}
		rest = rest[used:]
	}
	return at, nil
}

// lookup finds name in the UnixFS directory whose root is b.
func lookup(ctx context.Context, src block.Source, b block.Block, name string, visit func(block.Block) error) (cid.Cid, error) {
	n, err := unixfs.Decode(b)
	if errors.Is(err, unixfs.ErrNotUnixFS) && b.CID.Type() == cid.DagProtobuf {
		return lookupLink(b, name)
	}
	if err != nil {
		return cid.Undef, err
	}
	if !n.IsDir() {
		return cid.Undef, fmt.Errorf("a %s has no entries: %w", n.Type, fs.ErrNotExist)
	}
	for level := 0; ; level++ {
		l, shard, ok := n.Find(name, level)
		if !ok {
			return cid.Undef, fs.ErrNotExist
		}
		if !shard {
			return l.CID, nil
		}
		next, err := block.Get(ctx, src, l.CID)
		if err != nil {
			return cid.Undef, err
		}
		if err := visit(next); err != nil {
			return cid.Undef, err
		}
		if n, err = decodeShard(next, n.Fanout); err != nil {
			return cid.Undef, err
		}
	}
}

// lookupLink finds a named link of a dag-pb node without UnixFS data, which is
// what directories of early software look like.
func lookupLink(b block.Block, name string) (cid.Cid, error) {
	links, err := unixfs.DecodeLinks(b.Data)
	if err != nil {
		return cid.Undef, err
	}
	for _, l := range links {
		if l.Name == name {
			return l.CID, nil
		}
	}
	return cid.Undef, fs.ErrNotExist
}

// decodeShard reads a shard below another. Below the root no shard is empty, and
// all have the same fanout: else a few blocks could stand for endless trees.
func decodeShard(b block.Block, fanout int) (*unixfs.Node, error) {
	n, err := unixfs.Decode(b)
	if err != nil {
		return nil, err
	}
	if n.Type != unixfs.HAMT || n.Fanout != fanout || len(n.Links) == 0 {
		return nil, fmt.Errorf("dag: %s is no shard of its parent: %w", b.CID, ErrMalformed)
	}
	return n, nil
}

// lookupNode follows path inside one block until it meets a link, and returns the
// number of segments that it used.
func lookupNode(b block.Block, path []string) (cid.Cid, int, error) {
	node, err := decodeNode(b)
	if err != nil {
		return cid.Undef, 0, err
	}
	for i, segment := range path {
		if node, err = child(node, segment); err != nil {
			return cid.Undef, 0, err
		}
		if node.Kind() != datamodel.Kind_Link {
			continue
		}
		link, err := node.AsLink()
		if err != nil {
			return cid.Undef, 0, err
		}
		l, ok := link.(cidlink.Link)
		if !ok || !l.Cid.Defined() {
			return cid.Undef, 0, ErrMalformed
		}
		return l.Cid, i + 1, nil
	}
	return cid.Undef, 0, block.ErrNotLink
}

// child returns the value of a map under a key, or of a list at an index.
func child(node datamodel.Node, segment string) (datamodel.Node, error) {
	switch node.Kind() {
	case datamodel.Kind_Map:
		v, err := node.LookupByString(segment)
		if err != nil {
			return nil, fmt.Errorf("no key %q: %w", segment, fs.ErrNotExist)
		}
		return v, nil
	case datamodel.Kind_List:
		i, err := strconv.ParseUint(segment, 10, 31)
		if err != nil || strconv.FormatUint(i, 10) != segment || int64(i) >= node.Length() {
			return nil, fmt.Errorf("no index %q: %w", segment, fs.ErrNotExist)
		}
		return node.LookupByIndex(int64(i))
	}
	return nil, fmt.Errorf("%q below a %s: %w", segment, node.Kind(), block.ErrNotLink)
}
