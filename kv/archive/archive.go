// Package archive writes all keys of a store into one file and reads them back, into the
// same or another backend. docs/formats/archive.md gives the bytes.
//
// # Errors
//
// A file that is damaged, cut or no archive matches [digest.ErrMismatch].
package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// magic begins every archive, and names its version.
const magic = "hashstream keys 1\n"

// MaxValue is the length of the longest value that is read, in bytes.
const MaxValue = 1 << 30

// Write writes all keys of store to w, as of one moment, and returns how many there are.
func Write(ctx context.Context, w io.Writer, store kv.Reader) (int64, error) {
	n, err := write(ctx, w, store)
	if err != nil {
		return n, fmt.Errorf("archive: write: %w", err)
	}
	return n, nil
}

func write(ctx context.Context, w io.Writer, store kv.Reader) (n int64, err error) {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	out.WriteString(magic)
	var head []byte
	for p, err := range store.Scan(ctx, kv.Range{From: []byte{0}}) {
		if err != nil {
			return n, err
		}
		head = binary.AppendUvarint(head[:0], uint64(len(p.Key)))
		head = append(head, p.Key...)
		head = binary.AppendUvarint(head, uint64(len(p.Value)))
		out.Write(head)
		if _, err := out.Write(p.Value); err != nil { // it remembers the errors of the others
			return n, err
		}
		n++
	}
	out.Write(binary.AppendUvarint([]byte{0}, uint64(n)))
	if err := out.Flush(); err != nil {
		return n, err
	}
	_, err = w.Write(sum.Sum(nil))
	return n, err
}

// Read yields the pairs of an archive. That the whole is undamaged is known only after the
// last; an error says what is not.
func Read(r io.Reader) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		d := &decoder{in: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}
		for {
			p, err := d.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				err = fmt.Errorf("archive: read after %d keys: %w", d.count, err)
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// Restore puts every pair of an archive into store. It reads all of r before, so that a
// damaged archive changes nothing, and may be repeated.
func Restore(ctx context.Context, store kv.Store, r io.ReadSeeker) (n int64, err error) {
	for _, err := range Read(r) {
		if err != nil {
			return 0, err
		}
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("archive: restore: %w", err)
	}
	var ops []kv.Op
	size := 0
	for p, err := range Read(r) {
		if err != nil {
			return n, err
		}
		ops = append(ops, kv.Put(p.Key, p.Value))
		n++
		if size += len(p.Key) + len(p.Value); size < batchBytes {
			continue
		}
		if err := store.Batch(ctx, ops); err != nil {
			return n, fmt.Errorf("archive: restore: %w", err)
		}
		ops, size = ops[:0], 0
	}
	if len(ops) > 0 {
		if err := store.Batch(ctx, ops); err != nil {
			return n, fmt.Errorf("archive: restore: %w", err)
		}
	}
	return n, nil
}

const batchBytes = 1 << 20

// decoder reads an archive and sums what it has read.
type decoder struct {
	in    *bufio.Reader
	sum   hash.Hash
	count uint64
	begun bool
	last  []byte
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", digest.ErrMismatch, fmt.Sprintf(format, args...))
}

func (d *decoder) next() (kv.Pair, error) {
	if !d.begun {
		d.begun = true
		if got, err := d.take(len(magic)); err != nil || string(got) != magic {
			return kv.Pair{}, bad("it is no archive of keys")
		}
	}
	n, err := d.uvarint()
	if err != nil {
		return kv.Pair{}, err
	}
	if n == 0 {
		return kv.Pair{}, d.end()
	}
	if n > kv.MaxKey {
		return kv.Pair{}, bad("a key of %d bytes", n)
	}
	var p kv.Pair
	if p.Key, err = d.take(int(n)); err != nil {
		return kv.Pair{}, err
	}
	if bytes.Compare(p.Key, d.last) <= 0 {
		return kv.Pair{}, bad("keys are out of order")
	}
	d.last = p.Key
	if n, err = d.uvarint(); err != nil {
		return kv.Pair{}, err
	}
	if n > MaxValue {
		return kv.Pair{}, bad("a value of %d bytes", n)
	}
	if p.Value, err = d.take(int(n)); err != nil {
		return kv.Pair{}, err
	}
	d.count++
	return p, nil
}

// end checks what follows the last pair: [io.EOF] means that all is right.
func (d *decoder) end() error {
	n, err := d.uvarint()
	if err != nil {
		return err
	}
	if n != d.count {
		return bad("it says that it has %d keys", n)
	}
	want := d.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(d.in, got); err != nil || !bytes.Equal(got, want) {
		return bad("its checksum is wrong")
	}
	if _, err := d.in.ReadByte(); err != io.EOF {
		return bad("something follows its end")
	}
	return io.EOF
}

// take reads n bytes in steps, so that what is not there is not allocated.
func (d *decoder) take(n int) ([]byte, error) {
	var b bytes.Buffer
	if _, err := io.CopyN(&b, d.in, int64(n)); err != nil {
		return nil, cut(err)
	}
	d.sum.Write(b.Bytes())
	return b.Bytes(), nil
}

func cut(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return bad("it ends early")
	}
	return err
}

// uvarint reads a number of the shortest form.
func (d *decoder) uvarint() (uint64, error) {
	var b []byte
	for len(b) < binary.MaxVarintLen64 {
		c, err := d.in.ReadByte()
		if err != nil {
			return 0, cut(err)
		}
		if b = append(b, c); c < 0x80 {
			break
		}
	}
	d.sum.Write(b)
	v, n := binary.Uvarint(b)
	if n != len(b) || n > 1 && b[n-1] == 0 {
		return 0, bad("malformed number")
	}
	return v, nil
}
