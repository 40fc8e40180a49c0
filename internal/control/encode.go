package control

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/kv"
)

// Tags of the parts of a streamed answer.
const (
	tagEnd   = 0 // the last part of a whole answer
	tagData  = 1 // a pair, or a piece of output
	tagError = 2 // status (varint) and text: the last part of a failed answer
)

const maxErrorText = 4 << 10

func appendField(b, field []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

// appendOptional tells nil from empty: 0, or 1 and the field.
func appendOptional(b, field []byte) []byte {
	if field == nil {
		return append(b, 0)
	}
	return appendField(append(b, 1), field)
}

func appendRange(b []byte, r kv.Range) []byte {
	return appendOptional(appendField(b, r.From), r.To)
}

// appendOps writes the number of ops and for each its kind, key and value; a
// delete has no value.
func appendOps(b []byte, ops []kv.Op) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(ops)))
	for _, op := range ops {
		if len(op.Key) > MaxKey || len(op.Value) > MaxValue || op.Kind == kv.KindDeleteRange && len(op.Value) > MaxKey {
			return nil, ErrTooLarge
		}
		b = appendField(append(b, byte(op.Kind)), op.Key)
		switch op.Kind {
		case kv.KindPut:
			b = appendField(b, op.Value)
		case kv.KindDeleteRange:
			b = appendOptional(b, op.Value)
		case kv.KindDelete:
		default:
			return nil, fmt.Errorf("operation of kind %d: %w", op.Kind, fs.ErrInvalid)
		}
		if len(b) > MaxBatch {
			return nil, ErrTooLarge
		}
	}
	return b, nil
}

func appendSwap(b []byte, s swap) []byte {
	return appendOptional(appendOptional(appendField(b, s.key), s.old), s.new)
}

func appendError(b []byte, err error) []byte {
	text := err.Error()
	b = binary.AppendUvarint(append(b, tagError), uint64(statusOf(err)))
	return appendField(b, []byte(text[:min(len(text), maxErrorText)]))
}

// swap asks to replace the value of key if it is still old; nil means absent.
type swap struct{ key, old, new []byte }

// decoder reads what the append functions write, strictly: each message has one
// encoding.
type decoder struct{ r *bufio.Reader }

func newDecoder(r io.Reader) decoder { return decoder{bufio.NewReaderSize(r, 32<<10)} }

func (d decoder) uvarint() (uint64, error) {
	var v uint64
	for shift := 0; ; shift += 7 {
		c, err := d.r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		if shift == 63 && c > 1 || shift > 0 && c == 0 {
			return 0, fmt.Errorf("%w: a varint overflows or is not minimal", ErrMalformed)
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, nil
		}
	}
}

// field reads a field of at most limit bytes. A long one is not allocated before
// its bytes are there.
func (d decoder) field(limit int) ([]byte, error) {
	n, err := d.uvarint()
	if err != nil {
		return nil, err
	}
	if n > uint64(limit) {
		return nil, fmt.Errorf("field of %d bytes, at most %d are allowed: %w", n, limit, ErrTooLarge)
	}
	if n <= 64<<10 {
		b := make([]byte, n)
		_, err = io.ReadFull(d.r, b)
		return b, noEOF(err)
	}
	var b bytes.Buffer
	_, err = io.CopyN(&b, d.r, int64(n))
	return b.Bytes(), noEOF(err)
}

func (d decoder) optional(limit int) ([]byte, error) {
	switch c, err := d.r.ReadByte(); {
	case err != nil:
		return nil, noEOF(err)
	case c == 0:
		return nil, nil
	case c == 1:
		return d.field(limit)
	}
	return nil, fmt.Errorf("%w: a presence byte is neither 0 nor 1", ErrMalformed)
}

// end wants nothing more.
func (d decoder) end() error {
	switch _, err := d.r.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: bytes after the end", ErrMalformed)
	default:
		return err
	}
}

func (d decoder) scanRange() (r kv.Range, err error) {
	if r.From, err = d.field(MaxKey); err != nil {
		return r, err
	}
	if r.To, err = d.optional(MaxKey); err != nil {
		return r, err
	}
	return r, d.end()
}

func (d decoder) swap() (s swap, err error) {
	if s.key, err = d.field(MaxKey); err != nil {
		return s, err
	}
	if s.old, err = d.optional(MaxValue); err != nil {
		return s, err
	}
	if s.new, err = d.optional(MaxValue); err != nil {
		return s, err
	}
	return s, d.end()
}

func (d decoder) ops() ([]kv.Op, error) {
	n, err := d.uvarint()
	if err != nil {
		return nil, err
	}
	if n > MaxBatch {
		return nil, fmt.Errorf("%d operations: %w", n, ErrTooLarge)
	}
	ops := make([]kv.Op, 0, min(n, 1024)) // the number is a claim until they are there
	for range n {
		op, err := d.op()
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, d.end()
}

func (d decoder) op() (op kv.Op, err error) {
	kind, err := d.r.ReadByte()
	if err != nil {
		return op, noEOF(err)
	}
	op.Kind = kv.Kind(kind)
	if op.Key, err = d.field(MaxKey); err != nil {
		return op, err
	}
	switch op.Kind {
	case kv.KindPut:
		op.Value, err = d.field(MaxValue)
	case kv.KindDelete:
	case kv.KindDeleteRange:
		op.Value, err = d.optional(MaxKey)
	default:
		err = fmt.Errorf("%w: operation of kind %d", ErrMalformed, kind)
	}
	return op, err
}

// next reads the tag of a part. An error part is returned as its error, the end as io.EOF.
func (d decoder) next() error {
	switch tag, err := d.r.ReadByte(); {
	case err != nil:
		return noEOF(err)
	case tag == tagData:
		return nil
	case tag == tagEnd:
		if err := d.end(); err != nil {
			return err
		}
		return io.EOF
	case tag == tagError:
		return d.failure()
	default:
		return fmt.Errorf("%w: part of kind %d", ErrMalformed, tag)
	}
}

func (d decoder) failure() error {
	status, err := d.uvarint()
	if err != nil {
		return err
	}
	text, err := d.field(maxErrorText)
	if err != nil {
		return err
	}
	if err := d.end(); err != nil {
		return err
	}
	return errorOf(int(min(status, 999)), string(text))
}

func (d decoder) pair() (p kv.Pair, err error) {
	if p.Key, err = d.field(MaxKey); err != nil {
		return p, err
	}
	p.Value, err = d.field(MaxValue)
	return p, err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
