package storehttp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/multiformats/go-varint"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// MediaType is that of a stream of frames.
const MediaType = "application/vnd.hashstream.records"

// MaxFrame is the size of the largest payload of a frame, in bytes.
const MaxFrame = 4 << 20

// Kind is what a [Frame] holds.
type Kind byte

// The kinds of frames.
const (
	Values   Kind = 'v' // records of a group
	Metadata Kind = 'm' // encrypted metadata under the keys of contexts; an empty value says that there is none
	Mark     Kind = 'w' // the end of a window, see [Client.Export]; no records
	last     Kind = 'e' // the end, with the number of frames before it as its epoch
)

// Frame is records that belong together. The group of metadata is zero, and so is that of marks.
type Frame struct {
	Kind    Kind
	Group   ipni.SealedGroup
	Records valuestore.Records
}

// The layout of a stream: magic, frames, the last frame. A frame is a header and its payload.
const (
	magic      = "hsr\x01"
	headerSize = 1 + 16 + dhash.KeySize + 8 + 4 + 4 // kind, provider, context, epoch, length, checksum
	sumAt      = headerSize - 4
	maxSealed  = dhash.MaxMetadata + dhash.Overhead // bytes of encrypted metadata
)

// appendHeader appends the header of f, whose checksum covers the header before it and the payload.
func appendHeader(dst []byte, f Frame) []byte {
	start := len(dst)
	dst = append(dst, byte(f.Kind))
	dst = append(dst, f.Group.Provider[:]...)
	dst = append(dst, f.Group.Context[:]...)
	dst = binary.BigEndian.AppendUint64(dst, f.Group.Epoch)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Records)))
	sum := crc32.Update(crc32.Checksum(dst[start:], castagnoli()), castagnoli(), f.Records)
	return binary.BigEndian.AppendUint32(dst, sum)
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once

// counted returns a frame without records that tells how many frames were before it: since
// the beginning, or since the last mark.
func counted(kind Kind, n uint64) Frame { return Frame{Kind: kind, Group: ipni.SealedGroup{Epoch: n}} }

// Writer writes frames. Who has written all must Close it: without an end, a stream is cut.
type Writer struct {
	w      io.Writer
	buf    []byte
	n      uint64
	window uint64 // frames since the last mark
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, buf: []byte(magic)} }

// Write writes the records of f, in as many frames as they need, or a mark, if there is
// something since the last one.
func (w *Writer) Write(f Frame) error {
	if f.Kind == Mark {
		if w.window == 0 {
			return nil
		}
		f = counted(Mark, w.window)
		w.n++
		w.window = 0
		return w.write(f)
	}
	for rest := f.Records; len(rest) > 0; {
		var err error
		if f.Records, rest, err = split(rest, MaxFrame); err != nil {
			return err
		}
		if err := w.write(f); err != nil {
			return err
		}
		w.n++
		w.window++
	}
	return nil
}

func (w *Writer) write(f Frame) error {
	w.buf = appendHeader(w.buf, f)
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	if err == nil && len(f.Records) > 0 {
		_, err = w.w.Write(f.Records)
	}
	return err
}

// Close writes the end. It does not close what lies below.
func (w *Writer) Close() error { return w.write(counted(last, w.n)) }

// split cuts records after the last one that ends within limit bytes.
func split(r valuestore.Records, limit int) (head, rest valuestore.Records, err error) {
	if len(r) <= limit {
		return r, nil, nil
	}
	at := 0
	for at < len(r) {
		_, n, err := cut(r[at:], maxSealed)
		if err != nil {
			return nil, nil, err
		}
		if at+n > limit {
			break
		}
		at += n
	}
	return r[:at], r[at:], nil
}

// cut returns the first record and its length. Metadata may be a little larger than values.
func cut(r valuestore.Records, limit int) (valuestore.Entry, int, error) {
	var e valuestore.Entry
	if len(r) < dhash.KeySize {
		return e, 0, malformed("%d bytes where a key should be", len(r))
	}
	size, n, err := varint.FromUvarint(r[dhash.KeySize:])
	head := dhash.KeySize + n
	if err != nil || size > uint64(limit) || size > uint64(len(r)-head) {
		return e, 0, malformed("a value of %d bytes", size)
	}
	e.Key = dhash.Key(r)
	e.Value = r[head : head+int(size)]
	return e, head + int(size), nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("storehttp: %w: %s", digest.ErrMismatch, fmt.Sprintf(format, args...))
}

