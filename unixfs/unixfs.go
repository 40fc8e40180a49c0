// Package unixfs reads and writes UnixFS, the format of files, directories and
// symbolic links over dag-pb blocks (https://specs.ipfs.tech/unixfs/).
//
// [Decode] reads any node that other software wrote. A [Profile] writes nodes:
// given the same bytes and the same profile of IPIP-499
// (https://specs.ipfs.tech/ipips/ipip-0499/), everybody gets the same CID.
//
// The size of every node is arithmetic over sizes: a [Subtree] says how long the
// blocks of a file will be before a byte of it was read, and [Profile.Directory]
// does so for the blocks of a directory. Whoever writes packs can place a parent
// before its children.
//
// The wire format is written with protowire, the primitives under the field's own
// dag-pb codec, because the encoder and its size arithmetic must agree to the
// byte, and because reading then takes memory in proportion to the block and
// copies no content. The tests hold both directions against boxo and go-codec-dagpb.
//
// # Errors
//
// A block that is not UnixFS matches [ErrNotUnixFS], one that claims to be and
// contradicts itself [ErrMalformed]. A node that would be longer than
// [block.MaxSize] matches [block.ErrTooLarge].
//
// All functions are pure, and all values may be shared once they are built.
package unixfs

import (
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
)

var (
	// ErrNotUnixFS reports a block of another codec, or a dag-pb block without
	// UnixFS data.
	ErrNotUnixFS = errors.New("not UnixFS")
	// ErrMalformed reports a node that breaks the dag-pb or UnixFS specification.
	ErrMalformed = errors.New("malformed UnixFS node")
)

// Type is the kind of a node. The values are those of the UnixFS protobuf.
type Type uint8

// The types.
const (
	Raw       Type = 0 // bytes alone: a block of codec raw, or the deprecated dag-pb form
	Directory Type = 1 // names in one block
	File      Type = 2 // bytes, and links to more bytes
	Metadata  Type = 3 // reserved by the specification
	Symlink   Type = 4 // Data is the target path
	HAMT      Type = 5 // a shard of a large directory
)

// String returns the name of the type in lower case.
func (t Type) String() string {
	names := [...]string{"raw", "directory", "file", "metadata", "symlink", "hamt"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Link is an edge of the DAG.
type Link struct {
	Name  string
	CID   cid.Cid
	Tsize uint64 // bytes of all blocks below and including CID, as the writer claims
}

// Node is a decoded node. Its Data shares memory with the block.
type Node struct {
	Type       Type
	Data       []byte   // file bytes before those of the links, target of a symlink, bitfield of a HAMT
	FileSize   int64    // bytes of file content under a File or Raw node: len(Data) and BlockSizes together
	BlockSizes []uint64 // file bytes below each of Links, for File and Raw
	Links      []Link
	Fanout     int       // buckets of a HAMT shard
	Mode       uint32    // POSIX mode bits, 0 if absent
	ModTime    time.Time // zero if absent
}

// IsFile reports whether the node carries file bytes.
func (n *Node) IsFile() bool { return n.Type == File || n.Type == Raw }

// IsDir reports whether the node is a directory or a shard of one.
func (n *Node) IsDir() bool { return n.Type == Directory || n.Type == HAMT }
