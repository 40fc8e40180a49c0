package car

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

// entriesAtOnce is how many bytes of index are held in memory.
const entriesAtOnce = 64 << 10

// IndexEntry says where the section of a block begins. An index comes with the
// file and deserves no more trust: compare the CID that [SectionAt] finds.
type IndexEntry struct {
	Code   digest.Code // hash function, if Coded
	Coded  bool        // false in an index of codec [IndexSorted], which does not tell
	Value  []byte      // bare hash value
	Offset int64       // of the section's length varint, from the start of the file
}

// Matches reports whether the entry is about d, as far as it tells.
func (e IndexEntry) Matches(d digest.Digest) bool {
	return (!e.Coded || e.Code == d.Code()) && bytes.Equal(e.Value, d.Value())
}

// ReadIndex yields the entries of the index of a CARv2 file of size bytes, in the
// order in which they stand: by hash function, length and value. It holds a
// bounded part of the index in memory and stops after the first error. A CARv1 or a CARv2
// without index gives [io/fs.ErrNotExist], an unknown index codec
// [errors.ErrUnsupported].
func ReadIndex(r io.ReaderAt, size int64) iter.Seq2[IndexEntry, error] {
	return func(yield func(IndexEntry, error) bool) {
		err := readIndex(r, size, func(e IndexEntry) bool { return yield(e, nil) })
		if err != nil && err != errStopped {
			yield(IndexEntry{}, fmt.Errorf("car: read index: %w", err))
		}
	}
}

// errStopped ends an iteration that the consumer broke off.
var errStopped = errors.New("stopped")

