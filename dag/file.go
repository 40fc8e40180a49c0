package dag

import (
	"context"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/unixfs"
)

// part is the range [from, to) of the bytes below a link to size bytes of a file.
// The zero value is everything, of a size that nobody said.
type part struct{ from, to, size int64 }

func (p part) whole() bool { return p.from == 0 && p.to == p.size }

func newPart(size int64, r block.ByteRange) (part, error) {
	from, to, err := r.Resolve(size)
	return part{from, to, size}, err
}

// own returns the bytes of p that n itself holds, before those of its links.
func (p part) own(n *unixfs.Node) []byte {
	held := int64(len(n.Data))
	return n.Data[min(p.from, held):min(p.to, held)]
}

// children returns the links of n that hold bytes of p, each with its own part.
func (p part) children(n *unixfs.Node) (targets []target) {
	at := int64(len(n.Data))
	for i, size := range n.BlockSizes {
		size := int64(size) // Decode allows no size, nor sum, beyond int64
		from, to := max(p.from-at, 0), min(p.to-at, size)
		if from < to {
			targets = append(targets, target{n.Links[i].CID, part{from, to, size}})
		}
		at += size
	}
	return targets
}

// decodeFile reads a part of a file. size is what its parent says, or -1.
func decodeFile(b block.Block, size int64) (*unixfs.Node, error) {
	n, err := unixfs.Decode(b)
	if err != nil {
		return nil, err
	}
	if !n.IsFile() {
		return nil, fmt.Errorf("a %s is part of a file: %w", n.Type, ErrMalformed)
	}
	if size >= 0 && n.FileSize != size {
		return nil, fmt.Errorf("%d bytes of a file where there should be %d: %w", n.FileSize, size, ErrMalformed)
	}
	return n, nil
}

// expandRange follows the links that hold bytes of p.
func expandRange(b block.Block, p part) ([]target, error) {
	n, err := decodeFile(b, p.size)
	if err != nil {
		return nil, err
	}
	return p.children(n), nil
}

// expandFile follows all links of a file, whatever sizes they are said to have.
func expandFile(b block.Block, _ part) ([]target, error) {
	n, err := decodeFile(b, -1)
	if err != nil {
		return nil, err
	}
	targets := make([]target, len(n.Links))
	for i, l := range n.Links {
		targets[i].c = l.CID
	}
	return targets, nil
}

// FileSize returns the bytes of the file at c, by its root block alone. Anything
// else than a file gives [ErrNotFile].
func FileSize(ctx context.Context, src block.Source, c cid.Cid) (int64, error) {
	b, err := block.Get(ctx, src, c)
	if err != nil {
		return 0, fmt.Errorf("dag: size of %s: %w", c, err)
	}
	n, err := rootFile(b)
	if err != nil {
		return 0, fmt.Errorf("dag: size of %s: %w", c, err)
	}
	return n.FileSize, nil
}

func rootFile(b block.Block) (*unixfs.Node, error) {
	n, err := unixfs.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFile, err)
	}
	if !n.IsFile() {
		return nil, fmt.Errorf("%w: a %s", ErrNotFile, n.Type)
	}
	return n, nil
}

// FileBytes yields the content of the file at root, in order and in pieces of at
// most a block, which share memory with the blocks. It demands the blocks depth
// first, each as often as it occurs. The number of bytes is that of [FileSize], or
// the last value is an error: sizes that contradict each other give [ErrMalformed].
func FileBytes(ctx context.Context, src block.Source, root cid.Cid) iter.Seq2[[]byte, error] {
	return FileRange(ctx, src, root, block.ByteRange{Open: true})
}

// FileRange is [FileBytes] of a range. It demands only the blocks that hold bytes of
// it, and those above. A range that lies wholly outside of the file gives [block.ErrRange].
func FileRange(ctx context.Context, src block.Source, root cid.Cid, r block.ByteRange) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := fileBytes(ctx, src, root, r, yield); err != nil && err != errStop {
			yield(nil, fmt.Errorf("dag: read file %s: %w", root, err))
		}
	}
}

func fileBytes(ctx context.Context, src block.Source, root cid.Cid, r block.ByteRange, yield func([]byte, error) bool) error {
	b, err := block.Get(ctx, src, root)
	if err != nil {
		return err
	}
	n, err := rootFile(b)
	if err != nil {
		return err
	}
	// Links of no bytes are not followed, so that every step yields something.
	p, err := newPart(n.FileSize, r)
	if err != nil {
		return err
	}
	var stack [][]target
	for pending := 0; ; {
		if data := p.own(n); len(data) > 0 && !yield(data, nil) {
			return errStop
		}
		children := p.children(n)
		pending += len(children)
		if len(stack) >= maxDepth || pending > maxPending {
			return ErrLimit
		}
		stack = append(stack, children)
		for len(stack) > 0 && len(stack[len(stack)-1]) == 0 {
			stack = stack[:len(stack)-1]
		}
		if len(stack) == 0 {
			return nil
		}
		top := &stack[len(stack)-1]
		next := (*top)[0]
		*top = (*top)[1:]
		pending--
		if b, err = block.Get(ctx, src, next.c); err != nil {
			return err
		}
		if n, err = decodeFile(b, next.part.size); err != nil {
			return fmt.Errorf("%s: %w", next.c, err)
		}
		p = next.part
	}
}
