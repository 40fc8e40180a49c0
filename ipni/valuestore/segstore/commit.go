package segstore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/wal"
)

// rest is how long nothing is written before what is in memory becomes a segment.
const rest = time.Second

// committer writes what waits, in groups, until the store is closed.
func (s *Store) committer() {
	for {
		var rested <-chan time.Time
		if s.table().Size() >= s.tableSize/16 {
			rested = time.After(rest)
		}
		select {
		case <-s.queue.Wake():
		case <-rested:
			s.settle()
			continue
		case <-s.ctx.Done():
			s.queue.Fail(fs.ErrClosed)
			return
		}
		for s.commitWaiting() {
		}
	}
}

// settle has a segment made of the table, if that need not wait: a store that rests does not
// keep records twice, in a log and in memory, and has less to read when it is opened. Less than a
// sixteenth of a table stays, or writers that pause would leave many small segments.
func (s *Store) settle() {
	s.mu.Lock()
	room := len(s.current.tables) < maxTables
	s.mu.Unlock()
	if !room {
		return
	}
	if err := s.rotate(); err != nil {
		s.slog.Error("log of the value store cannot be closed", "err", err)
	}
}

// commitWaiting writes one group. It returns false if nothing waited, or nothing could be written.
func (s *Store) commitWaiting() bool {
	if s.queue.Empty() {
		return false
	}
	if err := s.prepare(); err != nil {
		s.queue.Fail(err)
		return false
	}
	group := s.queue.Take()
	flush := 0 // operations that want a new table, they stand first
	for flush < len(group) && group[flush].Kind == oplog.Flush {
		flush++
	}
	var err error
	if flush > 0 && s.logged(s.table()) {
		err = s.rotate()
	}
	if err == nil && flush < len(group) {
		if err = s.prepare(); err == nil {
			err = s.commit(group[flush:])
		}
	}
	oplog.Done(group, err)
	return len(group) > 0
}

// prepare makes room for a group: space on the disk, a table that is not full, and its log.
func (s *Store) prepare() error {
	if err := s.checkSpace(); err != nil {
		return err
	}
	if t := s.table(); t.Size() >= s.tableSize || t.Full(oplog.GroupSize) || s.logged(t) && s.log == nil {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if s.log == nil {
		return s.beginLog()
	}
	return nil
}

// logged reports whether t has a log.
func (s *Store) logged(t *memory) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.log != 0
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
func (s *Store) table() *memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.tables[0]
}

// rotate begins a new table. It waits until there is room for one, unless there is a reason
// why there will be none.
func (s *Store) rotate() error {
	for {
		s.mu.Lock()
		if len(s.current.tables) < maxTables {
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
	v.tables = append([]*memory{s.newMemory(s.tableSize, v.Gen)}, v.tables...)
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
func (s *Store) commit(group []*oplog.Operation) error {
	size := 0
	for _, o := range group {
		size += int(o.Size())
	}
	if need := wal.FrameHead + size + disk.Page; cap(s.frame) < need || cap(s.frame) > 4*oplog.GroupSize && need <= 2*oplog.GroupSize {
		s.frame = wal.Buffer(max(size, 64<<10))
	}
	s.frame = s.frame[:wal.FrameHead]
	for _, o := range group {
		s.frame = o.Append(s.frame)
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

// apply puts operations into the table and makes them seen.
func (s *Store) apply(t *memory, group []*oplog.Operation) {
	n := 0
	var removed []valuestore.Tag
	for _, o := range group {
		removed = append(removed, o.Tags...)
		mark := o.Mark()
		for e, err := range o.Records.All() {
			if err != nil {
				break // they were checked
			}
			t.Add(&e.Key, e.Value, mark)
			n++
		}
	}
	s.mu.Lock()
	t.Publish(n)
	files, old := s.markRemoved(removed)
	s.mu.Unlock()
	s.dispose(files, old)
	if len(removed) > 0 {
		s.merges.raise()
	}
}

// markRemoved adds tags to those that are removed. s.mu is held.
func (s *Store) markRemoved(tags []valuestore.Tag) ([]*layout.File, []*memory) {
	if len(tags) == 0 {
		return nil, nil
	}
	v := s.current.clone()
	v.Remove(tags)
	return s.install(v)
}
