package unixfs

import (
	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"
)

// Tags of the fields, each one byte: number<<3 | wire type. The wire type of a
// varint is 0.
const (
	tagNodeData  = 1<<3 | 2
	tagNodeLinks = 2<<3 | 2

	tagLinkHash  = 1<<3 | 2
	tagLinkName  = 2<<3 | 2
	tagLinkTsize = 3 << 3

	tagType       = 1 << 3
	tagData       = 2<<3 | 2
	tagFileSize   = 3 << 3
	tagBlockSizes = 4 << 3
	tagHashType   = 5 << 3
	tagFanout     = 6 << 3
)

// murmur3Code is the multicodec of murmur3-x64-64, the only hash of HAMT shards.
const murmur3Code = 0x22

// bytesSize is the encoded size of a field of n bytes, with its tag.
func bytesSize(n int) int { return 1 + protowire.SizeBytes(n) }

// varintSize is the encoded size of a number field, with its tag.
func varintSize(v uint64) int { return 1 + protowire.SizeVarint(v) }

// linkSize is what a link adds to a dag-pb node. Names are written even if empty,
// as Kubo does.
func linkSize(nameLen, cidLen int, tsize uint64) int {
	return bytesSize(bytesSize(cidLen) + bytesSize(nameLen) + varintSize(tsize))
}

func appendLink(b []byte, prefix, name string, c cid.Cid, tsize uint64) []byte {
	id, nameLen := c.KeyString(), len(prefix)+len(name)
	b = append(b, tagNodeLinks)
	b = protowire.AppendVarint(b, uint64(bytesSize(len(id))+bytesSize(nameLen)+varintSize(tsize)))
	b = append(b, tagLinkHash)
	b = protowire.AppendString(b, id)
	b = append(b, tagLinkName)
	b = protowire.AppendVarint(b, uint64(nameLen))
	b = append(append(b, prefix...), name...)
	return appendNumber(b, tagLinkTsize, tsize)
}

func appendNumber(b []byte, tag byte, v uint64) []byte {
	return protowire.AppendVarint(append(b, tag), v)
}

func appendBytes(b []byte, tag byte, v []byte) []byte {
	return protowire.AppendBytes(append(b, tag), v)
}
