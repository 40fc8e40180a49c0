// Package oplog is the operations of a store: as they wait to be written, and as logs hold them.
//
// # Errors
//
// Malformed operations match [digest.ErrMismatch].
//
// A Queue is safe for concurrent use.
package oplog

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Kind is what an operation does, as logs say it.
type Kind byte

// The kinds.
const (
	Put    Kind = 1
	Delete Kind = 2
	Remove Kind = 3
	Flush  Kind = 4 // begin a new table; in no log
)

// Sizes in bytes.
const (
	PieceSize = 4 << 20 // of the records of an operation
	GroupSize = 8 << 20 // of operations that are written at once
	MaxTags   = PieceSize / binary.MaxVarintLen64
)

// Operation is a write of somebody who waits for it.
type Operation struct {
	Kind    Kind
	Tag     valuestore.Tag
	Records valuestore.Records
	Tags    []valuestore.Tag // of a removal

	rest bool // it goes on with the operation before it
	done chan error
}

// Size returns what the operation takes in a log, or a little more.
func (o *Operation) Size() int64 {
	return int64(len(o.Records)) + binary.MaxVarintLen64*int64(len(o.Tags)) + 32
}

// Mark returns how records of the operation are marked: the tag, shifted by one, and 1 if they
// are deleted.
func (o *Operation) Mark() uint64 {
	mark := uint64(o.Tag) << 1
	if o.Kind == Delete {
		mark |= 1
	}
	return mark
}

// Append appends the operation as logs hold it.
func (o *Operation) Append(b []byte) []byte {
	b = append(b, byte(o.Kind))
	if o.Kind == Remove {
		b = binary.AppendUvarint(b, uint64(len(o.Tags)))
		for _, tag := range o.Tags {
			b = binary.AppendUvarint(b, uint64(tag))
		}
		return b
	}
	b = binary.AppendUvarint(b, uint64(o.Tag))
	b = binary.AppendUvarint(b, uint64(len(o.Records)))
	return append(b, o.Records...)
}

// Decode returns the operations of a frame, which are parts of it.
func Decode(b []byte) (all []*Operation, err error) {
	for len(b) > 0 {
		o := &Operation{Kind: Kind(b[0])}
		var ok bool
		if o.Kind == Remove {
			b, ok = o.decodeTags(b[1:])
		} else {
			b, ok = o.decodeRecords(b[1:])
		}
		if !ok {
			return nil, fmt.Errorf("oplog: %w: malformed operation %d", digest.ErrMismatch, len(all))
		}
		if _, err := o.Records.Check(); err != nil {
			return nil, fmt.Errorf("oplog: operation %d: %w", len(all), err)
		}
		all = append(all, o)
	}
	return all, nil
}

// number cuts a number up to most off b.
func number(b []byte, most uint64) (x uint64, rest []byte, ok bool) {
	x, n := binary.Uvarint(b)
	if n <= 0 || x > most {
		return 0, nil, false
	}
	return x, b[n:], true
}

func (o *Operation) decodeTags(b []byte) (rest []byte, ok bool) {
	count, b, ok := number(b, uint64(len(b)))
	for range count {
		var tag uint64
		if tag, b, ok = number(b, uint64(valuestore.MaxTag)); !ok || tag == 0 {
			return nil, false
		}
		o.Tags = append(o.Tags, valuestore.Tag(tag))
	}
	return b, ok
}

func (o *Operation) decodeRecords(b []byte) (rest []byte, ok bool) {
	if o.Kind != Put && o.Kind != Delete {
		return nil, false
	}
	tag, b, ok := number(b, uint64(valuestore.MaxTag))
	if !ok {
		return nil, false
	}
	size, b, ok := number(b, uint64(len(b)))
	if !ok || size > uint64(len(b)) {
		return nil, false
	}
	o.Tag, o.Records = valuestore.Tag(tag), valuestore.Records(b[:size:size])
	return b[size:], true
}

// Split checks records and cuts them into pieces of an operation each.
func Split(records valuestore.Records) (pieces []valuestore.Records, err error) {
	start, at := 0, 0
	for e, err := range records.All() {
		if err != nil {
			return nil, err
		}
		next := at + recordSize(len(e.Value))
		if next-start > PieceSize {
			pieces = append(pieces, records[start:at:at])
			start = at
		}
		at = next
	}
	if start < len(records) {
		pieces = append(pieces, records[start:])
	}
	return pieces, nil
}

// recordSize returns the length of a record with a value of n bytes.
func recordSize(n int) int { return dhash.KeySize + (bits.Len(uint(n)|1)+6)/7 + n }
