package segstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/wal"
)

// writeManifest makes v what the next Open finds, as [catalog.Dir.Write] does. next is the number of the next
// file, number that of one that may be written. Only one calls it at a time.
func (s *Store) writeManifest(v *version, next, number uint64) (replaced bool, err error) {
	m := v.Manifest()
	m.KeyBytes, m.Next, m.Log = s.keyBytes, next, next
	s.mu.Lock()
	for _, t := range v.Tables {
		if t.Log != 0 {
			m.Log = min(m.Log, t.Log)
		}
	}
	s.mu.Unlock()
	return s.files.Write(m, v.Removed, number)
}

// load opens what the manifest lists and reads the logs.
func (s *Store) load(partitions int) error {
	m, removed, err := s.files.Read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.create(partitions)
	case err != nil:
		return err
	}
	if m.KeyBytes != s.keyBytes {
		return fmt.Errorf("the store keeps %d bytes of keys, not %d: %w", m.KeyBytes, s.keyBytes, fs.ErrInvalid)
	}
	if partitions != 0 && partitions != len(m.Parts) {
		return fmt.Errorf("the store has %d partitions, not %d: %w", len(m.Parts), partitions, fs.ErrInvalid)
	}
	v := s.first(len(m.Parts))
	v.Removed, v.Gen, s.next = removed, m.Gen, m.Next
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

// first begins the version that is loaded.
func (s *Store) first(partitions int) *version {
	s.current = &version{}
	s.current.Hold()
	s.current.Parts = make([]layout.Part, partitions)
	s.current.Full = s.tableSize * 6 / 10 // records take less in a segment than in memory
	return s.current
}

// openFiles opens segments. If one fails, those before it are returned with the error.
func (s *Store) openFiles(list []layout.ManifestFile) (files []*layout.File, err error) {
	for _, l := range list {
		name := s.files.Path(l.Number, "seg")
		seg, err := segment.Open(name, s.keyBytes)
		if err != nil {
			return files, err
		}
		f := &layout.File{Segment: seg, Number: l.Number, Bytes: l.Size, Level: l.Level, Gen: l.Gen, Refs: 1}
		files = append(files, f)
		info, err := os.Stat(name)
		if err != nil {
			return files, err
		}
		f.Born = info.ModTime()
		if seg.Size() != l.Size {
			return files, fmt.Errorf("%s is %d bytes, not %d: %w", name, seg.Size(), l.Size, digest.ErrMismatch)
		}
	}
	return files, nil
}

// create begins an empty store.
func (s *Store) create(partitions int) error {
	files, err := s.files.List()
	if err != nil {
		return err
	}
	if len(files) > 0 {
		return fmt.Errorf("there is a %s file, but no manifest: %w", files[0].Kind, digest.ErrMismatch)
	}
	s.next = 1
	s.first(cmp.Or(partitions, 16))
	s.begin()
	_, err = s.writeManifest(s.current, s.next, 0)
	return err
}

// begin adds the table that will be written.
func (s *Store) begin() { s.current.Begin(s.newMemory(s.tableSize, s.current.Gen)) }

// sweep deletes the files that a crash left behind, and reads the logs.
func (s *Store) sweep(m *layout.Manifest) error {
	wanted := map[uint64]bool{m.Tags.Number: true}
	for f := range s.current.Files() {
		wanted[f.Number] = true
	}
	files, err := s.files.List()
	if err != nil {
		return err
	}
	var logs []uint64
	for _, f := range files {
		s.next = max(s.next, f.Number+1)
		if f.Kind == "log" && f.Number >= m.Log {
			logs = append(logs, f.Number)
		} else if f.Kind == "log" || !wanted[f.Number] {
			s.remove(s.files.Path(f.Number, f.Kind))
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
		r, err := wal.Open(s.files.Path(number, "log"))
		if errors.Is(err, io.EOF) && i == len(logs)-1 {
			s.remove(s.files.Path(number, "log")) // it never held anything
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
	t.Log = r.Number()
	s.current.Begin(t)
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
