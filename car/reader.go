package car

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
)

// Reader reads the sections of an archive one after the other.
type Reader struct {
	in      input
	limits  Options
	version int
	roots   []cid.Cid
	win     window // end is known for version 2 and for seekable input only

	section Section
	unread  int64 // bytes of section that Data would return
	pending bool  // section was not read by Data
	err     error // sticky
}

// NewReader reads the header of an archive of version 1 or 2 from r. If r is an
// [io.Seeker] that works, data nobody asks for is sought over instead of read.
func NewReader(r io.Reader, o *Options) (*Reader, error) {
	reader := &Reader{in: newInput(r), limits: o.limits(), version: 1}
	if err := reader.open(); err != nil {
		return nil, fmt.Errorf("car: read header: %w", err)
	}
	return reader, nil
}

func (r *Reader) open() error {
	r.win.end = r.in.size
	version, roots, err := r.header()
	if err != nil {
		return err
	}
	if version == 2 {
		r.version = 2
		if err := r.enter(); err != nil {
			return err
		}
		version, roots, err = r.header()
		if err != nil {
			return err
		}
		if version != 1 {
			return fmt.Errorf("%w: a CARv2 inside of a CARv2", ErrMalformed)
		}
	}
	r.roots = roots
	return nil
}

// enter reads the CARv2 header and goes to the start of the data.
func (r *Reader) enter() error {
	var b [headerSize]byte
	if err := r.in.readFull(b[:]); err != nil {
		return err
	}
	win, err := decodeWindow(b[:])
	if err != nil {
		return err
	}
	if win.end > r.in.size || win.index >= r.in.size {
		return fmt.Errorf("%w: CARv2 of %d bytes has its data up to %d and its index at %d", ErrTruncated, r.in.size, win.end, win.index)
	}
	r.win = win
	return r.in.skip(win.data - r.in.pos)
}

func (r *Reader) header() (int, []cid.Cid, error) {
	size, err := r.in.uvarint()
	if err == io.EOF {
		err = ErrTruncated
	}
	if err != nil {
		return 0, nil, err
	}
	if size == 0 || size > r.limits.MaxHeader {
		return 0, nil, fmt.Errorf("%w: header of %d bytes, at most %d are allowed", ErrMalformed, size, r.limits.MaxHeader)
	}
	if size > r.win.end-r.in.pos {
		return 0, nil, ErrTruncated
	}
	b, err := r.in.bytes(size)
	if err != nil {
		return 0, nil, err
	}
	return decodeHeader(b)
}

// Version returns 1 or 2.
func (r *Reader) Version() int { return r.version }

// Roots returns the CIDs that the header names, possibly none. Nothing says that
// the archive holds their blocks.
func (r *Reader) Roots() []cid.Cid { return slices.Clone(r.roots) }

// Next goes to the next section and skips what was not read of the last one. It
// returns [io.EOF] at the clean end of the archive. Any error is final.
func (r *Reader) Next() (Section, error) {
	if r.err != nil {
		return Section{}, r.err
	}
	at, err := r.next()
	if err != nil {
		r.section, r.pending, r.unread = Section{}, false, 0
		if err != io.EOF {
			err = fmt.Errorf("car: read section at %d: %w", at, err)
		}
		r.err = err
		return Section{}, err
	}
	return r.section, nil
}

// next returns where the section begins.
func (r *Reader) next() (int64, error) {
	at := r.in.pos
	if r.unread > 0 {
		at = r.section.Offset
		if err := r.in.skip(r.unread); err != nil {
			return at, err
		}
		at, r.unread = r.in.pos, 0
	}
	if r.version == 2 && at == r.win.end {
		return at, r.finish()
	}
	size, err := r.in.uvarint()
	if err == io.EOF {
		return at, r.finish()
	}
	if err != nil {
		return at, err
	}
	left := r.win.end - r.in.pos
	switch {
	case size == 0:
		return at, fmt.Errorf("%w: section of zero length", ErrMalformed)
	case left < 0 || size > left:
		return at, fmt.Errorf("%w: section says %d bytes, %d are left", ErrTruncated, size, max(left, 0))
	case size > math.MaxInt64-r.in.pos:
		return at, fmt.Errorf("%w: section says %d bytes", ErrMalformed, size)
	}
	return at, r.head(size)
}

// head reads the CID of a section of size bytes.
func (r *Reader) head(size int64) error {
	b, err := r.in.peek(int(min(size, maxCID)))
	if err != nil {
		return err
	}
	n, c, err := cid.CidFromBytes(b)
	if err != nil {
		return fmt.Errorf("%w: CID in a section of %d bytes: %v", ErrMalformed, size, err)
	}
	if err := r.in.skip(int64(n)); err != nil {
		return err
	}
	r.unread, r.pending = size-int64(n), true
	r.section = Section{CID: c, Offset: r.in.pos, Size: r.unread}
	return nil
}

// finish returns [io.EOF] if the archive may end here.
func (r *Reader) finish() error {
	if r.version == 2 {
		if err := r.finishV2(); err != nil {
			return err
		}
	}
	if !r.in.reached() {
		return ErrTruncated
	}
	return io.EOF
}

// finishV2 checks that an index follows the data exactly if the header says so.
func (r *Reader) finishV2() error {
	if r.in.pos < r.win.end {
		return fmt.Errorf("%w: data ends before byte %d", ErrTruncated, r.win.end)
	}
	if r.win.index == 0 {
		_, err := r.in.peek(1)
		switch {
		case err == nil:
			return fmt.Errorf("%w: bytes after the data of a CARv2 without index", ErrMalformed)
		case err != ErrTruncated:
			return err
		}
		return nil
	}
	if err := r.in.skip(r.win.index - r.in.pos); err != nil {
		return err
	}
	_, err := r.in.peek(1)
	return err
}

// Data returns the bytes of the current section, once. They are not verified, and
// belong to the caller. A block over [Options].MaxBlock is not read: the error
// matches [block.ErrTooLarge], and Next skips it.
func (r *Reader) Data() ([]byte, error) {
	if r.err != nil && r.err != io.EOF {
		return nil, r.err
	}
	if !r.pending {
		return nil, errors.New("car: no section, or its data was read before")
	}
	s := r.section
	if s.Size > r.limits.MaxBlock {
		return nil, fmt.Errorf("car: read %s of %d bytes: %w", s.CID, s.Size, block.ErrTooLarge)
	}
	r.pending, r.unread = false, 0
	b, err := r.in.bytes(s.Size)
	if err != nil {
		r.err = fmt.Errorf("car: read %s at %d: %w", s.CID, s.Offset, err)
		return nil, r.err
	}
	return b, nil
}
