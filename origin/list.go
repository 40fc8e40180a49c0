package origin

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/origin/catalog"
)

// maxDepth bounds the nesting of directories.
const maxDepth = 200

// Report is what a scan found.
type Report struct {
	Files     int64 `json:"files"` // of the source
	Bytes     int64 `json:"bytes"`
	Unchanged int64 `json:"unchanged"` // files as the last scan left them
	New       int64 `json:"new"`       // files that were not there, renamed ones too
	Changed   int64 `json:"changed"`   // files that were there and are others now
	Removed   int64 `json:"removed"`   // files that are there no more
	Other     int64 `json:"other"`     // directories and links that came, went or changed
}

// Different reports whether anything differs from the scan before.
func (r Report) Different() bool { return r.New+r.Changed+r.Removed+r.Other > 0 }

// lister compares a source with the catalog.
type lister struct {
	x      *Indexer
	src    Source
	id     catalog.ID
	tree   Tree
	status Status // of the source, as it was
	w      *catalog.Writer
	report Report
	gone   []goneFile
	take   func(file string, size int64) bool // takes a file to be hashed; false ends the listing

	// The directory that was listed last by checkFiles, so that it is not listed again.
	listed        string
	listedEntries []fs.DirEntry
}

// goneFile is what a file that went leaves to be tidied up when all is hashed: until
// then its identity may show where it went.
type goneFile struct {
	key  []byte
	path string
}

// maxGone bounds what is remembered of that.
const maxGone = 1 << 18

// run lists everything.
func (l *lister) run(ctx context.Context) error {
	l.w = catalog.NewWriter(l.x.stores.KV)
	if l.tree.Name == "." {
		if err := l.dir(ctx, ".", 0); err != nil {
			return err
		}
		return l.w.Flush(ctx)
	}
	fi, err := fs.Lstat(l.tree.FS, l.tree.Name)
	if err != nil {
		return err
	}
	if err := l.merge(ctx, path.Dir(l.tree.Name), []fs.DirEntry{fs.FileInfoToDirEntry(fi)}, 0); err != nil {
		return err
	}
	return l.w.Flush(ctx)
}

func (l *lister) dir(ctx context.Context, dir string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("%s: directories are nested more than %d deep", dir, maxDepth)
	}
	found, err := l.read(dir)
	if err != nil {
		return err
	}
	return l.merge(ctx, dir, found, depth)
}

// read lists a directory in the order of names.
func (l *lister) read(dir string) ([]fs.DirEntry, error) {
	if dir == l.listed {
		found := l.listedEntries
		l.listed, l.listedEntries = "", nil
		return found, nil
	}
	found, err := fs.ReadDir(l.tree.FS, dir)
	if err != nil {
		return nil, err
	}
	if !l.src.Hidden {
		found = slices.DeleteFunc(found, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })
	}
	slices.SortFunc(found, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return found, nil
}

// checkFiles fails if no file is there at all. It looks no further than to the first.
func (l *lister) checkFiles() error {
	if l.tree.Name != "." {
		return nil // the file itself is looked for
	}
	any, err := l.anyFile(".", 0)
	if err == nil && !any {
		err = fmt.Errorf("of %d files: %w", l.status.Files, ErrEmptied)
	}
	return err
}

func (l *lister) anyFile(dir string, depth int) (bool, error) {
	if depth > maxDepth {
		return false, nil // which the listing will report
	}
	found, err := l.read(dir)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(found, func(d fs.DirEntry) bool { return d.Type().IsRegular() }) {
		l.listed, l.listedEntries = dir, found
		return true, nil
	}
	for _, d := range found {
		if d.IsDir() {
			if any, err := l.anyFile(path.Join(dir, d.Name()), depth+1); any || err != nil {
				return any, err
			}
		}
	}
	return false, nil
}

// merge goes through a directory and its entries in the catalog side by side.
func (l *lister) merge(ctx context.Context, dir string, found []fs.DirEntry, depth int) error {
	prefix := catalog.DirPrefix(l.id, dir)
	next, stop := iter.Pull2(catalog.Pages(ctx, l.x.stores.KV, prefix))
	defer stop()
	pair, err, more := next()
	var dirs []string
	for _, d := range found {
		name := d.Name()
		for err == nil && more && string(pair.Key[len(prefix):]) < name {
			if err = l.remove(ctx, dir, pair); err == nil {
				pair, err, more = next()
			}
		}
		if err != nil {
			return err
		}
		var old []byte
		if more && string(pair.Key[len(prefix):]) == name {
			old = pair.Value
		}
		if err = l.entry(ctx, dir, prefix, d, old); err == nil && old != nil {
			pair, err, more = next()
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, d.Name())
		}
	}
	for err == nil && more {
		if err = l.remove(ctx, dir, pair); err == nil {
			pair, err, more = next()
		}
	}
	for i := 0; err == nil && i < len(dirs); i++ {
		err = l.dir(ctx, path.Join(dir, dirs[i]), depth+1)
	}
	return err
}

