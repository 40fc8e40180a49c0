package segstore

import (
	"slices"

	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
)

// flusher makes segments of tables, the oldest first, until the store is closed.
func (s *Store) flusher() {
	for s.ctx.Err() == nil {
		t := s.oldest()
		if t == nil {
			select {
			case <-s.flushes:
			case <-s.ctx.Done():
			}
			continue
		}
		s.report(flushing, s.flush(t))
	}
}

// oldest returns the table to be flushed, nil if there is none or too much is to be merged
// already.
func (s *Store) oldest() *memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.current
	if len(v.tables) < 2 || len(v.L0) >= layout.Most {
		return nil
	}
	return v.tables[len(v.tables)-1]
}

// flush makes a segment of a table.
func (s *Store) flush(t *memory) error {
	v := s.acquire()
	defer s.release(v)
	f, err := s.writeSegment(v, []segment.Source{t.Sorted(0, ^uint64(0))}, 0, false, nil)
	if err != nil {
		return err
	}
	err = s.edit(func(v *version) {
		v.tables = slices.DeleteFunc(v.tables, func(o *memory) bool { return o == t })
		if f != nil {
			v.L0 = append(v.L0, f)
		}
	})
	if err != nil {
		s.drop(f)
		return err
	}
	if t.log != 0 {
		s.remove(s.path(t.log, "log"))
	}
	s.room.raise()
	s.merges.raise()
	return nil
}

// drop removes a segment that did not come into a version.
func (s *Store) drop(f *layout.File) {
	if f != nil {
		_ = f.Close() // it was read only
		s.remove(f.Name())
	}
}

// writeSegment writes the records of sources, the newest first, without those that are removed as of
// v. bottom says that there are none below them: deleted ones need not be known any more.
// It returns nil if nothing is left.
func (s *Store) writeSegment(v *version, sources []segment.Source, level int, bottom bool, pace func(int) error) (*layout.File, error) {
	number := s.number()
	w, err := segment.Create(s.path(number, "seg"), s.keyBytes, pace)
	if err != nil {
		return nil, err
	}
	n, err := s.copyRecords(w, v, sources, bottom)
	if err != nil || n == 0 {
		w.Abort()
		return nil, err
	}
	seg, err := w.Finish()
	if err != nil {
		w.Abort()
		return nil, err
	}
	return &layout.File{Segment: seg, Number: number, Level: level, Gen: v.Gen}, nil
}

func (s *Store) copyRecords(w *segment.Writer, v *version, sources []segment.Source, bottom bool) (n int, err error) {
	m := segment.NewMerge(sources)
	for r := m.Next(); r != nil; r = m.Next() {
		if n&1023 == 1023 && s.ctx.Err() != nil {
			return n, s.ctx.Err()
		}
		if bottom && r.Gone {
			continue
		}
		if len(v.Removed) > 0 {
			if _, removed := v.Removed[r.Tag]; removed {
				continue
			}
		}
		if err := w.Add(r); err != nil {
			return n, err
		}
		n++
	}
	return n, m.Err()
}
