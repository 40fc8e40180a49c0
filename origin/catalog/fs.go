package catalog

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/hashstream/hashstream/kv"
)

// FS is what a catalog knows of a source, as a file system whose files cannot be read.
type FS struct {
	ctx context.Context
	kv  kv.Reader
	id  ID
}

// NewFS returns what store knows of a source, for as long as ctx lives.
func NewFS(ctx context.Context, store kv.Reader, id ID) *FS { return &FS{ctx, store, id} }

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

// Entry returns what is known of a name.
func (c *FS) Entry(name string) (Entry, error) {
	b, err := c.kv.Get(c.ctx, Key(c.id, name))
	if err != nil {
		return Entry{}, err
	}
	return Decode(b)
}

// Open implements [fs.FS] by failing.
func (c *FS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// ReadDir implements [fs.ReadDirFS].
func (c *FS) ReadDir(dir string) ([]fs.DirEntry, error) {
	prefix := DirPrefix(c.id, dir)
	var found []fs.DirEntry
	for p, err := range c.kv.Scan(c.ctx, kv.Prefix(prefix)) {
		if err != nil {
			return nil, err
		}
		e, err := Decode(p.Value)
		if err != nil {
			return nil, err
		}
		found = append(found, fs.FileInfoToDirEntry(info{string(p.Key[len(prefix):]), e.Kind, e.Size}))
	}
	return found, nil
}

// Lstat implements [fs.ReadLinkFS].
func (c *FS) Lstat(name string) (fs.FileInfo, error) {
	if name == "." {
		return info{".", Dir, 0}, nil
	}
	e, err := c.Entry(name)
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return info{path.Base(name), e.Kind, e.Size}, nil
}

// Stat implements [fs.StatFS]. It follows no links.
func (c *FS) Stat(name string) (fs.FileInfo, error) { return c.Lstat(name) }

// ReadLink implements [fs.ReadLinkFS].
func (c *FS) ReadLink(name string) (string, error) {
	e, err := c.Entry(name)
	if err == nil && e.Kind != Symlink {
		err = fs.ErrInvalid
	}
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return e.Target, nil
}

// info describes an entry of the catalog.
type info struct {
	name string
	kind byte
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.kind == Dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	switch i.kind {
	case Dir:
		return fs.ModeDir | 0o755
	case Symlink:
		return fs.ModeSymlink | 0o777
	}
	return 0o644
}