// entry compares one name. old is the value of the catalog, or nil.
func (l *lister) entry(ctx context.Context, dir string, prefix []byte, d fs.DirEntry, old []byte) error {
	file := path.Join(dir, d.Name())
	if !utf8.ValidString(d.Name()) {
		return fmt.Errorf("%.300q: %w", file, ingest.ErrName)
	}
	if len(d.Name()) > maxName {
		return fmt.Errorf("%.100s…: a name of %d bytes, of at most %d: %w", file, len(d.Name()), maxName, fs.ErrInvalid)
	}
	var was catalog.Entry
	if old != nil {
		var err error
		if was, err = catalog.Decode(old); err != nil {
			return err
		}
	}
	key := append(prefix[:len(prefix):len(prefix)], d.Name()...)
	switch d.Type() {
	case 0:
		return l.file(ctx, file, key, d, was)
	case fs.ModeDir:
		return l.other(ctx, file, key, was, catalog.Entry{Kind: catalog.Dir})
	case fs.ModeSymlink:
		target, err := fs.ReadLink(l.tree.FS, file)
		if err != nil {
			return err
		}
		return l.other(ctx, file, key, was, catalog.Entry{Kind: catalog.Symlink, Target: target})
	}
	return fmt.Errorf("%s: %w", file, ingest.ErrIrregular)
}

// other records a directory or a link.
func (l *lister) other(ctx context.Context, file string, key []byte, was, is catalog.Entry) error {
	if was.Kind == is.Kind && was.Target == is.Target {
		return nil
	}
	if err := l.drop(ctx, file, was); err != nil {
		return err
	}
	l.report.Other++
	return l.change(ctx, kv.Put(key, is.Encode()))
}

func (l *lister) file(ctx context.Context, file string, key []byte, d fs.DirEntry, was catalog.Entry) error {
	fi, err := d.Info()
	if err != nil {
		return err
	}
	l.report.Files++
	l.report.Bytes += fi.Size()
	if was.Kind == catalog.File && was.Location.Version == l.tree.Identity(fi) {
		l.report.Unchanged++
		if !was.Young {
			return nil
		}
		return l.hash(ctx, file, fi.Size()) // it may have changed without showing it
	}
	if was.Kind == catalog.File {
		l.report.Changed++
	} else {
		l.report.New++
	}
	if was.Kind != 0 {
		if err := l.drop(ctx, file, was); err != nil {
			return err
		}
		if err := l.change(ctx, kv.Delete(key)); err != nil {
			return err
		}
	}
	return l.hash(ctx, file, fi.Size())
}

// hash has a file hashed.
func (l *lister) hash(ctx context.Context, file string, size int64) error {
	if err := l.mark(ctx); err != nil {
		return err
	}
	if !l.take(file, size) {
		return errStopped
	}
	return nil
}

// remove takes what is no longer in a directory out of the catalog.
func (l *lister) remove(ctx context.Context, dir string, p kv.Pair) error {
	was, err := catalog.Decode(p.Value)
	if err != nil {
		return err
	}
	if was.Kind == catalog.File {
		l.report.Removed++
	} else {
		l.report.Other++
	}
	if err := l.drop(ctx, path.Join(dir, string(p.Key[len(catalog.DirPrefix(l.id, dir)):])), was); err != nil {
		return err
	}
	return l.change(ctx, kv.Delete(p.Key))
}

// change writes to the catalog.
func (l *lister) change(ctx context.Context, op kv.Op) error {
	if err := l.mark(ctx); err != nil {
		return err
	}
	return l.w.Put(ctx, op)
}

// mark notes, before the first change, that the catalog is ahead of the root.
func (l *lister) mark(ctx context.Context) error {
	if l.status.dirty {
		return nil
	}
	l.status.dirty = true
	return l.x.save(ctx, l.status) // before any worker writes
}

// drop makes unfindable what was under a name, and all below it.
func (l *lister) drop(ctx context.Context, file string, was catalog.Entry) error {
	switch was.Kind {
	case catalog.File:
		if len(was.Same) > 0 && len(l.gone) < maxGone {
			l.gone = append(l.gone, goneFile{was.Same, was.Location.Path})
		}
		return l.change(ctx, index.RemovalOf(was.Location))
	case catalog.Dir:
		for p, err := range catalog.Pages(ctx, l.x.stores.KV, catalog.DirPrefix(l.id, file)) {
			if err == nil {
				err = l.remove(ctx, file, p)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// tidy forgets the identities of files that went and were not found elsewhere.
func (l *lister) tidy(ctx context.Context) error {
	for _, g := range l.gone {
		b, err := l.x.stores.KV.Get(ctx, g.key)
		if err != nil {
			continue
		}
		if same, err := catalog.DecodeSame(b); err == nil && same.Path == g.path {
			if err := l.w.Put(ctx, kv.Delete(g.key)); err != nil {
				return err
			}
		}
	}
	return l.w.Flush(ctx)
}
