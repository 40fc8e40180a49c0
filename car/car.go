// Package car reads and writes content archives: a header that names root CIDs,
// then sections of a CID and the bytes of its block.
//
// It reads version 1 (https://ipld.io/specs/transport/car/carv1/) and version 2
// (https://ipld.io/specs/transport/car/carv2/), and writes version 1. Where the
// text of the CARv2 index specification and the deployed bytes differ, it
// follows the bytes, which are go-car's.
//
// The decoder is strict. Varints have their shortest form and at most nine
// bytes, the header is canonical DAG-CBOR, a section has at least a CID, and
// nothing follows the last section. So a CARv1 that was read is given back byte
// for byte by [AppendHeader], [AppendHead] and the data. The one exception is
// go-car's spelling of no roots, a null, which is read as the empty list. Lengths
// in the input are never trusted with memory: what is allocated is bounded by
// [Options] or by what was really read.
//
// Blocks are not verified here. Use [github.com/hashstream/hashstream/block.New].
//
// # Errors
//
// Bad varints, headers and lengths match [ErrMalformed]; input that ends inside
// of something matches [ErrTruncated], which is also [io.ErrUnexpectedEOF]; a block
// over the limit matches [block.ErrTooLarge]; an absent index matches
// [io/fs.ErrNotExist]. An error of the underlying reader is wrapped.
//
// Functions are safe for concurrent use; a [Reader] or a [Writer] belongs to one
// goroutine at a time.
package car

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
)

var (
	// ErrMalformed reports bytes that are not a content archive.
	ErrMalformed = errors.New("malformed car")
	// ErrTruncated reports an archive that ends inside its header or a section.
	// It matches [io.ErrUnexpectedEOF] too.
	ErrTruncated = fmt.Errorf("truncated car: %w", io.ErrUnexpectedEOF)
)

// Codecs of the index section of a CARv2, from the multicodec table.
const (
	IndexSorted          = 0x0400 // hash values without their function
	MultihashIndexSorted = 0x0401 // grouped by hash function
)

const (
	// maxVarint is the longest varint in bytes: the multiformats limit, 63 bits.
	maxVarint = 9
	// maxValue is the longest hash value in bytes that package digest carries.
	maxValue = 128
	// maxCID is the longest CID in bytes: version, codec, hash function, length, value.
	maxCID = 4*maxVarint + maxValue
)

// Options bounds what a [Reader] takes from its input. A nil Options or a zero
// field means the default.
type Options struct {
	MaxHeader int64 // longest header in bytes; default 1 MiB, about 25,000 roots
	MaxBlock  int64 // longest block that [Reader.Data] returns, in bytes; default [block.MaxSize]
}

func (o *Options) limits() Options {
	limits := Options{MaxHeader: 1 << 20, MaxBlock: block.MaxSize}
	if o != nil && o.MaxHeader > 0 {
		limits.MaxHeader = o.MaxHeader
	}
	if o != nil && o.MaxBlock > 0 {
		limits.MaxBlock = o.MaxBlock
	}
	return limits
}

// Section is one block of an archive: where it is, not what it holds.
type Section struct {
	CID    cid.Cid
	Offset int64 // of the block's bytes, after length and CID, from the start of the file
	Size   int64 // of the block's bytes
}

// AppendHead appends the frame that precedes the size bytes of the block c: the
// varint length of CID and block, then the CID. It panics if size is negative.
func AppendHead(b []byte, c cid.Cid, size int64) []byte {
	b = binary.AppendUvarint(b, uint64(sectionSize(c.ByteLen(), size)))
	return append(b, c.KeyString()...)
}

// HeadSize returns the length in bytes of what [AppendHead] appends.
func HeadSize(c cid.Cid, size int64) int64 { return HeadSizeLen(c.ByteLen(), size) }

// HeadSizeLen is [HeadSize] for a CID that is not known yet, of cidLen bytes.
func HeadSizeLen(cidLen int, size int64) int64 {
	n := uint64(sectionSize(cidLen, size))
	varint := max(1, (bits.Len64(n)+6)/7)
	return int64(varint + cidLen)
}

func sectionSize(cidLen int, size int64) int64 {
	n := int64(cidLen) + size
	if size < 0 || n < 0 {
		panic(fmt.Sprintf("car: block size %d", size))
	}
	return n
}
