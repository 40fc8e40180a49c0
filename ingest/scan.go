package ingest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashstream/hashstream/unixfs"
)

const (
	// maxDepth bounds the nesting of directories: an index takes DAGs 255 deep, and
	// a directory may add shards, a file its layers.
	maxDepth = 200
	// keptEntries is how many directory entries are kept in memory between scan
	// and read. Directories beyond are listed again.
	keptEntries = 1 << 17
)

// entry is something to be added, known by its sizes.
type entry struct {
	name   string
	kind   unixfs.Type // File, Directory or Symlink
	size   int64       // of a file, or of the target of a symlink, in bytes
	dir    *dir
	reader io.ReaderAt // of a file that is in no file system
}

// dir is a scanned directory.
type dir struct {
	dirs    []*dir // the directories in it, by name
	tsize   uint64
	cidLen  int
	listing *listing // nil if it was not kept
}

// listing is the content of a directory and its shape.
type listing struct {
	entries []entry // by name
	shape   *unixfs.DirNode
}

// scanner measures what is to be added.
type scanner struct {
	fsys         fs.FS
	profile      unixfs.Profile
	hidden       bool
	kept         int
	files, bytes int64
}

// root scans what the caller named.
func (s *scanner) root(ctx context.Context, name string) (entry, error) {
	fi, err := fs.Lstat(s.fsys, name)
	if err != nil {
		return entry{}, err
	}
	e, err := s.entry(name, fi.Name(), fi.Mode(), fi.Size)
	if err != nil {
		return entry{}, err
	}
	e.name = name
	return e, s.descend(ctx, name, &e, 0)
}

// wrap puts e into a directory.
func (s *scanner) wrap(name string, e entry) (entry, error) {
	l := &listing{entries: []entry{e}}
	shape, err := s.profile.Directory([]unixfs.DirEntry{{Name: name, Tsize: s.tsize(&e), CIDLen: s.cidLen(&e)}})
	if err != nil {
		return entry{}, err
	}
	l.shape = shape
	d := &dir{tsize: shape.Tsize, cidLen: shape.CIDLen, listing: l}
	return entry{kind: unixfs.Directory, dir: d}, nil
}

// descend scans below e if it is a directory, and counts it otherwise.
func (s *scanner) descend(ctx context.Context, name string, e *entry, depth int) error {
	if e.kind != unixfs.Directory {
		if e.kind == unixfs.File {
			s.files++
			s.bytes += e.size
		}
		return nil
	}
	var err error
	e.dir, err = s.directory(ctx, name, depth)
	return err
}

func (s *scanner) directory(ctx context.Context, name string, depth int) (*dir, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: directories are nested more than %d deep", name, maxDepth)
	}
	entries, err := s.list(name)
	if err != nil {
		return nil, err
	}
	d := &dir{}
	for i := range entries {
		if err := s.descend(ctx, path.Join(name, entries[i].name), &entries[i], depth+1); err != nil {
			return nil, err
		}
		if sub := entries[i].dir; sub != nil {
			d.dirs = append(d.dirs, sub)
		}
	}
	l, err := s.measure(name, entries)
	if err != nil {
		return nil, err
	}
	d.tsize, d.cidLen = l.shape.Tsize, l.shape.CIDLen
	if s.kept+len(entries) <= keptEntries {
		s.kept += len(entries)
		d.listing = l
	}
	return d, nil
}

// relist returns the listing of a directory that was scanned before.
func (s *scanner) relist(name string, d *dir) (*listing, error) {
	if d.listing != nil {
		return d.listing, nil
	}
	entries, err := s.list(name)
	if err != nil {
		return nil, err
	}
	dirs := d.dirs
	for i := range entries {
		if entries[i].kind != unixfs.Directory {
			continue
		}
		if len(dirs) == 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrChanged)
		}
		entries[i].dir, dirs = dirs[0], dirs[1:]
	}
	l, err := s.measure(name, entries)
	if err != nil {
		return nil, err
	}
	if len(dirs) > 0 || l.shape.Tsize != d.tsize {
		return nil, fmt.Errorf("%s: %w", name, ErrChanged)
	}
	return l, nil
}

// list reads the entries of a directory, without what is below them.
func (s *scanner) list(name string) ([]entry, error) {
	found, err := fs.ReadDir(s.fsys, name)
	if err != nil {
		return nil, err
	}
	if !s.hidden {
		found = slices.DeleteFunc(found, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })
	}
	entries := make([]entry, len(found))
	for i, e := range found {
		size := func() int64 { return 0 }
		if e.Type().IsRegular() {
			fi, err := e.Info()
			if err != nil {
				return nil, err
			}
			size = fi.Size
		}
		if entries[i], err = s.entry(path.Join(name, e.Name()), e.Name(), e.Type(), size); err != nil {
			return nil, err
		}
	}
	// A file system that lists in another order must not make another CID.
	slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

func (s *scanner) entry(name, base string, mode fs.FileMode, size func() int64) (entry, error) {
	e := entry{name: base}
	if !utf8.ValidString(base) {
		return e, fmt.Errorf("%q: %w", name, ErrName)
	}
	switch mode.Type() {
	case 0:
		e.kind, e.size = unixfs.File, size()
	case fs.ModeDir:
		e.kind = unixfs.Directory
	case fs.ModeSymlink:
		target, err := fs.ReadLink(s.fsys, name)
		if err != nil {
			return e, err
		}
		e.kind, e.size = unixfs.Symlink, int64(len(target))
	default:
		return e, fmt.Errorf("%s: %w", name, ErrIrregular)
	}
	return e, nil
}

// measure computes the shape of a directory.
func (s *scanner) measure(name string, entries []entry) (*listing, error) {
	sizes := make([]unixfs.DirEntry, len(entries))
	for i := range entries {
		e := &entries[i]
		sizes[i] = unixfs.DirEntry{Name: e.name, Tsize: s.tsize(e), CIDLen: s.cidLen(e)}
	}
	shape, err := s.profile.Directory(sizes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &listing{entries, shape}, nil
}

func (s *scanner) tsize(e *entry) uint64 {
	switch e.kind {
	case unixfs.Directory:
		return e.dir.tsize
	case unixfs.Symlink:
		return uint64(s.profile.SymlinkSize(strings.Repeat("x", int(e.size))))
	}
	return s.profile.Tsize(s.profile.FileRoot(e.size))
}

func (s *scanner) cidLen(e *entry) int {
	if e.kind == unixfs.File {
		return s.profile.CIDLen(s.profile.FileRoot(e.size))
	}
	return s.nodeLen()
}

// nodeLen returns the bytes of the CID of a symlink or directory.
func (s *scanner) nodeLen() int { return s.profile.CIDLen(unixfs.Subtree{Depth: 1}) }
