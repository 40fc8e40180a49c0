package ingest

import "github.com/ipfs/go-cid"

// maxSeen bounds the blocks that are remembered, at about 60 bytes each.
const maxSeen = 1 << 20

// seen remembers where blocks of the DAG occurred first. CIDs, not digests, tell
// blocks apart: the same bytes with another codec have other children. All CIDs of
// a DAG that is added have the same hash function, of 32 bytes or more.
type seen struct {
	limit int
	first map[seenKey]uint32
}

// seenKey is the last 32 bytes of the hash, and the byte that tells version 0 and
// the codecs of version 1 apart.
type seenKey [33]byte

func (s *seen) key(c cid.Cid) (k seenKey) {
	b := c.KeyString()
	copy(k[:32], b[max(len(b)-32, 0):])
	k[32] = b[1]
	return k
}

// lookup returns the entry where c occurred first.
func (s *seen) lookup(c cid.Cid) (int, bool) {
	e, ok := s.first[s.key(c)]
	return int(e), ok
}

// add remembers c. It reports false if there is no room.
func (s *seen) add(c cid.Cid, entry int) bool {
	if len(s.first) >= s.limit || int64(entry) > int64(^uint32(0)) {
		return false
	}
	if s.first == nil {
		s.first = map[seenKey]uint32{}
	}
	s.first[s.key(c)] = uint32(entry)
	return true
}
