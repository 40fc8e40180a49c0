// Package segment reads and writes segments: immutable files of sorted records with
// an index and filters. docs/formats/segment.md describes the bytes.
//
// A segment is written front to back in one pass, with memory that does not grow with
// its records but for the index (16 bytes a block) and the filters (9.5 bits a key).
// Files are written past the page cache where the system can do so, and read past
// it by those who read them whole; lookups read through it.
//
// # Errors
//
// Bytes that are not what was written match [digest.ErrMismatch] and name the file and the
// offset. Nothing that was damaged is ever told as absence.
//
// A Segment is safe for concurrent use, a Writer, a Cursor and a Merge are not.
package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Record is a record of a segment, or the mark that one is gone.
type Record struct {
	Key   dhash.Key // bytes beyond those that are stored are zero
	Head  uint64    // the first eight bytes of Key
	Value []byte
	Tag   valuestore.Tag
	Gone  bool // the record was deleted: older ones like it do not count
}

// HeadOf returns the first eight bytes of key as a number in the order of keys.
func HeadOf(key *dhash.Key) uint64 { return binary.BigEndian.Uint64(key[:8]) }

// Compare orders records by key, value and tag.
func (r *Record) Compare(o *Record) int {
	if r.Head != o.Head {
		return cmp.Compare(r.Head, o.Head)
	}
	if c := bytes.Compare(r.Key[8:], o.Key[8:]); c != 0 {
		return c
	}
	if c := bytes.Compare(r.Value, o.Value); c != 0 {
		return c
	}
	return cmp.Compare(r.Tag, o.Tag)
}

// Sizes of the format, in bytes where nothing else is said.
const (
	magic       = "hssegmnt"
	version     = 1
	thinVersion = 2    // of segments that list a sample of their tags
	blockTarget = 4096 // a block ends before the record with which it would be larger
	blockMax    = blockTarget + 2*valuestore.MaxValue
	blockHead   = 4 + 2 + 1 // checksum, records, length of the shared prefix
	indexEntry  = 8 + 2     // first head, length
	sectionHead = 4 + 8 + 4 + 4
	footerSize  = 72
	sectionKeys = 1 << 16 // keys of a filter
	maxTags     = 1 << 20 // that a segment lists
	windowMax   = 1 << 20 // that is read or written at once
)

// checksum returns the CRC-32C of b, begun with the offset where b stands, so that bytes
// in a wrong place do not pass.
func checksum(at int64, b []byte) uint32 {
	return crc32.Update(uint32(at)^uint32(at>>32), crc32.MakeTable(crc32.Castagnoli), b)
}

// damaged returns the error for bytes that are not what was written.
func damaged(name string, at int64, format string, args ...any) error {
	return fmt.Errorf("segment: read %s at byte %d: %w: %s", name, at, digest.ErrMismatch, fmt.Sprintf(format, args...))
}

// section is a part of a segment with a filter of its own. All records of a
// head lie in one section.
type section struct {
	first, end int // its blocks
	filter
}

// sampled reports whether a tag is in the sample of one in 2^thin.
func sampled(tag valuestore.Tag, thin uint8) bool {
	return uint64(tag)*0x9e3779b97f4a7c15>>(64-thin) == 0 // a shift by 64 leaves nothing
}

// TagCount is how many records of a segment have a tag, deleted ones included.
type TagCount struct {
	Tag   valuestore.Tag
	Count uint64
}
