package segment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"os"
	"slices"

	"github.com/hashstream/hashstream/ipni/valuestore"
)

// uncounted stands for the number of tags of a segment that lists none: of version 1, with too many.
const uncounted = ^uint64(0)

const tagBits = 40 // of the largest tag

// Segment is an open segment.
type Segment struct {
	name     string
	f        *os.File
	keyBytes int

	heads    []uint64 // the first head of each block
	ends     []int64  // the offset behind each block
	sections []section
	firsts   []uint64 // the first head of each section

	records, gone          uint64
	tailAt, tagsAt, footAt int64
	tagCount               uint64
	thin                   uint8 // one in 2^thin tags is listed
	size                   int64
}

// Open opens a segment and checks all of it but the blocks, which are checked when they are read.
func Open(name string, keyBytes int) (*Segment, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("segment: open: %w", err)
	}
	s := &Segment{name: name, f: f, keyBytes: keyBytes}
	if err := s.load(); err != nil {
		_ = f.Close() // it was read only
		return nil, err
	}
	return s, nil
}

func (s *Segment) load() error {
	info, err := s.f.Stat()
	if err != nil {
		return fmt.Errorf("segment: open: %w", err)
	}
	s.size = info.Size()
	s.footAt = s.size - footerSize
	if s.footAt < int64(len(magic)) {
		return damaged(s.name, s.size, "a file of %d bytes is no segment", s.size)
	}
	foot := make([]byte, footerSize)
	if err := s.readAt(foot, s.footAt); err != nil {
		return err
	}
	blocks, sections, sum, err := s.parseFooter(foot)
	if err != nil {
		return err
	}
	tail := make([]byte, s.footAt-s.tailAt)
	if err := s.readAt(tail, s.tailAt); err != nil {
		return err
	}
	if checksum(s.tailAt, tail) != sum {
		return damaged(s.name, s.tailAt, "wrong checksum of the index")
	}
	rest, err := s.parseIndex(tail, blocks)
	if err == nil {
		rest, err = s.parseSections(rest, sections)
	}
	if err != nil {
		return err
	}
	s.tagsAt = s.footAt - int64(len(rest))
	s.index()
	return nil
}

// appendFooter appends the footer to the tail of s.
func appendFooter(tail []byte, s *Segment) []byte {
	sum := checksum(s.tailAt, tail)
	begin := len(tail)
	b := append(tail, magic...)
	v := byte(version)
	if s.thin > 0 {
		v = thinVersion
	}
	b = append(b, v, byte(s.keyBytes), 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.sections)))
	for _, n := range []uint64{s.records, s.gone, uint64(len(s.heads)), s.tagCount, uint64(s.tailAt)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, s.thin, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return binary.LittleEndian.AppendUint32(b, checksum(s.footAt, b[begin:]))
}

func (s *Segment) parseFooter(b []byte) (blocks uint64, sections, sum uint32, err error) {
	fail := func(format string, args ...any) (uint64, uint32, uint32, error) {
		return 0, 0, 0, damaged(s.name, s.footAt, format, args...)
	}
	if string(b[:8]) != magic {
		return fail("no footer of a segment")
	}
	if binary.LittleEndian.Uint32(b[footerSize-4:]) != checksum(s.footAt, b[:footerSize-4]) {
		return fail("wrong checksum of the footer")
	}
	if s.thin = b[56]; b[8] != version && b[8] != thinVersion || (b[8] == thinVersion) != (s.thin > 0) || s.thin > tagBits {
		return fail("version %d with a sample of %d", b[8], s.thin)
	}
	if int(b[9]) != s.keyBytes {
		return fail("keys of %d bytes, not %d", b[9], s.keyBytes)
	}
	sections = binary.LittleEndian.Uint32(b[12:])
	s.records = binary.LittleEndian.Uint64(b[16:])
	s.gone = binary.LittleEndian.Uint64(b[24:])
	blocks = binary.LittleEndian.Uint64(b[32:])
	s.tagCount = binary.LittleEndian.Uint64(b[40:])
	s.tailAt = int64(binary.LittleEndian.Uint64(b[48:]))
	if s.tailAt < int64(len(magic)) || s.tailAt > s.footAt {
		return fail("index at byte %d", s.tailAt)
	}
	return blocks, sections, binary.LittleEndian.Uint32(b[64:]), nil
}

func (s *Segment) parseIndex(b []byte, blocks uint64) (rest []byte, err error) {
	if blocks > uint64(len(b)/indexEntry) {
		return nil, damaged(s.name, s.tailAt, "%d blocks", blocks)
	}
	s.heads, s.ends = make([]uint64, blocks), make([]int64, blocks)
	at := int64(len(magic))
	for i := range s.heads {
		s.heads[i] = binary.LittleEndian.Uint64(b)
		size := binary.LittleEndian.Uint16(b[8:])
		at += int64(size)
		s.ends[i] = at
		b = b[indexEntry:]
		if size < blockHead || size > blockMax || i > 0 && s.heads[i] < s.heads[i-1] {
			return nil, damaged(s.name, s.tailAt+int64(i)*indexEntry, "block %d of %d bytes out of order", i, size)
		}
	}
	if at != s.tailAt {
		return nil, damaged(s.name, s.tailAt, "blocks end at byte %d", at)
	}
	return b, nil
}

