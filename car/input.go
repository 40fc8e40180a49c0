package car

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/hashstream/hashstream/block"
)

const (
	// bufferSize is how much is read at once. Blocks larger than it are read
	// straight to where they go, or sought over.
	bufferSize = 64 << 10
	// step is how much is allocated at once for a length that the input claims.
	step = block.MaxSize
)

// input is a buffered reader that counts, seeks where it can and speaks this
// package's errors.
type input struct {
	src  io.Reader
	seek io.Seeker // nil if src cannot
	buf  *bufio.Reader
	base int64 // where src stood at first, if it can seek
	size int64 // bytes from base to the end, or MaxInt64 if unknown
	pos  int64 // bytes consumed
}

func newInput(r io.Reader) input {
	in := input{src: r, buf: bufio.NewReaderSize(r, bufferSize), size: math.MaxInt64}
	s, ok := r.(io.Seeker)
	if !ok {
		return in
	}
	// A pipe is a Seeker too, as a type; it says no when asked.
	base, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return in
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return in
	}
	if _, err := s.Seek(base, io.SeekStart); err != nil {
		in.buf.Reset(failing{err}) // it stands at the end now: nothing right can be read
		return in
	}
	in.seek, in.base, in.size = s, base, max(end-base, 0)
	return in
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// reached reports whether the input really has all the bytes that were passed:
// one can seek beyond the end of a file that was cut meanwhile.
func (in *input) reached() bool {
	if in.seek == nil {
		return true
	}
	end, err := in.seek.Seek(0, io.SeekEnd)
	return err == nil && end-in.base >= in.pos
}

// skip passes n bytes, n being within the size.
func (in *input) skip(n int64) error {
	in.pos += n
	if held := int64(in.buf.Buffered()); n > held && n-held >= bufferSize && in.seek != nil {
		if _, err := in.seek.Seek(n-held, io.SeekCurrent); err != nil {
			return err
		}
		in.buf.Reset(in.src)
		return nil
	}
	for n > 0 {
		part := int(min(n, 1<<30)) // an int may have 32 bits
		if _, err := in.buf.Discard(part); err != nil {
			return truncated(err)
		}
		n -= int64(part)
	}
	return nil
}

// bytes reads n bytes. It allocates in steps, because n is a claim of the input.
func (in *input) bytes(n int64) ([]byte, error) {
	b := make([]byte, min(n, step))
	if err := in.readFull(b); err != nil {
		return nil, err
	}
	for int64(len(b)) < n {
		had := len(b)
		more := int(min(n-int64(had), int64(had)))
		b = slices.Grow(b, more)[:had+more]
		if err := in.readFull(b[had:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (in *input) readFull(b []byte) error {
	n, err := io.ReadFull(in.buf, b)
	in.pos += int64(n)
	return truncated(err)
}

func (in *input) peek(n int) ([]byte, error) {
	b, err := in.buf.Peek(n)
	return b, truncated(err)
}

// uvarint reads a varint that fits an int64, in its shortest form. It returns
// [io.EOF] only if there is not even a first byte.
func (in *input) uvarint() (int64, error) {
	var v uint64
	for i := range maxVarint {
		b, err := in.buf.ReadByte()
		if err != nil {
			if i == 0 && err == io.EOF {
				return 0, io.EOF
			}
			return 0, truncated(err)
		}
		in.pos++
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 {
				return 0, fmt.Errorf("%w: varint is not in its shortest form", ErrMalformed)
			}
			return int64(v), nil
		}
	}
	return 0, fmt.Errorf("%w: varint of more than %d bytes", ErrMalformed, maxVarint)
}

func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}