func readIndex(r io.ReaderAt, size int64, yield func(IndexEntry) bool) error {
	in := newInput(io.NewSectionReader(r, 0, size))
	head := make([]byte, dataMin)
	err := in.readFull(head)
	if err != nil && err != ErrTruncated {
		return err
	}
	if string(head[:len(pragma)]) != pragma {
		return fmt.Errorf("not a CARv2: %w", fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	win, err := decodeWindow(head[len(pragma):])
	if err != nil {
		return err
	}
	if win.end > size || win.index >= size {
		return fmt.Errorf("%w: data up to %d and index at %d in %d bytes", ErrTruncated, win.end, win.index, size)
	}
	if win.index == 0 {
		return fmt.Errorf("this CARv2 has none: %w", fs.ErrNotExist)
	}
	if err := in.skip(win.index - in.pos); err != nil {
		return err
	}
	x := indexReader{in: &in, win: win, yield: yield}
	if err := x.read(); err != nil {
		return err
	}
	if in.pos != size {
		return fmt.Errorf("%w: %d bytes after the index", ErrMalformed, size-in.pos)
	}
	return nil
}

type indexReader struct {
	in    *input
	win   window
	yield func(IndexEntry) bool
}

func (x *indexReader) read() error {
	codec, err := x.in.uvarint()
	if err != nil {
		return truncated(err)
	}
	switch codec {
	case IndexSorted:
		return x.widths(IndexEntry{})
	case MultihashIndexSorted:
		return x.codes()
	}
	return fmt.Errorf("index codec 0x%x: %w", codec, errors.ErrUnsupported)
}

// codes reads an int32 count, then per hash function its uint64 code and widths.
func (x *indexReader) codes() error {
	n, err := x.count()
	if err != nil {
		return err
	}
	var last uint64
	for i := range n {
		var b [8]byte
		if err := x.in.readFull(b[:]); err != nil {
			return err
		}
		code := binary.LittleEndian.Uint64(b[:])
		if i > 0 && code <= last {
			return fmt.Errorf("%w: index is not ordered by hash function", ErrMalformed)
		}
		last = code
		if err := x.widths(IndexEntry{Code: digest.Code(code), Coded: true}); err != nil {
			return err
		}
	}
	return nil
}

// widths reads an int32 count, then per length of hash value the uint32 width of
// an entry, the uint64 length of all entries in bytes, and the entries.
func (x *indexReader) widths(e IndexEntry) error {
	n, err := x.count()
	if err != nil {
		return err
	}
	if n == 0 && e.Coded {
		return fmt.Errorf("%w: index has a hash function without entries", ErrMalformed)
	}
	last := int64(0)
	for range n {
		var b [12]byte
		if err := x.in.readFull(b[:]); err != nil {
			return err
		}
		width, total := int64(binary.LittleEndian.Uint32(b[:])), binary.LittleEndian.Uint64(b[4:])
		switch {
		case width < 8 || width > 8+maxValue:
			return fmt.Errorf("%w: index entries of %d bytes", ErrMalformed, width)
		case width <= last:
			return fmt.Errorf("%w: index is not ordered by width", ErrMalformed)
		case total > math.MaxInt64 || int64(total) > x.in.size-x.in.pos:
			return fmt.Errorf("%w: index says %d bytes of entries, %d are left", ErrTruncated, total, x.in.size-x.in.pos)
		case total == 0 || int64(total)%width != 0:
			return fmt.Errorf("%w: %d bytes of index entries of %d bytes", ErrMalformed, total, width)
		}
		last = width
		if err := x.entries(e, int(width), int64(total)); err != nil {
			return err
		}
	}
	return nil
}

// entries yields total bytes of entries: hash value, then a uint64 offset.
func (x *indexReader) entries(e IndexEntry, width int, total int64) error {
	var last []byte
	for total > 0 {
		b := make([]byte, min(total, int64(entriesAtOnce/width*width)))
		if err := x.in.readFull(b); err != nil {
			return err
		}
		total -= int64(len(b))
		for ; len(b) > 0; b = b[width:] {
			e.Value = b[: width-8 : width-8]
			offset := binary.LittleEndian.Uint64(b[width-8:])
			if offset >= uint64(x.win.end-x.win.data) {
				return fmt.Errorf("%w: index points to %d, outside of the data", ErrMalformed, offset)
			}
			if bytes.Compare(e.Value, last) < 0 {
				return fmt.Errorf("%w: index is not ordered by hash value", ErrMalformed)
			}
			last, e.Offset = e.Value, x.win.data+int64(offset)
			if !x.yield(e) {
				return errStopped
			}
		}
	}
	return nil
}

func (x *indexReader) count() (int32, error) {
	var b [4]byte
	if err := x.in.readFull(b[:]); err != nil {
		return 0, err
	}
	n := int32(binary.LittleEndian.Uint32(b[:]))
	if n < 0 {
		return 0, fmt.Errorf("%w: index says %d groups", ErrMalformed, n)
	}
	return n, nil
}

// SectionAt reads the head of the section whose length varint stands at byte off
// of r. The section must end at or before byte end of the file.
func SectionAt(r io.ReaderAt, off, end int64) (Section, error) {
	var b [maxVarint + maxCID]byte
	if off < 0 || off >= end {
		return Section{}, fmt.Errorf("car: read section at %d: %w", off, ErrTruncated)
	}
	n, err := r.ReadAt(b[:min(end-off, int64(len(b)))], off)
	if err != nil && (err != io.EOF || n == 0) {
		return Section{}, fmt.Errorf("car: read section at %d: %w", off, truncated(err))
	}
	s, err := decodeHead(b[:n], end-off)
	if err != nil {
		return Section{}, fmt.Errorf("car: read section at %d: %w", off, err)
	}
	s.Offset += off
	return s, nil
}

// decodeHead reads a head from b, the first of left bytes.
func decodeHead(b []byte, left int64) (Section, error) {
	size, n := binary.Uvarint(b)
	switch {
	case n == 0 && len(b) < maxVarint:
		return Section{}, ErrTruncated
	case n <= 0 || n > maxVarint || (n > 1 && b[n-1] == 0):
		return Section{}, fmt.Errorf("%w: varint", ErrMalformed)
	case size == 0:
		return Section{}, fmt.Errorf("%w: section of zero length", ErrMalformed)
	case int64(size) > left-int64(n):
		return Section{}, fmt.Errorf("%w: section says %d bytes, %d are left", ErrTruncated, size, left-int64(n))
	}
	b = b[n:]
	m, c, err := cid.CidFromBytes(b[:min(size, uint64(len(b)))])
	if err != nil {
		return Section{}, fmt.Errorf("%w: CID in a section of %d bytes: %v", ErrMalformed, size, err)
	}
	return Section{CID: c, Offset: int64(n + m), Size: int64(size) - int64(m)}, nil
}
