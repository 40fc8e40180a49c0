package bao

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/digest"
)

// Nodes gives the parent nodes of one blob. Nobody trusts them.
type Nodes interface {
	// Node returns the parent node whose right subtree begins with the group split.
	Node(ctx context.Context, split int64) (Pair, error)
}

// Slice is a range of a blob of known size.
type Slice struct {
	shape    shape
	off, end int64 // the bytes that are meant: none where the range is outside of the blob
	proved   span  // the bytes that prove them: at least one, if the blob has any
}

// span is the bytes from off up to, not including, end.
type span struct{ off, end int64 }

// NewSlice returns the slice of n bytes from off of a blob of size bytes. What
// reaches beyond the end is cut off. A range of no bytes has the proof of its
// first byte, a range outside of the blob that of the last byte, and so of the size
// (bao specification, "Slice Format").
func NewSlice(size, off, n int64) (Slice, error) {
	s, err := newShape(size)
	if err != nil {
		return Slice{}, err
	}
	if off < 0 || n < 0 {
		return Slice{}, fmt.Errorf("bao: %d bytes from %d: %w", n, off, fs.ErrInvalid)
	}
	return s.slice(off, n), nil
}

func (s shape) slice(off, n int64) Slice {
	from := min(off, s.size)
	end := from + min(n, s.size-from)
	first := max(0, min(off, s.size-1))
	return Slice{s, from, end, span{first, max(end, min(first+1, s.size))}}
}

// Range returns the bytes that the slice means: n from off, none of them beyond the end.
func (s Slice) Range() (off, n int64) { return s.off, s.end - s.off }

// Extent returns the bytes that [Slice.Encode] and [Slice.Copy] read: the whole
// groups that Range touches, cut off at the end of the blob.
func (s Slice) Extent() (off, n int64) {
	first, last := s.ends()
	off = first * s.shape.group()
	return off, min((last+1)*s.shape.group(), s.shape.size) - off
}

// EncodedSize returns how many bytes [Slice.Encode] writes.
func (s Slice) EncodedSize() int64 {
	_, n := s.Extent()
	return headerSize + int64(len(Pair{}))*s.shape.parents(s.ends()) + n
}

// ends returns the first and the last group of the proof.
func (s Slice) ends() (first, last int64) {
	return s.proved.off / s.shape.group(), max(s.proved.end-1, 0) / s.shape.group()
}

// Encode writes the slice with its proof: the size of the blob, then in pre-order
// the parent nodes and groups that lead to the range. data gives the bytes of
// [Slice.Extent]. nodes may be nil for a blob of at most [GroupSize] bytes.
//
// All is checked against root before it is written, so that a damaged tree or
// blob is an error here and not at the receiver. Encode returns how many bytes it
// wrote; it holds at most 64 KiB.
func (s Slice) Encode(ctx context.Context, w io.Writer, root digest.Digest, nodes Nodes, data io.Reader) (int64, error) {
	out := output{w: w, buf: make([]byte, 0, outputSize)}
	out.write(binary.LittleEndian.AppendUint64(nil, uint64(s.shape.size)))
	err := s.walk(ctx, root, nodes, data, func(p *Pair) error { return out.write(p[:]) }, func(_ int64, b []byte) error { return out.write(b) })
	if err == nil {
		err = out.flush()
	}
	return out.n, err
}

// Copy writes the bytes of [Slice.Range] alone, checked as [Slice.Encode] checks
// them.
func (s Slice) Copy(ctx context.Context, w io.Writer, root digest.Digest, nodes Nodes, data io.Reader) (int64, error) {
	out := output{w: w, buf: make([]byte, 0, outputSize)}
	err := s.walk(ctx, root, nodes, data, func(*Pair) error { return nil }, func(off int64, b []byte) error { return out.write(s.clip(off, b)) })
	if err == nil {
		err = out.flush()
	}
	return out.n, err
}

// clip returns the part of b, which begins at off, that lies in the slice.
func (s Slice) clip(off int64, b []byte) []byte {
	from := min(max(s.off-off, 0), int64(len(b)))
	return b[from:max(from, min(s.end-off, int64(len(b))))]
}

// walk gives the verified nodes and groups of a slice in pre-order.
func (s Slice) walk(ctx context.Context, root digest.Digest, nodes Nodes, data io.Reader, parent func(*Pair) error, group func(off int64, b []byte) error) error {
	v, err := newVerifier(s, root)
	if err != nil {
		return err
	}
	buf := make([]byte, GroupSize)
	for {
		t, ok := v.next()
		if !ok {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("bao: slice of %s: %w", root, context.Cause(ctx))
		}
		if t.leaf() {
			off, b := t.first*s.shape.group(), buf[:s.shape.bytes(t.first)]
			if _, err = io.ReadFull(data, b); err != nil {
				return fmt.Errorf("bao: read %s at byte %d: %w", root, off, unexpected(err))
			}
			if err = v.group(t, buf); err == nil {
				err = group(off, b)
			}
		} else {
			var p Pair
			if p, err = nodes.Node(ctx, t.split()); err != nil {
				return fmt.Errorf("bao: node %d of %s: %w", t.split(), root, err)
			}
			if err = v.parent(t, &p); err == nil {
				err = parent(&p)
			}
		}
		if err != nil {
			return err
		}
	}
}

// unexpected says of an end that it came too early.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// outputSize is how many bytes are gathered before they are written.
const outputSize = 64 << 10

// output gathers nodes and groups to large writes. Its first error sticks.
type output struct {
	w   io.Writer
	buf []byte
	n   int64
	err error
}

func (o *output) write(b []byte) error {
	if len(o.buf)+len(b) > cap(o.buf) {
		o.flush()
	}
	if o.err == nil {
		o.buf = append(o.buf, b...)
	}
	return o.err
}

func (o *output) flush() error {
	if o.err != nil || len(o.buf) == 0 {
		return o.err
	}
	n, err := o.w.Write(o.buf)
	o.n += int64(n)
	if err == nil && n < len(o.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		o.err = fmt.Errorf("bao: write: %w", err)
	}
	o.buf = o.buf[:0]
	return o.err
}
