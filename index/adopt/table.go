package adopt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sort"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/index"
)

// table finds places by multihash. It keeps keyed hashes, which nobody outside can
// make collide, instead of the multihashes.
type table struct {
	seeds     [2]maphash.Seed
	limit     int
	places    []place
	sorted    bool
	over      bool // there are more blocks than places
	locations []index.Location
	ordinal   map[index.Location]int32
}

type key [16]byte

// place is where a block is.
type place struct {
	key    key    // of the multihash
	frame  uint64 // hash of the CID that stands before the bytes, 0 if none does
	offset int64
	size   int32
	first  int32 // entry of the plan being made where the CID occurs first, or -1
	loc    int32 // index into locations
}

func newTable(limit int) *table {
	return &table{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, limit: limit, ordinal: map[index.Location]int32{}}
}

func (t *table) key(c cid.Cid) (k key) {
	binary.LittleEndian.PutUint64(k[:8], maphash.String(t.seeds[0], string(c.Hash())))
	binary.LittleEndian.PutUint64(k[8:], maphash.String(t.seeds[1], string(c.Hash())))
	return k
}

func (t *table) frame(c cid.Cid) uint64 { return max(maphash.String(t.seeds[0], c.KeyString()), 1) }

func (t *table) location(loc index.Location) int32 {
	n, ok := t.ordinal[loc]
	if !ok {
		n = int32(len(t.locations))
		t.ordinal[loc] = n
		t.locations = append(t.locations, loc)
	}
	return n
}

func (t *table) add(c cid.Cid, loc int32, off, size int64, framed bool) {
	if len(t.places) >= t.limit || size != int64(int32(size)) {
		t.over = true
		return
	}
	p := place{key: t.key(c), offset: off, size: int32(size), loc: loc}
	if framed {
		p.frame = t.frame(c)
	}
	t.places, t.sorted = append(t.places, p), false
}

func (t *table) sort() {
	if t.sorted {
		return
	}
	slices.SortFunc(t.places, func(a, b place) int {
		return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(a.loc, b.loc), cmp.Compare(a.offset, b.offset))
	})
	t.sorted = true
}

// begin makes the table ready for a plan.
func (t *table) begin() {
	t.sort()
	for i := range t.places {
		t.places[i].first = -1
	}
}

// find returns the place of the block of c, in the location near if it is there too, and
// whether it stands under this very CID. memory is the place that remembers where
// the CID occurred first.
func (t *table) find(c cid.Cid, near int32) (best, memory *place, framed bool) {
	key, frame := t.key(c), t.frame(c)
	first := sort.Search(len(t.places), func(i int) bool { return bytes.Compare(t.places[i].key[:], key[:]) >= 0 })
	for i := first; i < len(t.places) && t.places[i].key == key; i++ {
		p := &t.places[i]
		switch {
		case p.frame != frame:
			if best == nil {
				best = p
			}
		case memory == nil:
			best, memory, framed = p, p, true
		case p.loc == near && best.loc != near:
			best = p
		}
	}
	return best, memory, framed
}
