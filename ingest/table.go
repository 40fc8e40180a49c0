package ingest

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
	"sort"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
)

const (
	// maxPlaces bounds the blocks of a pack whose DAGs are recorded, at 40 bytes
	// of memory each.
	maxPlaces = 2 << 20
	// maxRoots bounds the roots that are found by looking at links.
	maxRoots = 1024
)

// table finds the sections of a pack by multihash. It keeps keyed hashes, which
// nobody outside can make collide, instead of the multihashes.
type table struct {
	keys   keys
	limit  int
	places []tablePlace
	over   bool // there are more blocks than places
}

// tablePlace is a section.
type tablePlace struct {
	key    key    // of the multihash
	frame  uint64 // hash of the CID
	offset int64
	size   int32
	first  int32 // entry of the plan being made where it occurs first, or -1
}

func newTable() *table {
	return &table{keys: newKeys(), limit: maxPlaces}
}

func (t *table) key(c cid.Cid) key { return t.keys.of(string(c.Hash())) }

func (t *table) frame(c cid.Cid) uint64 { return maphash.String(t.keys[0], c.KeyString()) }

func (t *table) add(s car.Section) {
	if len(t.places) >= t.limit || s.Size != int64(int32(s.Size)) {
		t.over = true
		return
	}
	t.places = append(t.places, tablePlace{t.key(s.CID), t.frame(s.CID), s.Offset, int32(s.Size), -1})
}

func (t *table) sort() {
	slices.SortFunc(t.places, func(a, b tablePlace) int {
		return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(a.offset, b.offset))
	})
}

// find returns the index of a section with the block of c, and whether it stands
// under this very CID.
func (t *table) find(c cid.Cid) (i int, framed, ok bool) {
	key, frame := t.key(c), t.frame(c)
	first := sort.Search(len(t.places), func(i int) bool { return bytes.Compare(t.places[i].key[:], key[:]) >= 0 })
	for i := first; i < len(t.places) && t.places[i].key == key; i++ {
		if t.places[i].frame == frame {
			return i, true, true
		}
	}
	return first, false, first < len(t.places) && t.places[first].key == key
}

// forget makes the table ready for another plan.
func (t *table) forget() {
	for i := range t.places {
		t.places[i].first = -1
	}
}
