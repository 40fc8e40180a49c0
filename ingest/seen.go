package ingest

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/ipfs/go-cid"
)

// maxSeen bounds the blocks that are remembered, at about 30 bytes each.
const maxSeen = 1 << 20

// seen remembers where blocks of the DAG occurred first. CIDs, not digests, tell
// blocks apart: the same bytes with another codec have other children.
type seen struct {
	limit int
	keys  keys
	first map[key]uint32
}

// lookup returns the entry where c occurred first.
func (s *seen) lookup(c cid.Cid) (int, bool) {
	e, ok := s.first[s.keys.of(c.KeyString())]
	return int(e), ok
}

// add remembers c. It reports false if there is no room.
func (s *seen) add(c cid.Cid, entry int) bool {
	if len(s.first) >= s.limit || int64(entry) > int64(^uint32(0)) {
		return false
	}
	s.first[s.keys.of(c.KeyString())] = uint32(entry)
	return true
}

func newSeen(limit int) seen { return seen{limit, newKeys(), map[key]uint32{}} }

// key stands for a CID or a multihash in memory.
type key [16]byte

// keys makes keys that nobody outside can make collide.
type keys [2]maphash.Seed

func newKeys() keys { return keys{maphash.MakeSeed(), maphash.MakeSeed()} }

func (ks *keys) of(s string) (k key) {
	binary.LittleEndian.PutUint64(k[:8], maphash.String(ks[0], s))
	binary.LittleEndian.PutUint64(k[8:], maphash.String(ks[1], s))
	return k
}
