package segstore

import (
	"maps"
	"os"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/table"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/view"
)

// version is what the store consists of at a moment. Who reads holds one.
type version = view.View

// memory is a table of a version. Its log is guarded by Store.mu.
type memory = view.Memory

func (s *Store) newMemory(size int64, gen uint64) *memory {
	return &memory{Table: table.New(s.keyBytes, size, &s.memory), Gen: gen}
}

// acquire returns the current version, to be released.
func (s *Store) acquire() *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.Hold()
	return s.current
}

func (s *Store) release(v *version) {
	s.mu.Lock()
	closing, tables := v.Release()
	s.mu.Unlock()
	s.dispose(closing, tables)
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
	v.Hold()
	old := s.current
	s.current = v
	return old.Release()
}

// edit changes the segments of the current version, in the manifest and then in memory. change
// is called twice. f, a new segment or nil, is given up if that fails.
func (s *Store) edit(f *layout.File, change func(v *version)) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	s.mu.Lock()
	planned := s.current.Clone()
	number := s.next
	s.next++
	next := s.next
	s.mu.Unlock()
	change(planned)
	if replaced, err := s.writeManifest(planned, next, number); err != nil {
		s.drop(f, replaced)
		return err
	}
	s.mu.Lock()
	v := s.current.Clone()
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

// drop closes a segment that did not come into a version. If the manifest may name it, the file
// stays until the next Open knows.
func (s *Store) drop(f *layout.File, named bool) {
	if f == nil {
		return
	}
	_ = f.Close() // it was read only
	if !named {
		s.remove(f.Name())
	}
}

// notify wakes all who wait for a change. s.mu is held.
func (s *Store) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// number returns the number for a new file.
func (s *Store) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

// stored returns key as it is stored: what is cut off is zero.
func (s *Store) stored(key dhash.Key) dhash.Key {
	clear(key[s.keyBytes:])
	return key
}
