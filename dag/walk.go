package dag

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
)

// Walk yields the blocks of sel: those of the path first, then from the terminus
// on those of the scope, depth first and in the order of links. It stops after
// the first error. Without sel.Dups it yields each digest once. Blocks of identity
// CIDs are not yielded. An empty scope is [block.ScopeAll].
//
// With sel.Bytes it yields the fewest blocks of a file that hold the range, and
// demands that the sizes in it agree with each other. A range that lies wholly
// outside the file gives [block.ErrRange] before the terminus is yielded. On
// anything but a file, sel.Bytes means [block.ScopeEntity].
func Walk(ctx context.Context, src block.Source, sel block.Selection) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		w := walker{src: src, sel: sel, yield: yield}
		if !sel.Dups {
			w.seen = make(map[digest.Digest]visit)
		}
		if err := w.run(ctx); err != nil && err != errStop {
			yield(block.Block{}, err)
		}
	}
}

// errStop says that the consumer wants no more.
var errStop = errors.New("stopped")

// walker is the state of one walk.
type walker struct {
	src     block.Source
	sel     block.Selection
	yield   func(block.Block, error) bool
	seen    map[digest.Digest]visit // nil if duplicates are wanted
	again   map[visitKey]bool       // digests that were met under a second codec
	stack   []frame
	pending int // targets in the stack
}

// visit is how a digest was met first.
type visit struct {
	codec uint64
	whole bool // everything below was walked, not a range of it
}

type visitKey struct {
	d     digest.Digest
	codec uint64
}

// frame is what is left of a node's children.
type frame struct {
	expand   expand
	children []target
}

// target is a link to follow.
type target struct {
	c    cid.Cid
	part part
}

// expand says which links of a block to follow.
type expand func(b block.Block, p part) ([]target, error)

func (w *walker) run(ctx context.Context) error {
	terminus, err := resolve(ctx, w.src, w.sel.Root, w.sel.Path, w.path)
	if err != nil {
		return err
	}
	b, err := block.Get(ctx, w.src, terminus)
	if err != nil {
		return fmt.Errorf("dag: walk %s: %w", terminus, err)
	}
	fr, err := w.root(b)
	if errors.Is(err, block.ErrRange) {
		return fmt.Errorf("dag: walk %s: %w", terminus, err)
	}
	if emit, _ := w.meet(terminus, true); emit {
		if err := w.emit(b); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("dag: walk %s: %w", terminus, err)
	}
	if err := w.push(fr); err != nil {
		return err
	}
	return w.drain(ctx)
}

// path takes a block on the way to the terminus.
func (w *walker) path(b block.Block) error {
	if emit, _ := w.meet(b.CID, true); emit {
		return w.emit(b)
	}
	return nil
}

func (w *walker) emit(b block.Block) error {
	if b.CID.Prefix().MhType == uint64(digest.Identity) {
		return nil
	}
	if !w.yield(b, nil) {
		return errStop
	}
	return nil
}

// root chooses how to go on from the terminus.
func (w *walker) root(b block.Block) (frame, error) {
	scope := w.sel.Scope
	if w.sel.Bytes != nil {
		scope = block.ScopeEntity
	}
	switch scope {
	case block.ScopeBlock:
		return frame{}, nil
	case block.ScopeEntity:
		return w.entity(b)
	}
	children, err := expandAll(b, part{})
	return frame{expandAll, children}, err
}

func (w *walker) entity(b block.Block) (frame, error) {
	n, err := unixfs.Decode(b)
	switch {
	case errors.Is(err, unixfs.ErrNotUnixFS):
		return frame{}, nil
	case err != nil:
		return frame{}, err
	case n.IsFile() && w.sel.Bytes != nil:
		p, err := newPart(n.FileSize, *w.sel.Bytes)
		if err != nil {
			return frame{}, err
		}
		return frame{expandRange, p.children(n)}, nil
	case n.IsFile():
		children, err := expandFile(b, part{})
		return frame{expandFile, children}, err
	case n.Type == unixfs.HAMT:
		return frame{expandShards(n.Fanout), shards(n, part{})}, nil
	}
	return frame{}, nil
}

// drain follows the links on the stack, the deepest first.
func (w *walker) drain(ctx context.Context) error {
	for len(w.stack) > 0 {
		top := &w.stack[len(w.stack)-1]
		if len(top.children) == 0 {
			w.stack[len(w.stack)-1] = frame{}
			w.stack = w.stack[:len(w.stack)-1]
			continue
		}
		t := top.children[0]
		top.children = top.children[1:]
		w.pending--
		if err := w.follow(ctx, t, top.expand); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) follow(ctx context.Context, t target, ex expand) error {
	emit, descend := w.meet(t.c, t.part.whole())
	if !emit && !descend {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("dag: walk %s: %w", t.c, context.Cause(ctx))
	}
	b, err := block.Get(ctx, w.src, t.c)
	if err != nil {
		return fmt.Errorf("dag: walk %s: %w", t.c, err)
	}
	if emit {
		if err := w.emit(b); err != nil {
			return err
		}
	}
	if !descend {
		return nil
	}
	children, err := ex(b, t.part)
	if err != nil {
		return fmt.Errorf("dag: walk %s: %w", t.c, err)
	}
	return w.push(frame{ex, children})
}

func (w *walker) push(f frame) error {
	if len(f.children) == 0 {
		return nil
	}
	w.pending += len(f.children)
	if len(w.stack) >= maxDepth || w.pending > maxPending {
		return fmt.Errorf("dag: walk %s: %w", w.sel.Root, ErrLimit)
	}
	w.stack = append(w.stack, f)
	return nil
}

// meet records that the walk came to c, and whether it will walk all that is
// below. It says whether to yield the block and whether to look below it: a digest
// is yielded once, but below it must be looked again as long as that was not done
// for the whole, or not under this codec.
func (w *walker) meet(c cid.Cid, whole bool) (emit, descend bool) {
	if w.seen == nil {
		return true, true
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return true, true // reading it gives the error
	}
	codec := c.Type()
	first, met := w.seen[d]
	switch {
	case !met:
		w.seen[d] = visit{codec, whole}
		return true, true
	case first.codec == codec:
		w.seen[d] = visit{codec, first.whole || whole}
		return false, !first.whole
	}
	key := visitKey{d, codec}
	if w.again[key] {
		return false, false
	}
	if w.again == nil {
		w.again = make(map[visitKey]bool)
	}
	w.again[key] = whole
	return false, true
}

// expandAll follows every link.
func expandAll(b block.Block, _ part) ([]target, error) {
	cids, err := Links(b)
	if err != nil {
		return nil, err
	}
	targets := make([]target, len(cids))
	for i, c := range cids {
		targets[i].c = c
	}
	return targets, nil
}

// expandShards follows the links of a shard to other shards.
func expandShards(fanout int) expand {
	return func(b block.Block, p part) ([]target, error) {
		n, err := decodeShard(b, fanout)
		if err != nil {
			return nil, err
		}
		return shards(n, p), nil
	}
}

func shards(n *unixfs.Node, p part) (targets []target) {
	for i := range n.Links {
		if l, shard := n.Entry(i); shard {
			targets = append(targets, target{l.CID, p})
		}
	}
	return targets
}
