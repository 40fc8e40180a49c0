package segstore

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
)

// version is what the store consists of at a moment. Who reads holds one, and with it
// the files. It does not change once it is current, but for the records of its first
// table.
type version struct {
	tables  []*table // the newest first
	l0      []*file  // segments of the whole range, the oldest first
	parts   []part
	removed map[valuestore.Tag]uint64 // to the generation in which each was removed
	gen     uint64                    // of the last removal

	refs int // guarded by Store.mu
}

// part is a partition.
type part struct {
	floor uint64  // the last segment of the whole range whose records are in runs
	runs  []*file // the oldest first
}

// file is a segment of a version.
type file struct {
	*segment.Segment
	number uint64
	level  int
	gen    uint64 // no record has a tag that was removed in this generation or before

	refs int // versions that hold it, and tables that hold theirs; guarded by Store.mu
	gone bool
	dead deadRecords
}

func (v *version) clone() *version {
	return &version{tables: slices.Clone(v.tables), l0: slices.Clone(v.l0), parts: slices.Clone(v.parts), removed: v.removed, gen: v.gen}
}

// files yields the segments.
func (v *version) files() iter.Seq[*file] {
	return func(yield func(*file) bool) {
		for _, f := range v.l0 {
			if !yield(f) {
				return
			}
		}
		for _, p := range v.parts {
			for _, f := range p.runs {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// partOf returns the number of the partition of a head.
func (v *version) partOf(head uint64) int {
	return int(head >> 56 * uint64(len(v.parts)) >> 8)
}

// bounds returns the keys of a partition.
func (v *version) bounds(i int) valuestore.Range {
	width := 256 / len(v.parts)
	r := valuestore.Everything()
	r.From[0], r.To[0] = byte(i*width), byte(i*width+width-1)
	return r
}

// pending returns the segments of the whole range that are not in the runs of p.
func (v *version) pending(p part) []*file {
	i := 0
	for i < len(v.l0) && v.l0[i].number <= p.floor {
		i++
	}
	return v.l0[i:]
}

// acquire returns the current version, to be released.
func (s *Store) acquire() *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.refs++
	return s.current
}

func (s *Store) release(v *version) {
	s.mu.Lock()
	closing, tables := s.unref(v)
	s.mu.Unlock()
	s.dispose(closing, tables)
}

// unref gives a version up, and returns what nobody holds any more. s.mu is held.
func (s *Store) unref(v *version) (files []*file, old []*table) {
	if v.refs--; v.refs > 0 {
		return nil, nil
	}
	for f := range v.files() {
		if f.refs--; f.refs == 0 {
			files = append(files, f)
		}
	}
	for _, t := range v.tables {
		if t.refs--; t.refs == 0 {
			old = append(old, t)
		}
	}
	return files, old
}

func (s *Store) dispose(files []*file, old []*table) {
	for _, f := range files {
		_ = f.Close() // it was read only
		if f.gone {
			s.remove(f.Name())
		}
	}
	for _, t := range old {
		t.recycle()
	}
}

// remove deletes a file that is not in the manifest. What is left of it, the next Open
// deletes.
func (s *Store) remove(name string) {
	if err := os.Remove(name); err != nil {
		s.slog.Warn("cannot delete a file of the value store", "err", err)
	}
}

// install makes v, a changed clone of the current version, the current one. s.mu is held;
// what it returns is to be disposed of.
func (s *Store) install(v *version) ([]*file, []*table) {
	v.refs = 1
	for f := range v.files() {
		f.refs++
	}
	for _, t := range v.tables {
		t.refs++
	}
	old := s.current
	s.current = v
	if old == nil {
		return nil, nil
	}
	return s.unref(old)
}

// edit changes the segments of the current version, in the manifest and then in memory. change
// is called twice.
func (s *Store) edit(change func(v *version)) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	s.mu.Lock()
	planned := s.current.clone()
	next := s.next
	s.mu.Unlock()
	change(planned)
	if err := s.writeManifest(planned, next); err != nil {
		return err
	}
	s.mu.Lock()
	v := s.current.clone()
	change(v)
	kept := maps.Collect(func(yield func(*file, bool) bool) {
		for f := range v.files() {
			yield(f, true)
		}
	})
	for f := range s.current.files() {
		f.gone = f.gone || !kept[f]
	}
	files, old := s.install(v)
	s.notify()
	s.mu.Unlock()
	s.dispose(files, old)
	return nil
}

// number returns the number for a new file.
func (s *Store) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

func (s *Store) path(number uint64, kind string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x.%s", number, kind))
}

// stored returns key as it is stored: what is cut off is zero.
func (s *Store) stored(key dhash.Key) dhash.Key {
	clear(key[s.keyBytes:])
	return key
}
