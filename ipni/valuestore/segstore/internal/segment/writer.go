package segment

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"slices"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
)

// Writer writes a segment. Records are added in their order, each once.
type Writer struct {
	name     string
	f        *os.File
	pace     func(n int) error
	keyBytes int

	out  []byte // what is not written yet
	base int64  // the offset of out

	block       []byte // records with whole keys
	starts      []int  // of the records in block
	first, last Record // of the block, without values
	heads       []uint64
	ends        []int64 // of the blocks
	keys        []uint64
	sections    []section
	tags        map[valuestore.Tag]uint64
	most        int // tags that are listed, all or a sample
	thin        uint8
	run         TagCount // the tag of the last records, not in tags yet
	records     uint64
	gone        uint64
}

// Create begins a segment. pace, if not nil, is told of every write before it happens
// and may wait, or end the writing with an error.
func Create(name string, keyBytes int, pace func(n int) error) (*Writer, error) {
	f, err := disk.Direct(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
	if err != nil {
		return nil, fmt.Errorf("segment: create: %w", err)
	}
	w := &Writer{name: name, f: f, pace: pace, keyBytes: keyBytes, tags: map[valuestore.Tag]uint64{}, most: maxTags}
	w.out = append(disk.Aligned(windowMax + 16*disk.Page)[:0], magic...)
	return w, nil
}

// Add adds a record, which is copied.
func (w *Writer) Add(r *Record) error {
	if w.records == 0 || r.Head != w.last.Head {
		if len(w.keys) >= sectionKeys {
			if err := w.endSection(); err != nil {
				return err
			}
		}
		w.keys = append(w.keys, r.Head)
	}
	if len(w.block)+w.keyBytes+2*binary.MaxVarintLen64+len(r.Value) > blockTarget {
		if err := w.endBlock(); err != nil {
			return err
		}
	}
	if len(w.starts) == 0 {
		w.first.Key, w.first.Head = r.Key, r.Head
	}
	w.last.Key, w.last.Head = r.Key, r.Head
	w.starts = append(w.starts, len(w.block))
	w.block = append(w.block, r.Key[:w.keyBytes]...)
	mark := uint64(r.Tag) << 1
	if r.Gone {
		mark |= 1
		w.gone++
	}
	w.block = binary.AppendUvarint(w.block, mark)
	w.block = binary.AppendUvarint(w.block, uint64(len(r.Value)))
	w.block = append(w.block, r.Value...)
	w.records++
	w.count(r.Tag)
	return nil
}

// count counts tags, in runs, because neighbours often share one.
func (w *Writer) count(tag valuestore.Tag) {
	if w.run.Tag != tag {
		w.endRun()
		w.run = TagCount{Tag: tag}
	}
	w.run.Count++
}

func (w *Writer) endRun() {
	if w.run.Count == 0 || !sampled(w.run.Tag, w.thin) {
		return
	}
	w.tags[w.run.Tag] += w.run.Count
	for len(w.tags) > w.most { // too many: every second one will do
		w.thin++
		maps.DeleteFunc(w.tags, func(tag valuestore.Tag, _ uint64) bool { return !sampled(tag, w.thin) })
	}
}

// shared returns how many bytes the keys a and b have in common at their beginning.
func shared(a, b *dhash.Key, keyBytes int) int {
	for i := 0; i+8 <= keyBytes; i += 8 {
		if x := binary.BigEndian.Uint64(a[i:]) ^ binary.BigEndian.Uint64(b[i:]); x != 0 {
			return i + bits.LeadingZeros64(x)/8
		}
	}
	return keyBytes
}

// endBlock encodes the block, without what all its keys begin with.
func (w *Writer) endBlock() error {
	if len(w.starts) == 0 {
		return nil
	}
	cut := shared(&w.first.Key, &w.last.Key, w.keyBytes)
	at, begin := w.base+int64(len(w.out)), len(w.out)
	out := append(w.out, 0, 0, 0, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(w.starts)))
	out = append(out, byte(cut))
	out = append(out, w.first.Key[:cut]...)
	w.starts = append(w.starts, len(w.block))
	for i, start := range w.starts[:len(w.starts)-1] {
		out = append(out, w.block[start+cut:w.starts[i+1]]...)
	}
	binary.LittleEndian.PutUint32(out[begin:], checksum(at, out[begin+4:]))
	w.out = out
	w.heads = append(w.heads, w.first.Head)
	w.ends = append(w.ends, w.base+int64(len(out)))
	w.block, w.starts = w.block[:0], w.starts[:0]
	return w.flush(windowMax)
}

