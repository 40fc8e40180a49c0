package car

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/hashstream/hashstream/digest"
)

// ReadSidecar is [ReadIndex] for an index that lies beside its CARv1: a file of size bytes
// that begins with the codec. dataSize is the size of the CARv1 in bytes; an index that points
// beyond it is malformed. A CARv2 has no sidecar; where one was detached from it, its data has.
func ReadSidecar(r io.ReaderAt, size, dataSize int64) iter.Seq2[IndexEntry, error] {
	return func(yield func(IndexEntry, error) bool) {
		in := newInput(io.NewSectionReader(r, 0, size))
		x := indexReader{in: &in, win: window{end: dataSize}, yield: func(e IndexEntry) bool { return yield(e, nil) }}
		err := x.read()
		if err == nil && in.pos != size {
			err = fmt.Errorf("%w: %d bytes after the index", ErrMalformed, size-in.pos)
		}
		if err != nil && err != errStopped {
			yield(IndexEntry{}, fmt.Errorf("car: read sidecar: %w", err))
		}
	}
}

// AppendSidecar appends an index of codec [MultihashIndexSorted] over entries, which it
// sorts. Their offsets count from the start of the CARv1. An entry without a hash function, or an
// offset that is negative, is malformed.
func AppendSidecar(b []byte, entries []IndexEntry) ([]byte, error) {
	for _, e := range entries {
		if !e.Coded || e.Offset < 0 || len(e.Value) > maxValue {
			return b, fmt.Errorf("car: write sidecar: %w: entry of %d bytes of hash at %d", ErrMalformed, len(e.Value), e.Offset)
		}
	}
	slices.SortStableFunc(entries, func(a, b IndexEntry) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(len(a.Value), len(b.Value)), bytes.Compare(a.Value, b.Value), cmp.Compare(a.Offset, b.Offset))
	})
	b = binary.AppendUvarint(b, MultihashIndexSorted)
	codes := runs(entries, func(e IndexEntry) digest.Code { return e.Code })
	if len(codes) > math.MaxInt32 {
		return b, fmt.Errorf("car: write sidecar: %w: %d hash functions", ErrMalformed, len(codes))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(codes)))
	for _, group := range codes {
		b = binary.LittleEndian.AppendUint64(b, uint64(group[0].Code))
		widths := runs(group, func(e IndexEntry) int { return len(e.Value) })
		b = binary.LittleEndian.AppendUint32(b, uint32(len(widths)))
		for _, same := range widths {
			width := len(same[0].Value) + 8
			b = binary.LittleEndian.AppendUint32(b, uint32(width))
			b = binary.LittleEndian.AppendUint64(b, uint64(width)*uint64(len(same)))
			for _, e := range same {
				b = binary.LittleEndian.AppendUint64(append(b, e.Value...), uint64(e.Offset))
			}
		}
	}
	return b, nil
}

// runs cuts sorted entries where their key changes.
func runs[K comparable](entries []IndexEntry, key func(IndexEntry) K) (all [][]IndexEntry) {
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && key(entries[n]) == key(entries[0]) {
			n++
		}
		all = append(all, entries[:n])
		entries = entries[n:]
	}
	return all
}
