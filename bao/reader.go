package bao

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/digest"
)

// Reader reads what [Slice.Encode] wrote and gives out the bytes of the range, each
// after it was verified. It holds one group.
//
// It reads its source to the end, and wants the end there: bytes behind the slice
// are an error.
type Reader struct {
	src    *bufio.Reader
	root   digest.Digest
	off, n int64
	log    uint8

	slice Slice
	tree  *verifier // nil before the header is read
	sized bool
	buf   []byte
	out   []byte // verified and not yet given out
	err   error
}

var _ io.WriterTo = (*Reader)(nil)

// NewReader returns a Reader of the slice of n bytes from off of the blob root, as
// it was asked for: n may reach beyond the end.
func NewReader(r io.Reader, root digest.Digest, off, n int64) (*Reader, error) {
	if off < 0 || n < 0 {
		return nil, fmt.Errorf("bao: %d bytes from %d: %w", n, off, fs.ErrInvalid)
	}
	if _, err := rootOf(root); err != nil {
		return nil, err
	}
	return &Reader{src: bufio.NewReader(r), root: root, off: off, n: n, log: groupLog}, nil
}

// Size returns the size of the blob in bytes, once it is proved: after the last
// group of the blob was read, if that is in the slice. Until then, or if the slice
// ends before, it returns false.
func (r *Reader) Size() (int64, bool) {
	if !r.sized {
		return 0, false
	}
	return r.slice.shape.size, true
}

// Read reads verified bytes. Its error is io.EOF only if the whole stream was right.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// WriteTo writes all verified bytes that are left.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		switch err := r.fill(); {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
		n, err := w.Write(r.out)
		total += int64(n)
		if err == nil && n < len(r.out) {
			err = io.ErrShortWrite
		}
		r.out = r.out[n:]
		if err != nil {
			return total, err
		}
	}
}

// fill makes sure that there is something to give out. Its first error sticks.
func (r *Reader) fill() error {
	for len(r.out) == 0 && r.err == nil {
		r.err = r.step()
	}
	if len(r.out) > 0 {
		return nil
	}
	return r.err
}

// step reads one part of the stream.
func (r *Reader) step() error {
	if r.tree == nil {
		return r.header()
	}
	t, ok := r.tree.next()
	switch {
	case !ok:
		return r.end()
	case t.leaf():
		return r.group(t)
	}
	var p Pair
	if err := r.read(p[:]); err != nil {
		return err
	}
	return r.tree.parent(t, &p)
}

func (r *Reader) header() (err error) {
	var b [headerSize]byte
	if err := r.read(b[:]); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint64(b[:])
	if size > MaxSize {
		return fmt.Errorf("bao: slice of %s: size of %d bytes: %w", r.root, size, digest.ErrMismatch)
	}
	// The size is a claim. It shapes the tree, so that a wrong one is found out with
	// the last group at the latest: until then nobody is told.
	r.slice = shape{int64(size), r.log}.slice(r.off, r.n)
	r.buf = make([]byte, GroupSize)
	r.tree, err = newVerifier(r.slice, r.root)
	return err
}

func (r *Reader) group(t subtree) error {
	s := r.slice.shape
	b := r.buf[:s.bytes(t.first)]
	if err := r.read(b); err != nil {
		return err
	}
	if err := r.tree.group(t, r.buf); err != nil {
		return err
	}
	r.sized = t.end == s.groups()
	r.out = r.slice.clip(t.first*s.group(), b)
	return nil
}

func (r *Reader) read(b []byte) error {
	if _, err := io.ReadFull(r.src, b); err != nil {
		return fmt.Errorf("bao: slice of %s: %w", r.root, unexpected(err))
	}
	return nil
}

// end wants the stream to end.
func (r *Reader) end() error {
	_, err := r.src.ReadByte()
	switch {
	case err == nil:
		return fmt.Errorf("bao: slice of %s: bytes behind the slice: %w", r.root, digest.ErrMismatch)
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("bao: slice of %s: %w", r.root, err)
}
