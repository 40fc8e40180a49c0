// Package blobfs shows the objects of a store as a file system, in which slashes in keys
// separate directories. A file is read ahead in parallel ranges, all of one version.
//
// # Errors
//
// They are those of the store, and of package [io/fs]. A key that is an object and a
// directory at once is an error of the directory above, for it has no place in a tree.
//
// A [FS] is safe for concurrent use; a file belongs to one goroutine.
package blobfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashstream/hashstream/blob"
)

// Store is what a FS reads.
type Store interface {
	blob.Getter
	blob.Conditional
	blob.Stater
}

// Entry is an object or a directory directly below a prefix.
type Entry struct {
	Name string
	Dir  bool
	Info blob.Info // of an object
}

// FS is a store as a file system.
type FS struct {
	ctx   context.Context
	store Store
	list  func(ctx context.Context, prefix string) iter.Seq2[Entry, error]
	o     Options
}

// Options tunes a [FS]. Zero values mean the defaults.
type Options struct {
	Range int64 // bytes of one ranged read; default 4 MiB
	Ahead int   // ranges that are read ahead of the one that is wanted; default 3
}

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
)

// New returns the objects of store as a file system for as long as ctx lives. List
// yields what is directly below a prefix, which is empty or ends with a slash, in any
// order; nil means that there are no listings.
func New(ctx context.Context, store Store, list func(ctx context.Context, prefix string) iter.Seq2[Entry, error], o *Options) *FS {
	f := &FS{ctx: ctx, store: store, list: list}
	if o != nil {
		f.o = *o
	}
	if f.o.Range <= 0 {
		f.o.Range = 4 << 20
	}
	if f.o.Ahead <= 0 {
		f.o.Ahead = 3
	}
	return f
}

// ReadDir implements [fs.ReadDirFS].
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	if f.list == nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.ErrUnsupported}
	}
	prefix := ""
	if name != "." {
		prefix = name + "/"
	}
	var found []fs.DirEntry
	for e, err := range f.list(f.ctx, prefix) {
		if err != nil {
			return nil, err
		}
		found = append(found, fs.FileInfoToDirEntry(info{e.Name, e.Dir, e.Info}))
	}
	slices.SortFunc(found, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for i := 1; i < len(found); i++ {
		if found[i].Name() == found[i-1].Name() {
			return nil, fmt.Errorf("blobfs: %s is an object and a directory at once: %w", prefix+found[i].Name(), fs.ErrInvalid)
		}
	}
	return found, nil
}

// Stat implements [fs.StatFS]. Only objects and the root have a description.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return info{".", true, blob.Info{}}, nil
	}
	i, err := f.store.Stat(f.ctx, name)
	if err != nil {
		return nil, err
	}
	return info{path.Base(name), false, i}, nil
}

// Lstat implements [fs.ReadLinkFS].
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.Stat(name) }

// ReadLink implements [fs.ReadLinkFS]. There are no links.
func (f *FS) ReadLink(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
}

// Open implements [fs.FS] for objects.
func (f *FS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	ctx, cancel := context.WithCancel(f.ctx)
	first, err := f.store.Get(ctx, name, 0, f.o.Range)
	if err != nil {
		cancel()
		return nil, err
	}
	file := &file{ctx: ctx, cancel: cancel, store: f.store, o: f.o, key: name, info: first.Info(), cur: first}
	file.next = min(f.o.Range, file.info.Size)
	file.fill()
	return file, nil
}

// Identity returns the [blob.Info.Identity] of what a FS describes.
func Identity(fi fs.FileInfo) string {
	i, _ := fi.Sys().(blob.Info)
	return i.Identity
}

// info describes an object or a directory.
type info struct {
	name string
	dir  bool
	blob blob.Info
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.blob.Size }
func (i info) ModTime() time.Time { return i.blob.ModTime }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return i.blob }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// file reads one version of an object.
type file struct {
	ctx    context.Context
	cancel context.CancelFunc
	store  Store
	o      Options
	key    string
	info   blob.Info
	cur    io.ReadCloser  // the range that is read, or nil
	ahead  []chan fetched // the ranges after it, in order
	next   int64          // where the one after them begins
}

// fetched is a range, whole in memory.
type fetched struct {
	data []byte
	err  error
}

func (f *file) Stat() (fs.FileInfo, error) { return info{path.Base(f.key), false, f.info}, nil }

// fill starts reading ahead.
func (f *file) fill() {
	for len(f.ahead) < f.o.Ahead && f.next < f.info.Size {
		off, n := f.next, min(f.o.Range, f.info.Size-f.next)
		one := make(chan fetched, 1)
		go func() {
			data, err := f.fetch(off, n)
			one <- fetched{data, err}
		}()
		f.ahead = append(f.ahead, one)
		f.next += n
	}
}

func (f *file) fetch(off, n int64) ([]byte, error) {
	obj, err := f.store.GetIf(f.ctx, f.key, f.info.Identity, off, n)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	data := make([]byte, n)
	_, err = io.ReadFull(obj, data)
	return data, err
}

// Read implements [io.Reader].
func (f *file) Read(p []byte) (int, error) {
	for {
		if f.cur == nil {
			if len(f.ahead) == 0 {
				return 0, io.EOF
			}
			got := <-f.ahead[0]
			if got.err != nil {
				f.ahead[0] <- got // it stays that way
				return 0, got.err
			}
			f.ahead = f.ahead[1:]
			f.fill()
			f.cur = &inMemory{got.data}
		}
		n, err := f.cur.Read(p)
		if err == io.EOF {
			f.cur.Close()
			f.cur, err = nil, nil
			if n == 0 && len(p) > 0 {
				continue
			}
		}
		return n, err
	}
}

// Close implements [io.Closer]. What is read ahead is given up.
func (f *file) Close() error {
	f.cancel()
	for _, one := range f.ahead {
		<-one
	}
	f.ahead = nil
	if f.cur != nil {
		f.cur.Close()
	}
	return nil
}

// inMemory is a range at hand.
type inMemory struct{ rest []byte }

func (m *inMemory) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func (m *inMemory) Close() error { return nil }
