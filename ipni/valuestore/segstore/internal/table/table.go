// Package table holds the records that are in no segment yet, in memory.
//
// One goroutine adds to a Table, any number read. Memory is taken from a Pool, which
// is safe for concurrent use, and given back when nobody reads any more.
package table

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/tagset"
)

// A record in a table: the offset of the one before it in its bucket, mark, length, key, value.
const (
	chunkBits = 20
	chunkSize = 1 << chunkBits
	maxChunks = 1 << (32 - chunkBits)
	tableHead = 4 + 8 + 2
)

// Table is records in memory. Records lie one after the other in chunks, and each leads to the one before it with
// the same hash; a hash leads to its last one.
type Table struct {
	keyBytes int
	pool     *Pool
	chunks   [maxChunks][]byte
	filled   [maxChunks]uint32
	used     uint32 // the offset behind the last record
	heads    []atomic.Uint32
	shift    int

	end     atomic.Uint32 // up to where records are complete
	size    atomic.Int64
	records atomic.Int64
}

// Pool keeps memory: tables come and go, and it stays.
type Pool struct {
	mu     sync.Mutex
	free   [][]byte
	closed bool
}

func (p *Pool) get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		return c
	}
	return disk.Memory(chunkSize)
}

func (p *Pool) put(c []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		disk.Release(c)
	} else {
		p.free = append(p.free, c)
	}
}

// Close gives back what is free, and from now on what becomes free.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.free {
		disk.Release(c)
	}
	p.free = nil
}

// New returns a table that is meant for size bytes, and can take more.
func New(keyBytes int, size int64, pool *Pool) *Table {
	n := bits.Len64(uint64(max(size, 1<<14) / 128))
	return &Table{keyBytes: keyBytes, pool: pool, heads: make([]atomic.Uint32, 1<<n), shift: 64 - n, used: 8}
}

// Recycle gives the chunks back. Nobody reads them any more.
func (t *Table) Recycle() {
	for i, c := range t.chunks {
		if c == nil {
			break
		}
		t.pool.put(c)
		t.chunks[i] = nil
	}
}

func (t *Table) bucket(key []byte) *atomic.Uint32 {
	h := binary.BigEndian.Uint64(key)
	if t.keyBytes > 8 {
		h ^= bits.RotateLeft64(binary.BigEndian.Uint64(key[8:]), 32)
	}
	return &t.heads[h*0x9e3779b97f4a7c15>>t.shift]
}

// Add adds a record. mark is its tag, shifted by one, and 1 if it says that the record is gone. Readers of single keys see it at once, others after Publish.
func (t *Table) Add(key *dhash.Key, value []byte, mark uint64) {
	n := uint32(tableHead + t.keyBytes + len(value))
	chunk := t.used >> chunkBits
	if t.used&(chunkSize-1)+n > chunkSize {
		t.filled[chunk] = t.used & (chunkSize - 1)
		chunk++
		t.used = chunk << chunkBits
	}
	if t.chunks[chunk] == nil {
		t.chunks[chunk] = t.pool.get()
	}
	at := t.used & (chunkSize - 1)
	b := t.chunks[chunk][at : at+n]
	head := t.bucket(key[:])
	binary.LittleEndian.PutUint32(b, head.Load())
	binary.LittleEndian.PutUint64(b[4:], mark)
	binary.LittleEndian.PutUint16(b[12:], uint16(len(value)))
	copy(b[tableHead:], key[:t.keyBytes])
	copy(b[tableHead+t.keyBytes:], value)
	head.Store(t.used)
	t.used += n
	if t.used&(chunkSize-1) == 0 { // exactly full: the next one begins there
		t.filled[chunk] = chunkSize
	}
}

// Publish lets readers of ranges see what was added.
func (t *Table) Publish(records int) {
	t.end.Store(t.used)
	t.size.Store(int64(t.used))
	t.records.Add(int64(records))
}

// Size returns the bytes of the published records.
func (t *Table) Size() int64 { return t.size.Load() }

