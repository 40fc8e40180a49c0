// Package jsstore reads and writes the index and pack stores of hash-stream, the
// JavaScript implementation (https://github.com/vasco-santos/hash-stream), so that
// either program can work on what the other one left.
//
// An index is objects of dag-json (https://ipld.io/specs/codecs/dag-json/spec/), one
// record each. K(d) is the CIDv1 of the multihash d with the raw codec in base32:
//
//	disk  K(record)/NAME                    NAME is K(first sub-record), or where there
//	S3    K(record)/K(record)/NAME          is none, a number; on S3 it stands twice: K/K
//
// A pack is K(pack).car on disk and K(pack)/K(pack).car on S3. The packs themselves
// are CARs like our own; a block that is its own location is an object like a pack
// that holds nothing but the block.
//
// Two levels of records are in use. "index/blob@0.1" (single-level) is a record for each block and
// one without sub-records for each pack. "index/containing@0.1" (multiple-level) is one for each root,
// which has a sub-record for each pack with one for each block. [Import] makes our own records of both,
// [Export] writes both.
//
// # Errors
//
// A record that does not decode matches [ErrMalformed] and names its object. An absent
// record is no error but an empty sequence; an absent object matches [io/fs.ErrNotExist].
//
// Everything is safe for concurrent use where the store is.
package jsstore

import (
	"errors"
	"fmt"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// ErrMalformed reports an object that is not a record of hash-stream.
var ErrMalformed = errors.New("malformed hash-stream record")

// Format is what wrote a record.
type Format string

// The formats.
const (
	SingleLevel   Format = "index/blob@0.1"
	MultipleLevel Format = "index/containing@0.1"
)

// None is an offset or length that a record does not give.
const None = -1

// Record is a record as hash-stream stores it. Either Location or Path is set.
type Record struct {
	Digest   digest.Digest
	Type     index.Type
	Location digest.Digest // the pack or, for an inline blob, the bytes as an identity multihash
	Path     string        // a raw file
	Offset   int64         // of the block's bytes in the location, or None
	Length   int64         // of the block's bytes, or None
	Sub      []Record
}

// Blob returns the record of a block.
func Blob(d digest.Digest, loc index.Location, offset, length int64) Record {
	return Record{Digest: d, Type: index.Blob, Location: loc.Pack, Path: loc.Path, Offset: offset, Length: length}
}

// Pack returns the record of a pack with the blocks in it, if they are to be told.
func Pack(d digest.Digest, blocks ...Record) Record {
	return Record{Digest: d, Type: index.Pack, Location: d, Offset: None, Length: None, Sub: blocks}
}

// Containing returns the record of a root with what holds its blocks.
func Containing(d digest.Digest, sub ...Record) Record {
	return Record{Digest: d, Type: index.Containing, Location: d, Offset: None, Length: None, Sub: sub}
}

// Layout is how objects are named.
type Layout string

// The layouts.
const (
	Disk Layout = "disk"
	S3   Layout = "s3" // and R2, with which hash-stream works alike
)

// ParseLayout reads the name of a layout.
func ParseLayout(s string) (Layout, error) {
	switch l := Layout(s); l {
	case Disk, S3:
		return l, nil
	}
	return "", fmt.Errorf("jsstore: layout %q: want %s or %s", s, Disk, S3)
}

// key is the name of d: once, or as often as the layout says.
func (l Layout) key(d digest.Digest) string {
	if l == S3 {
		return d.String() + "/" + d.String()
	}
	return d.String()
}
