// Package valuestore is the seam to where a provider index keeps its values: under
// the key of a multihash, the opaque bytes that tell who has it. Package
// valuestoretest holds the suite that each backend must pass.
//
// A key has any number of values. A record is a key with one of them; a record
// that is put twice is there once. Records that are to be removed together carry a
// tag, and one call removes them all, however many they are.
//
// # Errors
//
// Malformed records match [digest.ErrMismatch], corruption of what is stored too. An absent
// key is no error: it has no values.
//
// Stores are safe for concurrent use.
package valuestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/multiformats/go-varint"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// Limits.
const (
	MaxValue = 1024           // bytes of a value
	MaxTag   = Tag(1)<<40 - 1 // the largest tag
)

// Tag marks records that are removed together. Records of tag 0 are removed one by
// one only.
type Tag uint64

// Value is one of the values of a key. Bytes is valid until the next one is yielded.
type Value struct {
	Tag   Tag
	Bytes []byte
}

// Record is a value with its key. A store that keeps short keys yields the rest of
// the key as zeros.
type Record struct {
	Key dhash.Key
	Value
}

// Range is the keys from From to To, both inclusive.
type Range struct{ From, To dhash.Key }

// Reader reads.
type Reader interface {
	// Values yields the values of key in the order of their bytes, each once for each
	// tag that it was put with.
	Values(ctx context.Context, key dhash.Key) iter.Seq2[Value, error]
	// Range yields the records of r in the order of their keys, those of a key as Values does,
	// as of one moment not before the call. It holds resources until it ends.
	Range(ctx context.Context, r Range) iter.Seq2[Record, error]
}

// Store reads and writes. What a write was told is durable when it returns. However it
// returns, the records are the caller's again, who may write over them: a store copies
// what it keeps.
type Store interface {
	Reader
	// Put adds records under a tag. It does not keep the slice after it returned.
	Put(ctx context.Context, tag Tag, records Records) error
	// Delete deletes records that were put under the tag. What is put afterwards, or at the
	// same time and acknowledged later, stays.
	Delete(ctx context.Context, tag Tag, records Records) error
	// Remove removes all records of tags, which are not to be used again. They are not yielded
	// once it returned; their space comes back later.
	Remove(ctx context.Context, tags ...Tag) error
}

// Records is a sequence of records in the form in which they are sent, logged and
// kept: a key of 32 bytes, the length of the value as a uvarint, the value.
type Records []byte

// Append adds a record. value must not exceed [MaxValue].
func (r Records) Append(key dhash.Key, value []byte) Records {
	r = append(r, key[:]...)
	r = binary.AppendUvarint(r, uint64(len(value)))
	return append(r, value...)
}

// Entry is a record of [Records].
type Entry struct {
	Key   dhash.Key
	Value []byte
}

// All yields the records, whose values are parts of r. Malformed bytes are an error,
// which comes after the records before them.
func (r Records) All() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for rest := r; len(rest) > 0; {
			e, n, err := cut(rest)
			if err != nil {
				yield(Entry{}, fmt.Errorf("valuestore: record at byte %d: %w: %w", len(r)-len(rest), digest.ErrMismatch, err))
				return
			}
			if !yield(e, nil) {
				return
			}
			rest = rest[n:]
		}
	}
}

// cut returns the first record of r and its length.
func cut(r Records) (Entry, int, error) {
	if len(r) < dhash.KeySize {
		return Entry{}, 0, fmt.Errorf("%d bytes where a key should be", len(r))
	}
	size, n, err := varint.FromUvarint(r[dhash.KeySize:])
	if err != nil {
		return Entry{}, 0, err
	}
	head := dhash.KeySize + n
	if size > MaxValue || size > uint64(len(r)-head) {
		return Entry{}, 0, fmt.Errorf("value of %d bytes", size)
	}
	end := head + int(size)
	return Entry{Key: dhash.Key(r[:dhash.KeySize]), Value: r[head:end:end]}, end, nil
}

// Check returns how many records r holds, or that it is malformed.
func (r Records) Check() (n int, err error) {
	for _, err := range r.All() {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Contains reports whether key lies in r.
func (r Range) Contains(key dhash.Key) bool {
	return bytes.Compare(r.From[:], key[:]) <= 0 && bytes.Compare(key[:], r.To[:]) <= 0
}

// Everything is the range of all keys.
func Everything() Range {
	return Range{To: dhash.Key(bytes.Repeat([]byte{0xff}, dhash.KeySize))}
}
