// Package trees sends BLAKE3 blobs of any size, and proofs of parts of them: what is not
// verified yet is verified by the blob's tree (packages bao and outboard) while it is sent.
//
// # Errors
//
// They are those of package copies. A tree that does not fit its blob matches
// [digest.ErrMismatch], a blob over the size of blocks without one [block.ErrTooLarge].
//
// [Blobs] are safe for concurrent use.
package trees

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/outboard"
	"github.com/hashstream/hashstream/streamer/copies"
)

// Trees finds the trees of BLAKE3 blobs: an [outboard.Store].
type Trees interface {
	Open(ctx context.Context, root digest.Digest) (*outboard.Tree, error)
}

// Blobs sends blobs that are verified by trees.
type Blobs struct {
	index  *index.Index
	copies *copies.Copies
	trees  Trees
	lost   func(digest.Digest)
}

// New returns the blobs that idx knows. Trees may be nil: then none over [block.MaxSize] is
// sent. Lost is told of blobs of which a copy is bad or gone.
func New(idx *index.Index, c *copies.Copies, trees Trees, lost func(digest.Digest)) *Blobs {
	return &Blobs{idx, c, trees, lost}
}

// Body returns the bytes of a blob at one place. Where that copy turns out to be bad,
// another goes on.
func (s *Blobs) Body(rec index.Record) block.Ranger { return &treeBody{s, rec} }

// Variant names the bytes of a blob: there is one way to write them.
const Variant = "dfs1"

// stride is how many bytes of a blob are verified before that is remembered: whole
// groups of package bao.
const stride = 8 << 20

// Tree opens the tree of a blob. A blob over the size of blocks is of no use without.
func (s *Blobs) Tree(ctx context.Context, rec index.Record) (*outboard.Tree, error) {
	if !treed(rec.Digest) || s.trees == nil {
		return nil, fmt.Errorf("trees: block %s of %d bytes: %w", rec.Digest, rec.Length, block.ErrTooLarge)
	}
	t, err := s.trees.Open(ctx, rec.Digest)
	if err == nil && t.Size() != rec.Length {
		err = fmt.Errorf("trees: the tree of %s is of %d bytes, its record of %d: %w", rec.Digest, t.Size(), rec.Length, digest.ErrMismatch)
	}
	return t, err
}

// treed reports whether parts of what d names can be verified.
func treed(d digest.Digest) bool { return d.Code() == digest.BLAKE3 && len(d.Value()) == 32 }

// treeBody is the bytes of a blob of any size. What was not verified before is verified
// by its tree, group by group, while it is sent.
type treeBody struct {
	s   *Blobs
	rec index.Record
}

func (b *treeBody) Size() (int64, bool) { return b.rec.Length, true }
func (b *treeBody) Variant() string     { return Variant }

func (b *treeBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	return b.SendRange(ctx, w, 0, b.rec.Length)
}

// SendRange implements [block.Ranger]. Where one copy turns out to be bad or gone,
// another goes on.
func (b *treeBody) SendRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	return b.s.fromCopies(ctx, b.rec, n, func(rec index.Record, sent int64) (int64, error) {
		return b.s.sendPart(ctx, w, rec, off+sent, n-sent)
	})
}

// copyError is a fault of one copy. Another may do.
type copyError struct{ error }

func (e copyError) Unwrap() error { return e.error }

// writeError is a fault of the receiver.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

// fromCopies calls send until n bytes are sent. It is told the copy to send from, which is
// rec at first, and how many bytes were sent.
func (s *Blobs) fromCopies(ctx context.Context, rec index.Record, n int64, send func(rec index.Record, sent int64) (int64, error)) (int64, error) {
	var sent int64
	bad := map[index.Location]bool{}
	for sent < n {
		k, err := send(rec, sent)
		sent += k
		if err == nil {
			continue
		}
		var fault copyError
		if !errors.As(err, &fault) || ctx.Err() != nil {
			return sent, err
		}
		bad[rec.Location] = true
		var ok bool
		if rec, ok = s.anotherCopy(ctx, rec, bad); !ok {
			return sent, fault.error
		}
	}
	return sent, nil
}

func (s *Blobs) anotherCopy(ctx context.Context, rec index.Record, bad map[index.Location]bool) (index.Record, bool) {
	for other, err := range s.index.Places(ctx, rec.Digest, digest.Digest{}) {
		if err != nil {
			break
		}
		if other.Length == rec.Length && !bad[other.Location] {
			return other, true
		}
	}
	return index.Record{}, false
}

// sendPart sends a part of n bytes from off, as much of it as is of one kind: verified
// before, or not.
func (s *Blobs) sendPart(ctx context.Context, w io.Writer, rec index.Record, off, n int64) (int64, error) {
	obj, err := s.copies.Get(ctx, rec.Location, rec.Offset+off, n)
	if err != nil {
		return 0, s.copyFault(ctx, rec, obj, err)
	}
	k := s.trustedPart(ctx, rec, obj, off, n)
	extent, length := extentOf(rec.Length, off, n)
	reopen := k == 0 && (extent != off || length != n)
	if _, direct := obj.(io.WriterTo); direct && k > 0 && k < n {
		reopen, extent, length = true, off, k
	}
	if reopen {
		obj.Close()
		if obj, err = s.copies.Get(ctx, rec.Location, rec.Offset+extent, length); err != nil {
			return 0, s.copyFault(ctx, rec, obj, err)
		}
	}
	defer obj.Close()
	if k > 0 {
		return s.sendTrusted(ctx, w, rec, obj, k)
	}
	return s.sendChecked(ctx, w, rec, obj, off, n)
}

