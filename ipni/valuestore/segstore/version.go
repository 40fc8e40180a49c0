package segstore

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/table"
)

// version is what the store consists of at a moment. Who reads holds one, and with it
// the files. It does not change once it is current, but for the records of its first
// table.
type version struct {
	layout.Layout
	tables []*memory // the newest first

	refs int // guarded by Store.mu
}

// memory is a table of a version.
type memory struct {
	*table.Table
	log  uint64 // the log with the same records, 0 if there is none yet; guarded by Store.mu
	gen  uint64 // of removals, when the table was begun
	refs int    // versions that hold it, guarded by Store.mu
}

func (s *Store) newMemory(size int64, gen uint64) *memory {
	return &memory{Table: table.New(s.keyBytes, size, &s.memory), gen: gen}
}

func (v *version) clone() *version {
	return &version{tables: slices.Clone(v.tables), Layout: v.Clone()}
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
func (s *Store) unref(v *version) (files []*layout.File, old []*memory) {
	if v.refs--; v.refs > 0 {
		return nil, nil
	}
	for f := range v.Files() {
		if f.Refs--; f.Refs == 0 {
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

func (s *Store) dispose(files []*layout.File, old []*memory) {
	for _, f := range files {
		_ = f.Close() // it was read only
		if f.Gone {
			s.remove(f.Name())
		}
	}
	for _, t := range old {
		t.Recycle()
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
func (s *Store) install(v *version) ([]*layout.File, []*memory) {
	v.refs = 1
	for f := range v.Files() {
		f.Refs++
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
	kept := maps.Collect(func(yield func(*layout.File, bool) bool) {
		for f := range v.Files() {
			yield(f, true)
		}
	})
	for f := range s.current.Files() {
		f.Gone = f.Gone || !kept[f]
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
