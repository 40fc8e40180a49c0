// Package index records where the bytes of a digest are.
//
// An index lives in a [kv.Store]. For a block it holds one record per location;
// for a containing (the root of a DAG) it holds a plan: every block of the DAG in
// depth-first order with its place, cut into segments of bounded size, from which
// any response for that DAG is arithmetic. docs/formats/record.md and plan.md give
// the bytes.
//
// The [Level] chosen when writing follows the index-writer specification of
// hash-stream: single-level records find any block fast and know no DAG,
// multiple-level records serve whole DAGs with few keys and find a block only
// with its containing as a hint, and all (the default) writes both.
//
// # Errors
//
// Absence matches [io/fs.ErrNotExist], a damaged record [ErrCorrupt].
//
// An [Index] is safe for concurrent use; a [Builder] belongs to one goroutine.
package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashstream/hashstream/digest"
)

// ErrCorrupt reports a stored record that does not decode.
var ErrCorrupt = errors.New("corrupt index record")

// Level says which records are written.
type Level string

// The levels.
const (
	LevelAll      Level = "all"
	LevelSingle   Level = "single-level"   // block → locations
	LevelMultiple Level = "multiple-level" // containing → packs → blocks
	LevelNone     Level = "none"
)

// ParseLevel reads the name of a level; empty means all.
func ParseLevel(s string) (Level, error) {
	switch l := Level(s); l {
	case "":
		return LevelAll, nil
	case LevelAll, LevelSingle, LevelMultiple, LevelNone:
		return l, nil
	}
	return "", fmt.Errorf("index: level %q: want all, single-level, multiple-level or none", s)
}

func (l Level) blocks() bool { return l == LevelAll || l == LevelSingle }
func (l Level) plans() bool  { return l == LevelAll || l == LevelMultiple }

// Type says what a record's digest stands for.
type Type uint8

// The types, with the numbers of the hash-stream index specification.
const (
	Blob       Type = 0 // bytes at a location
	Pack       Type = 1 // an object that holds blobs
	Containing Type = 2 // an ordered set of packs and blobs: a DAG
	InlineBlob Type = 3 // bytes that the digest itself carries
)

// String returns the type's name.
func (t Type) String() string {
	switch t {
	case Blob:
		return "blob"
	case Pack:
		return "pack"
	case Containing:
		return "containing"
	case InlineBlob:
		return "inline blob"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Record is where the bytes of a digest are.
type Record struct {
	Digest   digest.Digest
	Type     Type
	Location Location // zero for a containing
	Offset   int64    // of the bytes in the location
	Length   int64    // in bytes, 0 if unknown
	Sub      []Record
}

// The first byte of a key says what it holds.
const (
	keyBlock      = 'b' // ‖ multihash ‖ ref       → offset, size
	keyContaining = 'c' // ‖ multihash ‖ plan id   → containing
	keyLocation   = 'l' // ‖ ref                   → location
	keyPlan       = 'p' // ‖ plan id               → root multihash: the plan is complete
	keySegment    = 's' // ‖ plan id ‖ number      → segment
	keyIntent     = 'i' // ‖ plan id               → unix time: the plan is being written
	keyQuarantine = 'q' // ‖ multihash ‖ ref       → unix time, cause
)

type planID [16]byte

// keysOf is how the keys of one kind begin that belong to d. It has room for the
// rest of a key, because a find makes several.
func keysOf(kind byte, d digest.Digest) []byte {
	return d.AppendTo(append(make([]byte, 0, 64), kind))
}

func blockKey(d digest.Digest, r ref) []byte {
	return append(keysOf(keyBlock, d), r[:]...)
}

func quarantineKey(d digest.Digest, r ref) []byte {
	return append(keysOf(keyQuarantine, d), r[:]...)
}

func containingKey(d digest.Digest, id planID) []byte {
	return append(keysOf(keyContaining, d), id[:]...)
}

func locationKey(r ref) []byte   { return append([]byte{keyLocation}, r[:]...) }
func planKey(id planID) []byte   { return append([]byte{keyPlan}, id[:]...) }
func intentKey(id planID) []byte { return append([]byte{keyIntent}, id[:]...) }

func segmentKey(id planID, number int64) []byte {
	b := append([]byte{keySegment}, id[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(number))
}

// suffix returns the 16 bytes that end a key of one value among several.
func suffix(key []byte) [16]byte { return [16]byte(key[len(key)-16:]) }

// place is a block's offset and size in a location: the value of a block record.
type place struct{ offset, size int64 }

func (p place) encode() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 10), uint64(p.offset))
	return binary.AppendUvarint(b, uint64(p.size))
}

func decodePlace(b []byte) (place, error) {
	d := decoder{b: string(b)}
	p := place{d.int(), d.int()}
	if d.err == nil && d.b != "" {
		d.fail("bytes after a block record")
	}
	return p, d.err
}

// containing is the part of a plan that one DAG takes: the value of a containing
// record. The root of the plan takes all of it; every file and directory below
// takes the entries of its own subtree.
type containing struct {
	flags     byte
	first     int64 // entry
	count     int64 // entries
	position  int64 // file bytes in the plan before the first entry
	fileBytes int64 // in the entries
	sections  int64 // bytes of all CAR sections, each block once
	repeated  int64 // bytes of all CAR sections, as often as the blocks occur
}

const (
	containingFile   = 1 << iota // one file, not a directory or other DAG
	containingFolded             // some duplicate stands for a subtree that is not repeated: occurrences are incomplete
	containingLoose              // a block may stand more than once without being marked a duplicate
	containingBorrow             // a duplicate's first occurrence lies outside: sections does not hold
)

const containingVersion = 1

func (c containing) encode() []byte {
	b := []byte{containingVersion, c.flags}
	for _, v := range []int64{c.first, c.count, c.position, c.fileBytes, c.sections, c.repeated} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b
}

func decodeContaining(b []byte) (containing, error) {
	d := decoder{b: string(b)}
	if v := d.byte(); v != containingVersion && d.err == nil {
		return containing{}, fmt.Errorf("%w: containing record of version %d", ErrCorrupt, v)
	}
	c := containing{flags: d.byte(), first: d.int(), count: d.int(), position: d.int(), fileBytes: d.int(), sections: d.int(), repeated: d.int()}
	if d.err == nil && d.b != "" {
		d.fail("bytes after a containing record")
	}
	return c, d.err
}
