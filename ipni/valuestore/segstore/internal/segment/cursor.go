package segment

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
)

// Cursor reads the records of a range of keys in their order.
type Cursor struct {
	s        *Segment
	f        *os.File // what is read, s.f or one past the cache
	from, to dhash.Key
	fromHead uint64
	toHead   uint64

	block, end int    // the next block, the end of those that may matter
	window     []byte // what was read: blocks up to, not including, loaded
	at         int64  // the offset of window
	loaded     int
	ahead      int // bytes to read next

	body []byte // what is left of the block
	left int    // records in body
	cut  int
	rec  Record
	err  error
}

// A lookup reads one block and ends; buffers of its size are kept.
var cursors = sync.Pool{New: func() any { return new(Cursor) }}

// Find returns a cursor over the records of key, or nil if there are none. Of key, only
// what is stored counts.
func (s *Segment) Find(key *dhash.Key, head uint64) *Cursor {
	i := s.section(head)
	if i < 0 || !s.sections[i].has(head) {
		return nil
	}
	c := cursors.Get().(*Cursor)
	c.f, c.ahead = s.f, blockMax
	c.open(s, *key, *key)
	return c
}

// Scan returns a cursor over the keys from from to to, both inclusive. direct reads past
// the page cache.
func (s *Segment) Scan(from, to dhash.Key, direct bool) (*Cursor, error) {
	c := &Cursor{f: s.f, ahead: windowMax}
	if direct {
		f, err := disk.Direct(s.name, os.O_RDONLY)
		if err != nil {
			return nil, readError(s.name, 0, err)
		}
		c.f = f
	}
	c.open(s, from, to)
	return c, nil
}

func (c *Cursor) open(s *Segment, from, to dhash.Key) {
	c.s, c.from, c.to = s, from, to
	c.fromHead, c.toHead = HeadOf(&from), HeadOf(&to)
	c.block = max(lowerBound(s.heads, c.fromHead)-1, 0)
	c.end = c.block
	if c.toHead == c.fromHead { // mostly this block, or the next one too
		for c.end < len(s.heads) && s.heads[c.end] <= c.toHead {
			c.end++
		}
	} else if c.end = len(s.heads); c.toHead < ^uint64(0) {
		c.end = lowerBound(s.heads, c.toHead+1)
	}
	c.loaded = c.block
	c.rec = Record{}
}

// Close gives back what the cursor holds. Its last record is no longer valid.
func (c *Cursor) Close() {
	if c.f != c.s.f {
		_ = c.f.Close() // it was read only
		return
	}
	window := c.window
	if cap(window) > 4*blockMax {
		return
	}
	*c = Cursor{window: window[:0]}
	cursors.Put(c)
}

// Err returns what ended the reading, nil at the end of the range.
func (c *Cursor) Err() error { return c.err }

// Record returns the record to which Next went. It is valid until the next Next.
func (c *Cursor) Record() *Record { return &c.rec }

// Next goes to the next record of the range.
func (c *Cursor) Next() bool {
	for c.err == nil {
		if c.left == 0 {
			if c.block >= c.end {
				return false
			}
			if c.err = c.nextBlock(); c.err != nil {
				return false
			}
		}
		if !c.decode() {
			return false
		}
		if c.rec.Head <= c.fromHead && (c.rec.Head < c.fromHead || compareKeys(&c.rec.Key, &c.from) < 0) {
			continue
		}
		if c.rec.Head >= c.toHead && (c.rec.Head > c.toHead || compareKeys(&c.rec.Key, &c.to) > 0) {
			c.left, c.block = 0, c.end
			return false
		}
		return true
	}
	return false
}

func compareKeys(a, b *dhash.Key) int {
	return bytes.Compare(a[:], b[:])
}

// decode reads the next record of the block.
func (c *Cursor) decode() bool {
	b, n := c.body, c.s.keyBytes-c.cut
	if len(b) < n+2 {
		return c.malformed()
	}
	copy(c.rec.Key[c.cut:], b[:n])
	b = b[n:]
	mark, n := binary.Uvarint(b)
	if n <= 0 || mark>>1 > uint64(valuestore.MaxTag) {
		return c.malformed()
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return c.malformed()
	}
	c.rec.Tag, c.rec.Gone = valuestore.Tag(mark>>1), mark&1 != 0
	c.rec.Value = b[n : n+int(size) : n+int(size)]
	c.rec.Head = HeadOf(&c.rec.Key)
	c.body = b[n+int(size):]
	if c.left--; c.left == 0 && len(c.body) > 0 {
		return c.malformed()
	}
	return true
}

func (c *Cursor) malformed() bool {
	c.err = damaged(c.s.name, c.s.start(c.block-1), "malformed block")
	return false
}

// start returns the offset of a block.
func (s *Segment) start(block int) int64 {
	if block == 0 {
		return int64(len(magic))
	}
	return s.ends[block-1]
}

// nextBlock opens the next block, and reads it first if need be.
func (c *Cursor) nextBlock() error {
	if c.block >= c.loaded {
		if err := c.read(); err != nil {
			return err
		}
	}
	at := c.s.start(c.block)
	b := c.window[at-c.at : c.s.ends[c.block]-c.at]
	if checksum(at, b[4:]) != binary.LittleEndian.Uint32(b) {
		return damaged(c.s.name, at, "wrong checksum of a block")
	}
	c.left, c.cut = int(binary.LittleEndian.Uint16(b[4:])), int(b[6])
	b = b[blockHead:]
	if c.left == 0 || c.cut > c.s.keyBytes || c.cut > len(b) {
		return damaged(c.s.name, at, "malformed block")
	}
	copy(c.rec.Key[:], b[:c.cut])
	c.body = b[c.cut:]
	c.block++
	return nil
}

// read fills the window with the next blocks, more of them each time: a lookup
// wants one, whoever goes on wants many.
func (c *Cursor) read() error {
	from := c.s.start(c.block)
	end := c.block + 1
	for end < c.end && c.s.ends[end]-from <= int64(c.ahead) {
		end++
	}
	c.ahead = min(c.ahead*4, windowMax)
	to := c.s.ends[end-1]
	if c.f != c.s.f { // past the cache, whole pages are read
		from &^= disk.Page - 1
		to = (to + disk.Page - 1) &^ (disk.Page - 1)
	}
	size := int(to - from)
	if cap(c.window) < size {
		c.window = disk.Aligned(size + 4*disk.Page)
	}
	c.window, c.at = c.window[:size], from
	n, err := c.f.ReadAt(c.window, from)
	if int64(n) < c.s.ends[end-1]-from {
		return readError(c.s.name, from+int64(n), err)
	}
	c.loaded = end
	return nil
}
