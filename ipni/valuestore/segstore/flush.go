package segstore

import (
	"slices"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
)

// flusher makes segments of tables, the oldest first, until the store is closed.
func (s *Store) flusher() {
	for s.ctx.Err() == nil {
		var failed <-chan time.Time
		var wake <-chan struct{}
		if t := s.oldest(); t == nil {
			wake = s.flushes
		} else if wait := s.report(flushing, false, s.flush(t)); wait > 0 {
			failed = time.After(wait)
		} else {
			continue
		}
		select {
		case <-wake:
		case <-failed:
		case <-s.ctx.Done():
		}
	}
}

// oldest returns the table to be flushed, nil if there is none or too much is to be merged
// already.
func (s *Store) oldest() *memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.current
	if len(v.Tables) < 2 || v.Crowded() {
		return nil
	}
	return v.Tables[len(v.Tables)-1]
}

// flush makes a segment of a table.
func (s *Store) flush(t *memory) error {
	v := s.acquire()
	defer s.release(v)
	f, err := s.writeSegment(v, []segment.Source{t.Sorted(0, ^uint64(0))}, 0, false, nil)
	if err != nil {
		return err
	}
	err = s.edit(f, func(v *version) {
		v.Tables = slices.DeleteFunc(v.Tables, func(o *memory) bool { return o == t })
		if f != nil {
			v.L0 = append(v.L0, f)
		}
	})
	if err != nil {
		return err
	}
	if t.Log != 0 {
		s.remove(s.files.Path(t.Log, "log"))
	}
	s.room.raise()
	s.merges.raise()
	return nil
}

// writeSegment writes the records of sources, the newest first, without those that are removed as of
// v. bottom says that there are none below them: deleted ones need not be known any more.
// It returns nil if nothing is left.
func (s *Store) writeSegment(v *version, sources []segment.Source, level int, bottom bool, pace func(int) error) (*layout.File, error) {
	number := s.number()
	w, err := segment.Create(s.files.Path(number, "seg"), s.keyBytes, pace)
	if err != nil {
		return nil, err
	}
	n, err := v.Copy(s.ctx, w, sources, bottom)
	if err != nil || n == 0 {
		w.Abort()
		return nil, err
	}
	seg, err := w.Finish()
	if err != nil {
		w.Abort()
		return nil, err
	}
	s.written.Add(seg.Size())
	return &layout.File{Segment: seg, Number: number, Bytes: seg.Size(), Level: level, Gen: v.Gen, Born: time.Now()}, nil
}