func (s *Segment) parseSections(b []byte, n uint32) (rest []byte, err error) {
	first := 0
	for i := range n {
		if len(b) < sectionHead {
			return nil, damaged(s.name, s.footAt-int64(len(b)), "section %d is cut off", i)
		}
		end := int(binary.LittleEndian.Uint32(b))
		seed := binary.LittleEndian.Uint64(b[4:])
		length, count := binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
		size, ok := fuseSize(length, count)
		b = b[sectionHead:]
		if !ok || size > len(b) || end <= first || end > len(s.heads) {
			return nil, damaged(s.name, s.footAt-int64(len(b)), "section %d of %d blocks with a filter of %d bytes", i, end-first, size)
		}
		s.sections = append(s.sections, section{first, end, parseFilter(seed, length, count, slices.Clone(b[:size]))})
		b, first = b[size:], end
	}
	if first != len(s.heads) {
		return nil, damaged(s.name, s.footAt, "sections of %d of %d blocks", first, len(s.heads))
	}
	return b, nil
}

// tailSize returns the length of index and filters.
func tailSize(s *Segment) int {
	n := len(s.heads)*indexEntry + len(s.sections)*sectionHead
	for _, c := range s.sections {
		n += len(c.fuse.Fingerprints)
	}
	return n
}

func (s *Segment) index() {
	s.firsts = make([]uint64, len(s.sections))
	for i, c := range s.sections {
		s.firsts[i] = s.heads[c.first]
	}
}

// readAt fills b. An end of the file within it is damage.
func (s *Segment) readAt(b []byte, at int64) error {
	n, err := s.f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return readError(s.name, at+int64(n), err)
}

// Sample returns how many tags there are for each that is listed: 1 if all are, 2 if it is a sample of
// every second, and so on; 0 if none is.
func (s *Segment) Sample() uint64 {
	if s.tagCount == uncounted {
		return 0
	}
	return 1 << s.thin
}

// TagBytes returns how many bytes [Segment.Tags] reads.
func (s *Segment) TagBytes() int64 { return s.footAt - s.tagsAt }

// Tags yields how many records there are of each tag that is listed, in the order of tags.
func (s *Segment) Tags() iter.Seq2[TagCount, error] {
	return func(yield func(TagCount, error) bool) {
		if s.tagCount == uncounted {
			return
		}
		b := bufio.NewReaderSize(io.NewSectionReader(s.f, s.tagsAt, s.TagBytes()), 64<<10)
		var tag uint64
		for range s.tagCount {
			delta, err := binary.ReadUvarint(b)
			count, err2 := binary.ReadUvarint(b)
			if err != nil || err2 != nil || delta > uint64(valuestore.MaxTag)-tag {
				yield(TagCount{}, damaged(s.name, s.tagsAt, "malformed tags after %d: %v", tag, errors.Join(err, err2)))
				return
			}
			tag += delta
			if !yield(TagCount{valuestore.Tag(tag), count}, nil) {
				return
			}
		}
		if _, err := b.ReadByte(); err != io.EOF {
			yield(TagCount{}, damaged(s.name, s.tagsAt, "more than %d tags", s.tagCount))
		}
	}
}

// Name returns the path of the file.
func (s *Segment) Name() string { return s.name }

// Records returns how many records there are, with those that mark others as gone.
func (s *Segment) Records() uint64 { return s.records }

// Gone returns how many records there are that mark others as gone.
func (s *Segment) Gone() uint64 { return s.gone }

// Size returns the bytes of the file.
func (s *Segment) Size() int64 { return s.size }

// Memory returns the bytes that the index and the filters take in memory.
func (s *Segment) Memory() int64 { return int64(tailSize(s)) + 6*int64(len(s.heads)) }

// Close closes the file. Nobody must be reading.
func (s *Segment) Close() error { return s.f.Close() }

// section returns the one section that may hold head, or -1.
func (s *Segment) section(head uint64) int {
	i := lowerBound(s.firsts, head)
	if i < len(s.firsts) && s.firsts[i] == head {
		return i
	}
	return i - 1
}

// lowerBound returns the first index whose value is not below x. Keys are hashes: a
// guess from the ends is next to right, and a search around it takes few steps. With
// other keys it takes twice those of a binary search at most.
func lowerBound(a []uint64, x uint64) int {
	n := len(a)
	if n == 0 || x <= a[0] {
		return 0
	}
	if x > a[n-1] {
		return n
	}
	hi, lo := bits.Mul64(x-a[0], uint64(n-1))
	guess, _ := bits.Div64(hi, lo, a[n-1]-a[0])
	low, high := int(guess), int(guess) // a[low] < x <= a[high] in the end
	for step := 1; low > 0 && a[low] >= x; step *= 2 {
		high, low = low, max(low-step, 0)
	}
	for step := 1; a[high] < x; step *= 2 {
		low, high = high, min(high+step, n-1)
	}
	i, _ := slices.BinarySearch(a[low:high], x)
	return low + i
}

func readError(name string, at int64, err error) error {
	if err == nil || err == io.EOF {
		return damaged(name, at, "the file ends")
	}
	return fmt.Errorf("segment: read %s at byte %d: %w", name, at, err)
}
