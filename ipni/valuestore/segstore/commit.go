package segstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/bits"
	"syscall"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/wal"
)

// recordSize returns the length of a record of [valuestore.Records].
func recordSize(value int) int {
	return dhash.KeySize + (bits.Len(uint(value)|1)+6)/7 + value
}

// committer writes what waits, in groups, until the store is closed.
func (s *Store) committer() {
	for {
		select {
		case <-s.queue.wake:
		case <-s.ctx.Done():
			s.queue.fail(fs.ErrClosed)
			return
		}
		for s.commitWaiting() {
		}
	}
}

// commitWaiting writes one group. It returns false if nothing waited, or nothing could be written.
func (s *Store) commitWaiting() bool {
	if s.queue.empty() {
		return false
	}
	if err := s.prepare(); err != nil {
		s.queue.fail(err)
		return false
	}
	group := s.queue.take()
	flush := 0 // operations that want a new table, they stand first
	for flush < len(group) && group[flush].kind == opFlush {
		flush++
	}
	var err error
	if flush > 0 && s.table().log != 0 {
		err = s.rotate()
	}
	if err == nil && flush < len(group) {
		if err = s.prepare(); err == nil {
			err = s.commit(group[flush:])
		}
	}
	for _, o := range group {
		o.done <- err
	}
	return len(group) > 0
}

// prepare makes room for a group: space on the disk, a table that is not full, and its log.
func (s *Store) prepare() error {
	if err := s.checkSpace(); err != nil {
		return err
	}
	if t := s.table(); t.size.Load() >= s.tableSize || t.full(groupSize) || t.log != 0 && s.log == nil {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if s.log == nil {
		return s.beginLog()
	}
	return nil
}

// beginLog begins the log of the table. Number and table are tied in one step: a manifest that is
// written at the same time must not say that logs begin later.
func (s *Store) beginLog() error {
	s.mu.Lock()
	t, number := s.current.tables[0], s.next
	s.next++
	t.log = number
	s.mu.Unlock()
	l, err := wal.Create(s.path(number, "log"), number, s.last)
	if err != nil {
		s.mu.Lock()
		t.log = 0
		s.mu.Unlock()
		return err
	}
	s.log = l
	return nil
}

func (s *Store) checkSpace() error {
	if s.reserve == 0 {
		return nil
	}
	free, err := disk.Free(s.dir)
	if err == nil && free < uint64(s.reserve) {
		err = fmt.Errorf("%d bytes are free, %d are to stay so: %w", free, s.reserve, syscall.ENOSPC)
	}
	return err
}

// table returns the table that is written.
func (s *Store) table() *table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.tables[0]
}

// rotate begins a new table. It waits until there is room for one, unless there is a reason
// why there will be none.
func (s *Store) rotate() error {
	for {
		s.mu.Lock()
		if len(s.current.tables) < tables {
			break
		}
		err := errors.Join(s.health[:]...)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-s.room:
		case <-s.ctx.Done():
			return fs.ErrClosed
		}
	}
	v := s.current.clone()
	v.tables = append([]*table{newTable(s.keyBytes, s.tableSize, &s.chunks, v.gen)}, v.tables...)
	files, old := s.install(v)
	s.mu.Unlock()
	s.dispose(files, old)
	err := s.closeLog()
	s.flushes.raise()
	return err
}

// closeLog ends the log. Its place is told by the next one.
func (s *Store) closeLog() error {
	if s.log == nil {
		return nil
	}
	s.last = s.log.Place()
	err := s.log.Close()
	s.log = nil
	return err
}

// commit logs a group, applies it and makes it durable. It is applied while the disk is
// busy: it can be read shortly before it is acknowledged.
func (s *Store) commit(group []*operation) error {
	size := 0
	for _, o := range group {
		size += int(o.size())
	}
	if need := wal.FrameHead + size + disk.Page; cap(s.frame) < need || cap(s.frame) > 4*groupSize && need <= 2*groupSize {
		s.frame = wal.Buffer(max(size, 64<<10))
	}
	s.frame = s.frame[:wal.FrameHead]
	for _, o := range group {
		s.frame = o.encode(s.frame)
	}
	if err := s.log.Write(s.frame); err != nil {
		return errors.Join(err, s.closeLog())
	}
	synced := make(chan error, 1)
	go func() { synced <- s.log.Sync() }()
	s.apply(s.table(), group)
	if err := <-synced; err != nil {
		return errors.Join(err, s.closeLog()) // prepare begins a new log, with a new table
	}
	return nil
}

// encode appends an operation as logs hold it.
func (o *operation) encode(b []byte) []byte {
	b = append(b, o.kind)
	if o.kind == opRemove {
		b = binary.AppendUvarint(b, uint64(len(o.tags)))
		for _, tag := range o.tags {
			b = binary.AppendUvarint(b, uint64(tag))
		}
		return b
	}
	b = binary.AppendUvarint(b, uint64(o.tag))
	b = binary.AppendUvarint(b, uint64(len(o.records)))
	return append(b, o.records...)
}

// decodeOperations returns the operations of a frame, which are parts of it.
func decodeOperations(b []byte) (all []*operation, err error) {
	malformed := func() error { return fmt.Errorf("%w: malformed operation %d", digest.ErrMismatch, len(all)) }
	next := func(most uint64) (uint64, bool) {
		x, n := binary.Uvarint(b)
		if n <= 0 || x > most {
			return 0, false
		}
		b = b[n:]
		return x, true
	}
	for len(b) > 0 {
		o := &operation{kind: b[0]}
		b = b[1:]
		most := uint64(valuestore.MaxTag)
		if o.kind == opRemove {
			most = uint64(len(b))
		}
		first, ok := next(most)
		if !ok || o.kind < opPut || o.kind > opRemove {
			return nil, malformed()
		}
		if o.kind == opRemove {
			for range first {
				tag, ok := next(uint64(valuestore.MaxTag))
				if !ok || tag == 0 {
					return nil, malformed()
				}
				o.tags = append(o.tags, valuestore.Tag(tag))
			}
		} else {
			size, ok := next(uint64(len(b)))
			if !ok || size > uint64(len(b)) {
				return nil, malformed()
			}
			o.tag, o.records, b = valuestore.Tag(first), valuestore.Records(b[:size:size]), b[size:]
			if _, err := o.records.Check(); err != nil {
				return nil, err
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// apply puts operations into the table and makes them seen.
func (s *Store) apply(t *table, group []*operation) {
	n := 0
	var removed []valuestore.Tag
	for _, o := range group {
		mark := uint64(o.tag) << 1
		if o.kind == opDelete {
			mark |= 1
		}
		removed = append(removed, o.tags...)
		for e, err := range o.records.All() {
			if err != nil {
				break // they were checked
			}
			t.add(&e.Key, e.Value, mark)
			n++
		}
	}
	s.mu.Lock()
	t.publish(n)
	files, old := s.markRemoved(removed)
	s.mu.Unlock()
	s.dispose(files, old)
	if len(removed) > 0 {
		s.merges.raise()
	}
}

// markRemoved adds tags to those that are removed. s.mu is held.
func (s *Store) markRemoved(tags []valuestore.Tag) ([]*file, []*table) {
	if len(tags) == 0 {
		return nil, nil
	}
	v := s.current.clone()
	v.gen++
	v.removed = maps.Clone(v.removed)
	for _, tag := range tags {
		v.removed[tag] = v.gen
	}
	return s.install(v)
}
