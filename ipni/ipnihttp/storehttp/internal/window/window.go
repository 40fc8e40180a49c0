// Package window puts the records of an export into order, and takes them out of it: a [Gatherer]
// gathers records that come in the order of key, value and group by their groups,
// a [Sorter] brings them back. docs/formats/records.md in the repository says why.
//
// # Errors
//
// What is not in the order, of a wrong size or in no range matches [digest.ErrMismatch].
//
// Nothing here is safe for concurrent use.
package window

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// MaxBytes is the size of the largest window that is sorted, in bytes of records.
const MaxBytes = 4 << 20

// Order checks that records lie in a range and come by key, value and group, each once.
type Order struct {
	keys valuestore.Range
	last cluster.Record
	any  bool
}

// NewOrder returns the order of an export of keys.
func NewOrder(keys valuestore.Range) *Order { return &Order{keys: keys} }

// Check returns an error if x may not come now.
func (o *Order) Check(x cluster.Record) error {
	switch {
	case !o.keys.Contains(x.Key):
		return malformed("a record outside of the range")
	case len(x.Value) == 0 || len(x.Value) > valuestore.MaxValue:
		return malformed("a value of %d bytes", len(x.Value))
	case o.any && compare(o.last, x) >= 0:
		return malformed("records out of order")
	}
	value := append(o.last.Value[:0], x.Value...)
	o.last, o.any = x, true
	o.last.Value = value
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("storehttp: export: %w: %s", digest.ErrMismatch, fmt.Sprintf(format, args...))
}

func compare(x, y cluster.Record) int {
	if c := bytes.Compare(x.Key[:], y.Key[:]); c != 0 {
		return c
	}
	return cmp.Or(
		bytes.Compare(x.Value, y.Value),
		bytes.Compare(x.Group.Provider[:], y.Group.Provider[:]),
		bytes.Compare(x.Group.Context[:], y.Group.Context[:]),
		cmp.Compare(x.Group.Epoch, y.Group.Epoch),
	)
}

// MetadataOrder checks that metadata lies in a range and comes by key, each once, none
// that is absent.
type MetadataOrder struct {
	keys valuestore.Range
	last dhash.MetadataKey
	any  bool
}

// NewMetadataOrder returns the order of an export of keys.
func NewMetadataOrder(keys valuestore.Range) *MetadataOrder { return &MetadataOrder{keys: keys} }

// Check returns an error if m may not come now.
func (o *MetadataOrder) Check(m cluster.Metadata) error {
	switch {
	case !o.keys.Contains(dhash.Key(m.Key)):
		return malformed("metadata outside of the range")
	case len(m.Sealed) == 0 || len(m.Sealed) > dhash.MaxMetadata+dhash.Overhead:
		return malformed("metadata of %d bytes", len(m.Sealed))
	case o.any && bytes.Compare(o.last[:], m.Key[:]) >= 0:
		return malformed("metadata out of order")
	}
	o.last, o.any = m.Key, true
	return nil
}

// Gatherer gathers records by their groups. The zero value is empty.
type Gatherer struct {
	data   valuestore.Records // as they came
	pieces []piece
	groups []gathered
	at     map[ipni.SealedGroup]int // in groups
	sorted valuestore.Records
}

// piece is the next record of data.
type piece struct{ size, group int }

// gathered is the records of a group, whose place in sorted ends at end.
type gathered struct {
	ipni.SealedGroup
	size, end int
}

// Add adds a record, whose value must not exceed [valuestore.MaxValue].
func (g *Gatherer) Add(x cluster.Record) {
	i, ok := g.at[x.Group]
	if !ok {
		if g.at == nil {
			g.at = map[ipni.SealedGroup]int{}
		}
		i = len(g.groups)
		g.at[x.Group] = i
		g.groups = append(g.groups, gathered{SealedGroup: x.Group})
	}
	before := len(g.data)
	g.data = g.data.Append(x.Key, x.Value)
	n := len(g.data) - before
	g.pieces = append(g.pieces, piece{n, i})
	g.groups[i].size += n
}

// Size returns how many groups there are, and how many bytes of records.
func (g *Gatherer) Size() (groups, size int) { return len(g.groups), len(g.data) }

// Flush calls send for each group, in the order of their first records, until it fails, and makes
// g empty. The records are in the order in which they came, and valid until g is flushed again.
func (g *Gatherer) Flush(send func(ipni.SealedGroup, valuestore.Records) error) error {
	end := 0
	for i := range g.groups {
		g.groups[i].end = end // of nothing yet
		end += g.groups[i].size
	}
	if cap(g.sorted) < end {
		g.sorted = make(valuestore.Records, end, cap(g.data))
	}
	g.sorted = g.sorted[:end]
	rest := g.data
	for _, p := range g.pieces {
		to := &g.groups[p.group]
		to.end += copy(g.sorted[to.end:], rest[:p.size])
		rest = rest[p.size:]
	}
	groups := g.groups
	g.data, g.pieces, g.groups = g.data[:0], g.pieces[:0], g.groups[:0]
	clear(g.at)
	for _, x := range groups {
		if err := send(x.SealedGroup, g.sorted[x.end-x.size:x.end:x.end]); err != nil {
			return err
		}
	}
	return nil
}

// Sorter puts the records of windows back into order.
type Sorter struct {
	data    valuestore.Records
	records []cluster.Record // in data
	order   *Order
}

// NewSorter returns a sorter of an export of keys.
func NewSorter(keys valuestore.Range) *Sorter { return &Sorter{order: NewOrder(keys)} }

// Add adds records of a group to the window, which are copied.
func (s *Sorter) Add(group ipni.SealedGroup, records valuestore.Records) error {
	if len(s.records) == 0 {
		s.data = s.data[:0]
	}
	if len(s.data)+len(records) > MaxBytes {
		return malformed("a window of more than %d bytes", MaxBytes)
	}
	start := len(s.data)
	s.data = append(s.data, records...)
	for e, err := range s.data[start:].All() {
		if err != nil {
			return err
		}
		s.records = append(s.records, cluster.Record{Group: group, Key: e.Key, Value: e.Value})
	}
	return nil
}

// Empty reports whether nothing was added since the last window.
func (s *Sorter) Empty() bool { return len(s.records) == 0 }

// Sort ends the window, and returns its records in order, valid until the next Add.
func (s *Sorter) Sort() ([]cluster.Record, error) {
	slices.SortFunc(s.records, compare)
	for _, x := range s.records {
		if err := s.order.Check(x); err != nil {
			return nil, err
		}
	}
	ready := s.records
	s.records = s.records[:0]
	return ready, nil
}