// endSection closes the block and builds the filter of the keys since the last one.
func (w *Writer) endSection() error {
	first := 0
	if n := len(w.sections); n > 0 {
		first = w.sections[n-1].end
	}
	if err := w.endBlock(); err != nil {
		return err
	}
	f, err := newFilter(w.keys)
	if err != nil {
		return err
	}
	w.sections = append(w.sections, section{first, len(w.heads), f})
	w.keys = w.keys[:0]
	return nil
}

// flush writes whole pages if there are at least n bytes.
func (w *Writer) flush(n int) error {
	for len(w.out) >= n {
		size := min(len(w.out), windowMax)
		if err := w.write(w.out[:size]); err != nil {
			return err
		}
		w.base += int64(size)
		w.out = w.out[:copy(w.out, w.out[size:])]
	}
	return nil
}

func (w *Writer) write(b []byte) error {
	if w.pace != nil {
		if err := w.pace(len(b)); err != nil {
			return err
		}
	}
	if _, err := w.f.WriteAt(b, w.base); err != nil {
		return fmt.Errorf("segment: write: %w", err)
	}
	return nil
}

// Finish writes the index and makes the segment durable (the directory is the caller's
// business). It returns the segment, opened for reading. A writer that failed is to be aborted.
func (w *Writer) Finish() (*Segment, error) {
	if len(w.keys) > 0 {
		if err := w.endSection(); err != nil {
			return nil, err
		}
	}
	w.endRun()
	s := &Segment{name: w.name, keyBytes: w.keyBytes, heads: w.heads, ends: w.ends, sections: w.sections, records: w.records, gone: w.gone, thin: w.thin}
	if err := w.finish(s); err != nil {
		return nil, err
	}
	f, err := os.Open(w.name)
	if err != nil {
		return nil, fmt.Errorf("segment: open: %w", err)
	}
	s.f = f
	s.index()
	return s, nil
}

func (w *Writer) finish(s *Segment) error {
	s.tailAt = w.base + int64(len(w.out))
	tail := appendTail(nil, s, w.tags)
	s.tagsAt = s.tailAt + int64(tailSize(s))
	s.tagCount = uint64(len(w.tags))
	s.footAt = s.tailAt + int64(len(tail))
	tail = appendFooter(tail, s)
	s.size = s.tailAt + int64(len(tail))
	for len(tail) > 0 {
		n := min(len(tail), windowMax-len(w.out)) // out must not move: it is aligned
		w.out = append(w.out, tail[:n]...)
		tail = tail[n:]
		if err := w.flush(windowMax); err != nil {
			return err
		}
	}
	w.out = append(w.out, make([]byte, -len(w.out)&(disk.Page-1))...) // whole pages only, cut off below
	if err := w.write(w.out); err != nil {
		return err
	}
	if err := w.f.Truncate(s.size); err != nil {
		return fmt.Errorf("segment: write: %w", err)
	}
	if err := disk.Sync(w.f); err != nil {
		return fmt.Errorf("segment: write: %w", err)
	}
	if err := w.f.Close(); err != nil {
		return fmt.Errorf("segment: write: %w", err)
	}
	return nil
}

// Abort ends the writing and removes the file.
func (w *Writer) Abort() {
	_ = w.f.Close() // it may be closed; what it holds is not wanted
	_ = os.Remove(w.name)
}

// appendTail appends index, filters and tags.
func appendTail(b []byte, s *Segment, tags map[valuestore.Tag]uint64) []byte {
	start := int64(len(magic))
	for i, head := range s.heads {
		b = binary.LittleEndian.AppendUint64(b, head)
		b = binary.LittleEndian.AppendUint16(b, uint16(s.ends[i]-start))
		start = s.ends[i]
	}
	for _, c := range s.sections {
		b = binary.LittleEndian.AppendUint32(b, uint32(c.end))
		b = binary.LittleEndian.AppendUint64(b, c.fuse.Seed)
		b = binary.LittleEndian.AppendUint32(b, c.fuse.SegmentLength)
		b = binary.LittleEndian.AppendUint32(b, c.fuse.SegmentCount)
		b = append(b, c.fuse.Fingerprints...)
	}
	before := valuestore.Tag(0)
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		b = binary.AppendUvarint(b, uint64(tag-before))
		b = binary.AppendUvarint(b, tags[tag])
		before = tag
	}
	return b
}
