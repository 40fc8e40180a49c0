package segstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/wal"
)

const manifestName = "MANIFEST"

// writeManifest makes v what the next Open finds. Only one calls it at a time.
func (s *Store) writeManifest(v *version, next uint64) error {
	m := v.Manifest()
	m.KeyBytes, m.Next, m.Log = s.keyBytes, next, next
	s.mu.Lock()
	for _, t := range v.tables {
		if t.log != 0 {
			m.Log = min(m.Log, t.log)
		}
	}
	s.mu.Unlock()
	b, err := m.Encode()
	if err != nil {
		return err
	}
	name := filepath.Join(s.dir, manifestName)
	if err := writeFile(name+".tmp", b); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return disk.SyncDir(name)
}

func writeFile(name string, b []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// load opens what the manifest lists and reads the logs.
func (s *Store) load(partitions int) error {
	name := filepath.Join(s.dir, manifestName)
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.create(partitions)
	case err != nil:
		return err
	}
	m, err := layout.ParseManifest(b)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if m.KeyBytes != s.keyBytes {
		return fmt.Errorf("the store keeps %d bytes of keys, not %d: %w", m.KeyBytes, s.keyBytes, fs.ErrInvalid)
	}
	if partitions != 0 && partitions != len(m.Parts) {
		return fmt.Errorf("the store has %d partitions, not %d: %w", len(m.Parts), partitions, fs.ErrInvalid)
	}
	v := &version{refs: 1}
	v.Removed, v.Gen, v.Parts = m.Removed, m.Gen, make([]layout.Part, len(m.Parts))
	s.current, s.next = v, m.Next
	if v.L0, err = s.openFiles(m.L0); err != nil {
		return err
	}
	for i, p := range m.Parts {
		v.Parts[i].Floor = p.Floor
		if v.Parts[i].Runs, err = s.openFiles(p.Runs); err != nil {
			return err
		}
	}
	return s.sweep(m)
}

// openFiles opens segments. If one fails, those before it are returned with the error.
func (s *Store) openFiles(list []layout.ManifestFile) (files []*layout.File, err error) {
	for _, l := range list {
		name := s.path(l.Number, "seg")
		seg, err := segment.Open(name, s.keyBytes)
		if err != nil {
			return files, err
		}
		files = append(files, &layout.File{Segment: seg, Number: l.Number, Level: l.Level, Gen: l.Gen, Refs: 1})
		if seg.Size() != l.Size {
			return files, fmt.Errorf("%s is %d bytes, not %d: %w", name, seg.Size(), l.Size, digest.ErrMismatch)
		}
	}
	return files, nil
}

// create begins an empty store.
func (s *Store) create(partitions int) error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if _, kind, ok := parseName(n.Name()); ok {
			return fmt.Errorf("there is a %s file, but no manifest: %w", kind, digest.ErrMismatch)
		}
	}
	if partitions == 0 {
		partitions = 16
	}
	s.next = 1
	s.current = &version{refs: 1}
	s.current.Removed, s.current.Parts = map[valuestore.Tag]uint64{}, make([]layout.Part, partitions)
	s.begin()
	return s.writeManifest(s.current, s.next)
}

// begin adds the table that will be written.
func (s *Store) begin() { s.addMemory(s.newMemory(s.tableSize, s.current.Gen)) }

// addMemory adds a table while the store is opened.
func (s *Store) addMemory(t *memory) {
	t.refs = 1
	s.current.tables = append([]*memory{t}, s.current.tables...)
}

func parseName(name string) (number uint64, kind string, ok bool) {
	digits, kind, _ := strings.Cut(name, ".")
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, kind, err == nil && len(digits) == 16 && (kind == "seg" || kind == "log")
}

// sweep deletes the files that a crash left behind, and reads the logs.
func (s *Store) sweep(m *layout.Manifest) error {
	listed := map[uint64]bool{}
	for f := range s.current.Files() {
		listed[f.Number] = true
	}
	names, err := os.ReadDir(s.dir) // in the order of their names
	if err != nil {
		return err
	}
	var logs []uint64
	for _, n := range names {
		number, kind, ok := parseName(n.Name())
		if !ok {
			continue
		}
		s.next = max(s.next, number+1)
		if kind == "seg" && !listed[number] || kind == "log" && number < m.Log {
			s.remove(filepath.Join(s.dir, n.Name()))
		} else if kind == "log" {
			logs = append(logs, number)
		}
	}
	if err := s.replay(logs); err != nil {
		return err
	}
	s.begin()
	return nil
}

// replay makes tables of logs.
func (s *Store) replay(logs []uint64) error {
	var readers []*wal.Reader
	defer func() {
		for _, r := range readers {
			_ = r.Close() // it was read only
		}
	}()
	for i, number := range logs {
		r, err := wal.Open(s.path(number, "log"))
		if errors.Is(err, io.EOF) && i == len(logs)-1 {
			s.remove(s.path(number, "log")) // it never held anything
			break
		}
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}
	for i, r := range readers {
		end := int64(0)
		if i+1 < len(readers) {
			b := readers[i+1].Before()
			if b.Log != r.Number() {
				return fmt.Errorf("log %x follows log %x, which is not there: %w", readers[i+1].Number(), b.Log, digest.ErrMismatch)
			}
			end = b.Length
		}
		if err := s.replayLog(r, end); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) replayLog(r *wal.Reader, end int64) error {
	t := s.newMemory(r.Size(), s.current.Gen)
	t.log = r.Number()
	s.addMemory(t)
	for {
		b, err := r.Next(end)
		if errors.Is(err, io.EOF) {
			s.last = wal.Place{Log: r.Number(), Length: r.Offset()}
			return nil
		}
		if err != nil {
			return err
		}
		group, err := oplog.Decode(b)
		if err != nil {
			return fmt.Errorf("read log %x at byte %d: %w", r.Number(), r.Offset(), err)
		}
		s.apply(t, group)
	}
}