// extentOf returns the whole groups of a blob that a part touches.
func extentOf(size, off, n int64) (from, length int64) {
	slice, err := bao.NewSlice(size, off, n)
	if err != nil {
		return off, n
	}
	return slice.Extent()
}

// step returns how much of n bytes from off belongs to the first stride.
func step(off, n int64) int64 { return min(n, stride-off%stride) }

// trustedPart returns how many bytes from off were verified before.
func (s *Blobs) trustedPart(ctx context.Context, rec index.Record, obj blob.Object, off, n int64) (k int64) {
	for next := n; k < n; next = step(off+k, n-k) { // all, or else stride by stride
		from, length := extentOf(rec.Length, off+k, next)
		switch {
		case s.copies.Trusted(ctx, rec.Location, obj, rec.Offset+from, length):
			k += next
		case next == n && step(off, n) < n:
		default:
			return k
		}
	}
	return k
}

// sendTrusted sends the next n bytes of obj.
func (s *Blobs) sendTrusted(ctx context.Context, w io.Writer, rec index.Record, obj blob.Object, n int64) (int64, error) {
	if wt, ok := obj.(io.WriterTo); ok {
		sent, err := wt.WriteTo(w)
		if err == nil && sent != n {
			err = fmt.Errorf("trees: send %s: %w", rec.Digest, io.ErrUnexpectedEOF)
		}
		return sent, err
	}
	buf := s.copies.Buffers.Get(min(n, 1<<20))
	defer s.copies.Buffers.Put(buf)
	var sent int64
	for sent < n {
		b := (*buf)[:min(n-sent, int64(len(*buf)))]
		_, err := io.ReadFull(obj, b)
		if err == nil {
			err = copies.Recheck(obj)
		}
		if err != nil {
			return sent, s.copyFault(ctx, rec, obj, err)
		}
		k, err := w.Write(b)
		sent += int64(k)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// sendChecked sends n bytes from off after checking each group of them, up to a stride
// that was checked before. obj gives the whole groups.
func (s *Blobs) sendChecked(ctx context.Context, w io.Writer, rec index.Record, obj blob.Object, off, n int64) (int64, error) {
	tree, err := s.Tree(ctx, rec)
	if err != nil {
		return 0, err
	}
	in, out := &checking{nodes: tree, obj: obj}, &rest{w: w}
	var sent int64
	for sent < n {
		slice, err := bao.NewSlice(rec.Length, off+sent, step(off+sent, n-sent))
		if err != nil {
			return sent, err
		}
		from, length := slice.Extent()
		if sent > 0 && s.copies.Trusted(ctx, rec.Location, obj, rec.Offset+from, length) {
			break
		}
		k, err := slice.Copy(ctx, out, rec.Digest, in, in)
		sent += k
		if err = s.checked(ctx, rec, in, from, length, err); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// checked judges how it went to check whole groups: what is right is remembered, what is
// wrong in the copy reported.
func (s *Blobs) checked(ctx context.Context, rec index.Record, in *checking, from, n int64, err error) error {
	if err == nil || errors.Is(err, digest.ErrMismatch) {
		s.copies.Hashed(1, n, err)
	}
	var failed writeError
	switch {
	case errors.As(err, &failed):
		return failed.error
	case err != nil && in.ended:
		return s.copyFault(ctx, rec, in.obj, io.ErrUnexpectedEOF)
	case err != nil && in.data:
		return s.copyFault(ctx, rec, in.obj, err)
	case err != nil:
		return fmt.Errorf("trees: send %s: %w", rec.Digest, err)
	case copies.Recheck(in.obj) == nil:
		s.copies.Remember(rec.Location, in.obj.Info().Version, rec.Offset+from, n)
	}
	return nil
}

// copyFault reports a copy that is bad, and says that another may be better.
func (s *Blobs) copyFault(ctx context.Context, rec index.Record, obj blob.Object, err error) error {
	s.lost(rec.Digest) // it may be there no more
	return copyError{s.copies.Fault(ctx, rec.Digest, rec.Location, obj, copies.Truncated(err))}
}

// checking is a tree and a blob that are read by turns. After an error data tells which
// of the two is to blame: package bao believes nothing below a node that is wrong.
type checking struct {
	nodes bao.Nodes
	obj   blob.Object
	data  bool
	ended bool // the object has no more bytes
}

// Node implements [bao.Nodes].
func (c *checking) Node(ctx context.Context, split int64) (bao.Pair, error) {
	c.data = false
	return c.nodes.Node(ctx, split)
}

func (c *checking) Read(p []byte) (int, error) {
	c.data = true
	n, err := c.obj.Read(p)
	c.ended = c.ended || err == io.EOF
	return n, err
}