// check verifies that a payload consists of records with values of no fewer than least bytes. That
// there is no metadata has none.
func (f Frame) check(least int) error {
	limit := valuestore.MaxValue
	if f.Kind == Metadata {
		limit = maxSealed
	}
	for rest := f.Records; len(rest) > 0; {
		e, n, err := cut(rest, limit)
		if err != nil {
			return err
		}
		if n := len(e.Value); n < least && (n > 0 || f.Kind == Values) {
			return malformed("a value of %d bytes", n)
		}
		rest = rest[n:]
	}
	return nil
}

// Reader reads frames.
type Reader struct {
	r      *bufio.Reader
	begun  bool
	n      uint64
	window uint64 // frames since the last mark
	buf    []byte
	least  int // bytes of the shortest value
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 16<<10), least: 1} }

// firstPart is how much is made room for before a byte has come.
const firstPart = 64 << 10

// Next returns the next frame, whose records are well-formed and valid until the
// next call, or [io.EOF] after the last one. A stream that ends otherwise is [io.ErrUnexpectedEOF],
// what is malformed matches [digest.ErrMismatch].
func (r *Reader) Next() (Frame, error) {
	if err := r.begin(); err != nil {
		return Frame{}, err
	}
	var head [headerSize]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return Frame{}, cutOff(err)
	}
	f := Frame{Kind: Kind(head[0])}
	rest := head[1:]
	rest = rest[copy(f.Group.Provider[:], rest):]
	rest = rest[copy(f.Group.Context[:], rest):]
	f.Group.Epoch = binary.BigEndian.Uint64(rest)
	size := binary.BigEndian.Uint32(rest[8:])
	if size > MaxFrame || (size == 0) != (f.Kind == last || f.Kind == Mark) {
		return Frame{}, malformed("frame %d of kind %q has %d bytes", r.n, f.Kind, size)
	}
	if err := r.payload(int(size)); err != nil {
		return Frame{}, err
	}
	sum := crc32.Update(crc32.Checksum(head[:sumAt], castagnoli()), castagnoli(), r.buf)
	if sum != binary.BigEndian.Uint32(head[sumAt:]) {
		return Frame{}, malformed("checksum of frame %d", r.n)
	}
	if f.Kind == Mark {
		return Frame{Kind: Mark}, r.mark(f)
	}
	f.Records = r.buf
	return f, r.judge(f)
}

// mark checks a mark, before which there must be something.
func (r *Reader) mark(f Frame) error {
	if r.window == 0 || f.Group != (ipni.SealedGroup{Epoch: r.window}) {
		return malformed("a mark after %d frames that is of another stream", r.window)
	}
	r.n++
	r.window = 0
	return nil
}

func (r *Reader) begin() error {
	if r.begun {
		return nil
	}
	r.begun = true
	var start [len(magic)]byte
	if _, err := io.ReadFull(r.r, start[:]); err != nil {
		return cutOff(err)
	}
	if string(start[:]) != magic {
		return malformed("no stream of frames of version 1")
	}
	return nil
}

// judge checks what a frame says.
func (r *Reader) judge(f Frame) error {
	switch {
	case f.Kind == last && f.Group == (ipni.SealedGroup{Epoch: r.n}):
		if _, err := r.r.ReadByte(); err == nil {
			return malformed("bytes after the end")
		} else if !errors.Is(err, io.EOF) {
			return err
		}
		return io.EOF
	case f.Kind == last:
		return malformed("an end after %d frames that is of another stream", r.n)
	case f.Kind != Values && f.Kind != Metadata, f.Kind == Metadata && f.Group != (ipni.SealedGroup{}):
		return malformed("frame %d of kind %q", r.n, f.Kind)
	}
	r.n++
	r.window++
	return f.check(r.least)
}

// payload reads n bytes. Room is made as they come: a length is soon said.
func (r *Reader) payload(n int) error {
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		part := min(n-len(r.buf), max(firstPart, len(r.buf)))
		r.buf = slices.Grow(r.buf, part)
		got, err := io.ReadFull(r.r, r.buf[len(r.buf):len(r.buf)+part])
		r.buf = r.buf[:len(r.buf)+got]
		if err != nil {
			return cutOff(err)
		}
	}
	return nil
}

// cutOff makes an end that comes too early an error.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("storehttp: read frame: %w", err)
}
