package trees

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// proofBody is a range of a BLAKE3 blob with its proof (docs/formats/bao.md).
type proofBody struct {
	s     *Blobs
	rec   index.Record
	slice bao.Slice
}

// Provable returns an error that matches [block.ErrEncoding] if sel is of something for
// which there are no proofs.
func Provable(d digest.Digest, sel block.Selection) error {
	if !treed(d) || sel.Root.Prefix().Codec != cid.Raw || len(sel.Path) > 0 {
		return fmt.Errorf("trees: proof of %s, which is no raw blake3 blob: %w", sel.Root, block.ErrEncoding)
	}
	return nil
}

// Proof plans the proof of a range of the blob rec, all of it if r is nil. It exists for
// any range: one outside of the blob proves the size.
func (s *Blobs) Proof(rec index.Record, r *block.ByteRange) (block.Body, error) {
	off, n := resolve(r, rec.Length)
	slice, err := bao.NewSlice(rec.Length, off, n)
	if err != nil {
		return nil, err
	}
	return &proofBody{s, rec, slice}, nil
}

// resolve returns the bytes that r means of a blob of size bytes. r may be nil for all.
func resolve(r *block.ByteRange, size int64) (off, n int64) {
	if r == nil {
		return 0, size
	}
	fromEnd := func(n int64) int64 {
		if n < 0 {
			n += size
		}
		return n
	}
	off, last := max(fromEnd(r.From), 0), size-1
	if !r.Open {
		last = min(fromEnd(r.To), last)
	}
	return min(off, size), max(last-off+1, 0)
}

func (b *proofBody) Size() (int64, bool) { return b.slice.EncodedSize(), true }

// Variant names the groups that are sent, on which the bytes depend and on nothing else.
func (b *proofBody) Variant() string {
	off, n := b.slice.Extent()
	return strconv.FormatInt(off/bao.GroupSize, 10) + "-" + strconv.FormatInt(max(off+n-1, 0)/bao.GroupSize, 10)
}

// Send implements [block.Body]. All is checked before it is sent. After a bad copy
// another begins anew, and what was sent is left out: the bytes are the same.
func (b *proofBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	return b.s.fromCopies(ctx, b.rec, b.slice.EncodedSize(), func(rec index.Record, sent int64) (int64, error) {
		out := &rest{w: w, skip: sent}
		err := b.send(ctx, out, rec)
		return out.n, err
	})
}

func (b *proofBody) send(ctx context.Context, w io.Writer, rec index.Record) error {
	nodes, err := b.s.nodes(ctx, rec)
	if err != nil {
		return err
	}
	off, n := b.slice.Extent()
	obj, err := b.s.copies.Get(ctx, rec.Location, rec.Offset+off, n)
	if err != nil {
		return b.s.copyFault(ctx, rec, obj, err)
	}
	defer obj.Close()
	in := &checking{nodes: nodes, obj: obj}
	_, err = b.slice.Encode(ctx, w, rec.Digest, in, in)
	return b.s.checked(ctx, rec, in, off, n, err)
}

// nodes returns the tree of a blob. That of a block which was stored without one is
// computed.
func (s *Blobs) nodes(ctx context.Context, rec index.Record) (bao.Nodes, error) {
	if rec.Length > bao.GroupSize && s.trees != nil {
		if t, err := s.Tree(ctx, rec); err == nil || rec.Length > block.MaxSize || !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
	}
	data, err := s.copies.Read(ctx, rec)
	if err != nil {
		return nil, copyError{err}
	}
	tree := nodeMap{}
	_, _, err = bao.NewHasher(&bao.HasherOptions{Workers: 1}).Sum(ctx, bytes.NewReader(data), func(_ context.Context, split int64, p *bao.Pair) error {
		tree[split] = *p
		return nil
	})
	return tree, err
}

// nodeMap is a tree in memory.
type nodeMap map[int64]bao.Pair

// Node implements [bao.Nodes].
func (m nodeMap) Node(_ context.Context, split int64) (bao.Pair, error) { return m[split], nil }

// rest tells faults of the receiver from others, and writes what comes after the first skip bytes.
type rest struct {
	w    io.Writer
	skip int64
	n    int64 // written
}

func (r *rest) Write(b []byte) (int, error) {
	skip := min(r.skip, int64(len(b)))
	r.skip -= skip
	if int(skip) == len(b) {
		return len(b), nil
	}
	n, err := r.w.Write(b[skip:])
	r.n += int64(n)
	if err != nil {
		err = writeError{err}
	}
	return int(skip) + n, err
}