// Records returns how many records were published.
func (t *Table) Records() int64 { return t.records.Load() }

// Full reports whether there is no room for n more bytes of records at all.
func (t *Table) Full(n int64) bool { return int64(t.used)+4*n+chunkSize > maxChunks<<chunkBits }

// key returns the stored bytes of the key of a record.
func (t *Table) key(off uint32) []byte {
	at := off&(chunkSize-1) + tableHead
	return t.chunks[off>>chunkBits][at : at+uint32(t.keyBytes)]
}

// value returns the value of a record.
func (t *Table) value(off uint32) []byte {
	c, at := t.chunks[off>>chunkBits], off&(chunkSize-1)
	n := uint32(binary.LittleEndian.Uint16(c[at+12:]))
	at += tableHead + uint32(t.keyBytes)
	return c[at : at+n : at+n]
}

func (t *Table) mark(off uint32) uint64 {
	return binary.LittleEndian.Uint64(t.chunks[off>>chunkBits][off&(chunkSize-1)+4:])
}

func (t *Table) before(off uint32) uint32 {
	return binary.LittleEndian.Uint32(t.chunks[off>>chunkBits][off&(chunkSize-1):])
}

// ref is a record of a table with the beginning of what it is sorted by.
type ref struct {
	prefix uint64
	off    uint32
}

// compare orders records by key, value and tag, and puts the newest of equal ones first.
func (t *Table) compare(a, b ref) int {
	if a.prefix != b.prefix {
		return cmp.Compare(a.prefix, b.prefix)
	}
	if c := bytes.Compare(t.key(a.off), t.key(b.off)); c != 0 {
		return c
	}
	if c := t.compareValues(a, b); c != 0 {
		return c
	}
	return cmp.Compare(b.off, a.off)
}

// compareValues orders records of one key by value and tag.
func (t *Table) compareValues(a, b ref) int {
	if c := bytes.Compare(t.value(a.off), t.value(b.off)); c != 0 {
		return c
	}
	return cmp.Compare(t.mark(a.off)>>1, t.mark(b.off)>>1)
}

// Find returns the records of a key, nil if there are none.
func (t *Table) Find(key []byte) *Source {
	var refs []ref
	for off := t.bucket(key).Load(); off != 0; off = t.before(off) {
		if bytes.Equal(t.key(off), key) {
			refs = append(refs, ref{prefixOf(t.value(off)), off})
		}
	}
	if len(refs) == 0 {
		return nil
	}
	if len(refs) > 1 {
		slices.SortFunc(refs, t.compare)
	}
	return &Source{t: t, refs: refs}
}

// prefixOf returns the first eight bytes of a value: numbers in the order of values,
// except for values that begin with the same.
func prefixOf(value []byte) uint64 {
	if len(value) >= 8 {
		return binary.BigEndian.Uint64(value)
	}
	var b [8]byte
	copy(b[:], value)
	return binary.BigEndian.Uint64(b[:])
}

// each calls f with the offset and the head of each published record.
func (t *Table) each(end uint32, f func(off uint32, head uint64)) {
	for off := uint32(8); off < end; {
		chunk := off >> chunkBits
		stop := uint32(chunkSize)
		if chunk < (end-1)>>chunkBits {
			stop = t.filled[chunk]
		} else if end&(chunkSize-1) != 0 {
			stop = end & (chunkSize - 1)
		}
		c := t.chunks[chunk]
		for at := off & (chunkSize - 1); at < stop; {
			f(chunk<<chunkBits|at, binary.BigEndian.Uint64(c[at+tableHead:]))
			at += tableHead + uint32(t.keyBytes) + uint32(binary.LittleEndian.Uint16(c[at+12:]))
		}
		off = (chunk + 1) << chunkBits
	}
}

