package unixfs

import (
	"fmt"
	"math/bits"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// The names of the profiles of IPIP-499.
const (
	V1 = "unixfs-v1-2025" // what current Kubo and Helia can be told to write
	V0 = "unixfs-v0-2015" // what Kubo wrote by default until version 0.39
)

// Limits that [Profile.Validate] sets, so that every block stays below
// [block.MaxSize] with room for any Tsize.
const (
	MaxChunkSize     = 1 << 20 // bytes of file content in one leaf
	MaxWidth         = 16 << 10
	MaxHAMTFanout    = 1 << 10 // by the UnixFS specification
	MaxHAMTThreshold = 1 << 20
)

// Estimate is a way to measure a directory against the HAMT threshold.
type Estimate uint8

// The estimates of IPIP-499.
const (
	BlockBytes Estimate = iota // the exact size of the directory as one block
	LinksBytes                 // only the bytes of names and CIDs
)

// Profile is a set of parameters that determines CIDs.
type Profile struct {
	Name          string
	CIDVersion    int         // of dag-pb nodes; raw leaves always have version 1
	Hash          digest.Code // version 0 allows SHA256 alone
	ChunkSize     int64       // file bytes in a leaf, at most MaxChunkSize
	Width         int         // most links of a file node, 2 to MaxWidth
	RawLeaves     bool        // leaves are blocks of codec raw, else dag-pb
	HAMTFanout    int         // buckets of a shard: a power of two, 8 to MaxHAMTFanout
	HAMTThreshold int         // directories are sharded above this estimate in bytes
	HAMTEstimate  Estimate
}

// ParseProfile returns the profile with a name: [V1] or [V0].
func ParseProfile(name string) (Profile, error) {
	p := Profile{Name: name, Hash: digest.SHA256, HAMTFanout: 256, HAMTThreshold: 256 << 10}
	switch name {
	case V1:
		p.CIDVersion, p.ChunkSize, p.Width, p.RawLeaves = 1, 1<<20, 1024, true
	case V0:
		p.ChunkSize, p.Width, p.HAMTEstimate = 256<<10, 174, LinksBytes
	default:
		return Profile{}, fmt.Errorf("unixfs: profile %q: want %s or %s", name, V1, V0)
	}
	return p, nil
}

// Validate reports the first parameter that is out of its bounds. The other
// methods expect a valid profile.
func (p Profile) Validate() error {
	switch {
	case p.CIDVersion != 0 && p.CIDVersion != 1:
		return fmt.Errorf("unixfs: profile: CID version %d: want 0 or 1", p.CIDVersion)
	case p.hashLen() == 0:
		return fmt.Errorf("unixfs: profile: hash %s: want sha2-256, sha2-512 or blake3", p.Hash)
	case p.CIDVersion == 0 && p.Hash != digest.SHA256:
		return fmt.Errorf("unixfs: profile: hash %s: CID version 0 allows sha2-256 alone", p.Hash)
	case p.ChunkSize < 1 || p.ChunkSize > MaxChunkSize:
		return fmt.Errorf("unixfs: profile: chunk size %d: want 1 to %d bytes", p.ChunkSize, MaxChunkSize)
	case p.Width < 2 || p.Width > MaxWidth:
		return fmt.Errorf("unixfs: profile: width %d: want 2 to %d links", p.Width, MaxWidth)
	case !validFanout(p.HAMTFanout):
		return fmt.Errorf("unixfs: profile: HAMT fanout %d: want a power of two, 8 to %d", p.HAMTFanout, MaxHAMTFanout)
	case p.HAMTThreshold < 1 || p.HAMTThreshold > MaxHAMTThreshold:
		return fmt.Errorf("unixfs: profile: HAMT threshold %d: want 1 to %d bytes", p.HAMTThreshold, MaxHAMTThreshold)
	case p.HAMTEstimate > LinksBytes:
		return fmt.Errorf("unixfs: profile: HAMT estimate %d is unknown", p.HAMTEstimate)
	}
	return nil
}

func validFanout(n int) bool { return n >= 8 && n <= MaxHAMTFanout && bits.OnesCount(uint(n)) == 1 }

// hashLen returns the bytes of a hash value, 0 for functions that cannot name nodes.
func (p Profile) hashLen() int {
	switch p.Hash {
	case digest.SHA256, digest.BLAKE3:
		return 32
	case digest.SHA512:
		return 64
	}
	return 0
}

// cidLen returns the length in bytes of the CID of a raw leaf or of a dag-pb
// node. Version, codec, hash code and hash length are one byte each.
func (p Profile) cidLen(raw bool) int {
	if p.CIDVersion == 0 && !raw {
		return 2 + p.hashLen()
	}
	return 4 + p.hashLen()
}

// seal hashes data and names it.
func (p Profile) seal(codec uint64, data []byte) (block.Block, error) {
	d, err := digest.Sum(p.Hash, data)
	if err != nil {
		return block.Block{}, fmt.Errorf("unixfs: hash node: %w", err)
	}
	if p.CIDVersion == 0 && codec == cid.DagProtobuf {
		return block.Block{CID: cid.NewCidV0(d.Bytes()), Data: data}, nil
	}
	return block.Block{CID: d.CID(codec), Data: data}, nil
}

// sealNode is seal for a dag-pb node, whose size was promised beforehand.
func (p Profile) sealNode(data []byte, promised int64) (block.Block, error) {
	if int64(len(data)) != promised {
		return block.Block{}, fmt.Errorf("unixfs: encode node: %d bytes, %d were promised", len(data), promised)
	}
	if promised > block.MaxSize {
		return block.Block{}, fmt.Errorf("unixfs: encode node: %w", block.ErrTooLarge)
	}
	return p.seal(cid.DagProtobuf, data)
}
