package origin

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv"
)

// assemble builds the DAG of a source from the catalog.
func (x *Indexer) assemble(ctx context.Context, src Source, name, wrap string) (ingest.Result, []string, error) {
	if src.Blob {
		e, err := (&catalogFS{ctx: ctx, kv: x.stores.KV, id: src.id()}).entry(name)
		return ingest.Result{Root: e.cid, Size: e.size, DAGSize: uint64(e.size), Blocks: 1, Stored: true}, nil, err
	}
	dst, err := x.stores.Destination(src.Level)
	if err != nil {
		return ingest.Result{}, nil, err
	}
	dst.Has, dst.Complete = nil, nil
	catalog := &catalogFS{ctx: ctx, kv: x.stores.KV, id: src.id()}
	o := &ingest.Options{Profile: src.Profile, Hidden: true, Wrap: wrap, PackSize: x.o.PackSize, Concurrency: x.o.Concurrency}
	var packs []string
	o.Trace.Packed = func(_ int, d digest.Digest, _ int64) { packs = append(packs, d.String()) }
	o.Stored = func(ctx context.Context, file string) iter.Seq2[ingest.StoredBlock, error] {
		e, err := catalog.entry(file)
		if err != nil {
			return func(yield func(ingest.StoredBlock, error) bool) { yield(ingest.StoredBlock{}, err) }
		}
		return x.blocks(ctx, e.cid, e.size, e.location)
	}
	res, err := ingest.Add(ctx, catalog, name, dst, o)
	return res, packs, err
}

// catalogFS is what the catalog knows of a source, as a file system whose files cannot
// be read. It lives for one assembly.
type catalogFS struct {
	ctx context.Context
	kv  kv.Reader
	id  sourceID
}

var (
	_ fs.ReadDirFS  = (*catalogFS)(nil)
	_ fs.ReadLinkFS = (*catalogFS)(nil)
)

func (c *catalogFS) entry(name string) (entry, error) {
	b, err := c.kv.Get(c.ctx, append(dirPrefix(c.id, path.Dir(name)), path.Base(name)...))
	if err != nil {
		return entry{}, err
	}
	return decodeEntry(b)
}

// Open implements [fs.FS] by failing.
func (c *catalogFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// ReadDir implements [fs.ReadDirFS].
func (c *catalogFS) ReadDir(dir string) ([]fs.DirEntry, error) {
	prefix := dirPrefix(c.id, dir)
	var found []fs.DirEntry
	for p, err := range c.kv.Scan(c.ctx, kv.Prefix(prefix)) {
		if err != nil {
			return nil, err
		}
		e, err := decodeEntry(p.Value)
		if err != nil {
			return nil, err
		}
		found = append(found, fs.FileInfoToDirEntry(info{string(p.Key[len(prefix):]), e.kind, e.size}))
	}
	return found, nil
}

// Lstat implements [fs.ReadLinkFS].
func (c *catalogFS) Lstat(name string) (fs.FileInfo, error) {
	if name == "." {
		return info{".", kindDir, 0}, nil
	}
	e, err := c.entry(name)
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return info{path.Base(name), e.kind, e.size}, nil
}

// ReadLink implements [fs.ReadLinkFS].
func (c *catalogFS) ReadLink(name string) (string, error) {
	e, err := c.entry(name)
	if err == nil && e.kind != kindSymlink {
		err = fs.ErrInvalid
	}
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return e.target, nil
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
func (i info) IsDir() bool        { return i.kind == kindDir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	switch i.kind {
	case kindDir:
		return fs.ModeDir | 0o755
	case kindSymlink:
		return fs.ModeSymlink | 0o777
	}
	return 0o644
}