// Tags returns spans of the tags of published records of which has says so, and maybe of others between them.
func (t *Table) Tags(has func(valuestore.Tag) bool) []tagset.Span {
	found := map[valuestore.Tag]bool{}
	last := uint64(0) // neighbours often share a tag
	t.each(t.end.Load(), func(off uint32, _ uint64) {
		if tag := t.mark(off) >> 1; tag != last {
			if last = tag; has(valuestore.Tag(tag)) {
				found[valuestore.Tag(tag)] = true
			}
		}
	})
	var c tagset.Cover
	for _, tag := range slices.Sorted(maps.Keys(found)) {
		c.Add(tag)
	}
	return c.Spans()
}

// Sorted returns the records with heads from from to to in their order, as of now.
// Heads are those of hashes: once they are dealt into buckets by their first bits, few are left to
// be sorted in each.
func (t *Table) Sorted(from, to uint64) *Source {
	var found []ref
	if from == 0 && to == ^uint64(0) {
		found = make([]ref, 0, t.records.Load())
	}
	t.each(t.end.Load(), func(off uint32, head uint64) {
		if head >= from && head <= to {
			found = append(found, ref{head, off})
		}
	})
	width := max(min(bits.Len(uint(len(found)))-3, 16), 1)
	// The bits in which the heads of the range differ come first.
	skip := bits.LeadingZeros64(from ^ to)
	bucket := func(r ref) uint64 { return r.prefix << skip >> (64 - width) }
	starts := make([]uint32, 1<<width+1)
	for _, r := range found {
		starts[bucket(r)+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	refs, at := make([]ref, len(found)), slices.Clone(starts)
	for _, r := range found {
		b := bucket(r)
		refs[at[b]] = r
		at[b]++
	}
	for i := range starts[:len(starts)-1] {
		slices.SortFunc(refs[starts[i]:starts[i+1]], t.compare)
	}
	return &Source{t: t, refs: refs}
}

// Source is a sequence of records of a table, each once.
type Source struct {
	t     *Table
	refs  []ref
	ahead []segment.Record // of the first refs
	room  []segment.Record
	rec   segment.Record
	any   bool

	touched byte
}

// batch is how many records are fetched together. They lie apart from each other in
// memory: the processor waits for all of a batch at once.
const batch = 16

// Part returns the records with heads from from to to as a sequence of its own.
func (s *Source) Part(from, to uint64) *Source {
	byHead := func(r ref, head uint64) int { return cmp.Compare(r.prefix, head) }
	i, _ := slices.BinarySearchFunc(s.refs, from, byHead)
	j := len(s.refs)
	if to < ^uint64(0) {
		j, _ = slices.BinarySearchFunc(s.refs, to+1, byHead)
	}
	return &Source{t: s.t, refs: s.refs[i:j]}
}

// fetch reads the next records of the table.
func (s *Source) fetch() bool {
	n := min(len(s.refs), batch)
	if cap(s.room) < n {
		s.room = make([]segment.Record, n)
	}
	s.ahead = s.room[:n]
	for i, r := range s.refs[:n] {
		rec := &s.ahead[i]
		copy(rec.Key[:], s.t.key(r.off))
		mark := s.t.mark(r.off)
		rec.Head, rec.Value = segment.HeadOf(&rec.Key), s.t.value(r.off)
		rec.Tag, rec.Gone = valuestore.Tag(mark>>1), mark&1 != 0
		if n := len(rec.Value); n > 0 { // whoever copies it next need not wait
			s.touched ^= rec.Value[n/2] ^ rec.Value[n-1]
		}
	}
	s.refs = s.refs[n:]
	return n > 0
}

// Next goes to the next record.
func (s *Source) Next() bool {
	for len(s.ahead) > 0 || s.fetch() {
		r := &s.ahead[0]
		s.ahead = s.ahead[1:]
		if s.any && r.Head == s.rec.Head && r.Compare(&s.rec) == 0 {
			continue // an older one
		}
		s.rec, s.any = *r, true
		return true
	}
	return false
}

// Record returns the record to which Next went.
func (s *Source) Record() *segment.Record { return &s.rec }

// Err returns nil: memory does not fail.
func (s *Source) Err() error { return nil }
