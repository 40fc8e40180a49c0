package segstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/wal"
)

const (
	manifestName = "MANIFEST"
	manifestHead = "hashstream values 1 " // and the checksum of the rest in 8 hex digits, and a line feed
)

// manifest is what a store consists of, as the file says it.
type manifest struct {
	KeyBytes int                       `json:"key_bytes"`
	Next     uint64                    `json:"next"`    // number of the next file
	Log      uint64                    `json:"log"`     // logs from this number on hold what is in no segment
	Gen      uint64                    `json:"gen"`     // of the last removal
	Removed  map[valuestore.Tag]uint64 `json:"removed"` // tags to generations
	L0       []manifestFile            `json:"l0"`
	Parts    []manifestPart            `json:"parts"`
}

type manifestFile struct {
	Number uint64 `json:"n"`
	Size   int64  `json:"size"`
	Level  int    `json:"level,omitempty"`
	Gen    uint64 `json:"gen,omitempty"`
}

type manifestPart struct {
	Floor uint64         `json:"floor"`
	Runs  []manifestFile `json:"runs"`
}

func listFiles(files []*file) []manifestFile {
	list := []manifestFile{}
	for _, f := range files {
		list = append(list, manifestFile{f.number, f.Size(), f.level, f.gen})
	}
	return list
}

// writeManifest makes v what the next Open finds. Only one calls it at a time.
func (s *Store) writeManifest(v *version, next uint64) error {
	m := manifest{KeyBytes: s.keyBytes, Next: next, Log: next, Gen: v.gen, Removed: v.removed, L0: listFiles(v.l0)}
	for _, p := range v.parts {
		m.Parts = append(m.Parts, manifestPart{p.floor, listFiles(p.runs)})
	}
	s.mu.Lock()
	for _, t := range v.tables {
		if t.log != 0 {
			m.Log = min(m.Log, t.log)
		}
	}
	s.mu.Unlock()
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	name := filepath.Join(s.dir, manifestName)
	if err := writeFile(name+".tmp", sealManifest(body)); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return disk.SyncDir(name)
}

func sealManifest(body []byte) []byte {
	head := fmt.Appendf(nil, "%s%08x\n", manifestHead, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(head, body...)
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

// parseManifest is strict: what it does not know it refuses.
func parseManifest(b []byte) (*manifest, error) {
	head, body, ok := bytes.Cut(b, []byte("\n"))
	sum, found := strings.CutPrefix(string(head), manifestHead)
	if !ok || !found {
		return nil, fmt.Errorf("%w: no manifest of version 1", digest.ErrMismatch)
	}
	if fmt.Sprintf("%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))) != sum {
		return nil, fmt.Errorf("%w: wrong checksum", digest.ErrMismatch)
	}
	var m manifest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: %w", digest.ErrMismatch, err)
	}
	if n := len(m.Parts); n == 0 || n > 256 || n&(n-1) != 0 {
		return nil, fmt.Errorf("%w: %d partitions", digest.ErrMismatch, n)
	}
	return &m, nil
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
	m, err := parseManifest(b)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if m.KeyBytes != s.keyBytes {
		return fmt.Errorf("the store keeps %d bytes of keys, not %d: %w", m.KeyBytes, s.keyBytes, fs.ErrInvalid)
	}
	if partitions != 0 && partitions != len(m.Parts) {
		return fmt.Errorf("the store has %d partitions, not %d: %w", len(m.Parts), partitions, fs.ErrInvalid)
	}
	v := &version{removed: m.Removed, gen: m.Gen, parts: make([]part, len(m.Parts))}
	if v.removed == nil {
		v.removed = map[valuestore.Tag]uint64{}
	}
	s.current = v
	v.refs = 1
	s.next = m.Next
	if v.l0, err = s.openFiles(m.L0); err != nil {
		return err
	}
	for i, p := range m.Parts {
		v.parts[i].floor = p.Floor
		if v.parts[i].runs, err = s.openFiles(p.Runs); err != nil {
			return err
		}
	}
	return s.sweep(m)
}

// openFiles opens segments. If one fails, those before it are returned with the error.
func (s *Store) openFiles(list []manifestFile) (files []*file, err error) {
	for _, l := range list {
		name := s.path(l.Number, "seg")
		seg, err := segment.Open(name, s.keyBytes)
		if err != nil {
			return files, err
		}
		files = append(files, &file{Segment: seg, number: l.Number, level: l.Level, gen: l.Gen, refs: 1})
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
	s.current = &version{removed: map[valuestore.Tag]uint64{}, parts: make([]part, partitions), refs: 1}
	s.begin()
	return s.writeManifest(s.current, s.next)
}

// begin adds the table that will be written.
func (s *Store) begin() {
	t := newTable(s.keyBytes, s.tableSize, &s.chunks, s.current.gen)
	t.refs = 1
	s.current.tables = append([]*table{t}, s.current.tables...)
}

func parseName(name string) (number uint64, kind string, ok bool) {
	digits, kind, _ := strings.Cut(name, ".")
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, kind, err == nil && len(digits) == 16 && (kind == "seg" || kind == "log")
}

// sweep deletes the files that a crash left behind, and reads the logs.
func (s *Store) sweep(m *manifest) error {
	listed := map[uint64]bool{}
	for f := range s.current.files() {
		listed[f.number] = true
	}
	names, err := os.ReadDir(s.dir) // in the order of their names
	if err != nil {
		return err
	}
	var last wal.Place
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
	s.last = last
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
			if b := readers[i+1].Before(); b.Log != r.Number() {
				return fmt.Errorf("log %x follows log %x, which is not there: %w", readers[i+1].Number(), b.Log, digest.ErrMismatch)
			} else {
				end = b.Length
			}
		}
		if err := s.replayLog(r, end); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) replayLog(r *wal.Reader, end int64) error {
	t := newTable(s.keyBytes, r.Size(), &s.chunks, s.current.gen)
	t.log, t.refs = r.Number(), 1
	s.current.tables = append([]*table{t}, s.current.tables...)
	for {
		b, err := r.Next(end)
		if errors.Is(err, io.EOF) {
			s.last = wal.Place{Log: r.Number(), Length: r.Offset()}
			return nil
		}
		if err != nil {
			return err
		}
		group, err := decodeOperations(b)
		if err != nil {
			return fmt.Errorf("read log %x at byte %d: %w", r.Number(), r.Offset(), err)
		}
		s.apply(t, group)
	}
}
