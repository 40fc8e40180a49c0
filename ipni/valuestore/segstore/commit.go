package segstore

import (
	"cmp"
	"errors"
	"io/fs"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/wal"
)

// maxLog is how many times longer than a table a log may be: removals take no space in a table.
const maxLog = 8

// rest is how long nothing is written before what is in memory becomes a segment.
const rest = time.Second

// committer writes what waits, in groups, until the store is closed.
func (s *Store) committer() {
	for {
		var rested <-chan time.Time
		if s.worthSegment(s.table()) {
			rested = time.After(rest)
		}
		select {
		case <-s.queue.Wake():
		case <-s.room:
		case <-rested:
			s.settle()
			continue
		case <-s.ctx.Done():
			s.queue.Fail(fs.ErrClosed, func(oplog.Kind) bool { return true })
			return
		}
		for s.commitWaiting() {
		}
	}
}

// worthSegment reports whether a store that rests makes a segment of a table: of a sixteenth of a full one,
// or writers that pause would leave many small segments.
func (s *Store) worthSegment(t *memory) bool { return t.Size() >= s.tableSize/16 }

// settle has a segment made of the table, if that need not wait: a store that rests does not
// keep records twice, in a log and in memory, and has less to read when it is opened.
func (s *Store) settle() {
	if _, err := s.rotate(maxTables); err != nil {
		s.slog.Error("log of the value store cannot be closed", "err", err)
	}
}

// commitWaiting writes one group. It returns false if nothing could be written.
func (s *Store) commitWaiting() bool {
	if least, err := s.space(); err != nil {
		s.queue.Fail(err, func(k oplog.Kind) bool { return k < least })
	}
	if s.queue.Empty() {
		return false
	}
	// Removals need no room in a table: they are what makes room on a full disk.
	room, err := s.makeRoom()
	if err != nil {
		s.queue.Fail(err, func(k oplog.Kind) bool { return k != oplog.Remove })
	}
	begun := room && !s.logged(s.table())
	group := s.queue.Take(func(k oplog.Kind) bool {
		return k == oplog.Remove || room && (k != oplog.Flush || begun)
	})
	if len(group) > 0 {
		oplog.Done(group, s.writeGroup(group))
	}
	return len(group) > 0
}

// makeRoom begins a new table if need be. It returns false if there must be one, and is no room for it: there will
// be, or the error tells why not.
func (s *Store) makeRoom() (bool, error) {
	t := s.table()
	full := t.Size() >= s.tableSize || t.Full(oplog.GroupSize) || s.log != nil && s.log.Place().Length > maxLog*s.tableSize
	if logged := s.logged(t); full || logged && (s.log == nil || s.queue.Has(oplog.Flush)) {
		return s.rotate(maxTables)
	}
	return true, nil
}

// writeGroup writes a group to the log and to the table.
func (s *Store) writeGroup(group []*oplog.Operation) error {
	for len(group) > 0 && group[0].Kind == oplog.Flush { // there is a new table
		group = group[1:]
	}
	if len(group) == 0 {
		return nil
	}
	if s.log == nil {
		if s.logged(s.table()) { // it broke, and there are removals
			if ok, err := s.rotate(2 * maxTables); err != nil || !ok {
				return cmp.Or(err, s.Err(), errors.New("too many tables"))
			}
		}
		if err := s.beginLog(); err != nil {
			return err
		}
	}
	return s.commit(group)
}

// logged reports whether t has a log.
func (s *Store) logged(t *memory) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.Log != 0
}

// beginLog begins the log of the table. Number and table are tied in one step: a manifest that is
// written at the same time must not say that logs begin later.
func (s *Store) beginLog() error {
	s.mu.Lock()
	t, number := s.current.Tables[0], s.next
	s.next++
	t.Log = number
	s.mu.Unlock()
	l, err := wal.Create(s.files.Path(number, "log"), number, s.last)
	if err != nil {
		s.mu.Lock()
		t.Log = 0
		s.mu.Unlock()
		return err
	}
	s.log = l
	return nil
}

// table returns the table that is written.
func (s *Store) table() *memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Tables[0]
}

// rotate begins a new table, unless there are most of them already: then it returns false, and an error if there is a
// reason why there will be no fewer.
func (s *Store) rotate(most int) (bool, error) {
	s.mu.Lock()
	if len(s.current.Tables) >= most {
		err := s.hopeless()
		s.mu.Unlock()
		return false, err
	}
	v := s.current.Clone()
	v.Tables = append([]*memory{s.newMemory(s.tableSize, v.Gen)}, v.Tables...)
	files, old := s.install(v)
	s.mu.Unlock()
	s.dispose(files, old)
	err := s.closeLog()
	s.flushes.raise()
	return true, err
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
	s.written.Add(int64(len(s.frame)+disk.Page-1) &^ (disk.Page - 1))
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
	if len(removed) == 0 {
		s.mu.Lock()
		t.Publish(n)
		s.mu.Unlock()
		return
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	s.mu.Lock()
	set, gen := s.current.Removed, s.current.Gen+1
	s.mu.Unlock()
	set = set.Add(removed, gen) // which readers need not wait for
	s.mu.Lock()
	t.Publish(n)
	v := s.current.Clone()
	v.Removed, v.Gen = set, gen
	files, old := s.install(v)
	s.mu.Unlock()
	s.dispose(files, old)
	s.merges.raise()
}
