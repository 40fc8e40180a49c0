package origin

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/unixfs"
)

// placeBlobs is [ingest.Place] of files that are one block each.
func (w *worker) placeBlobs(ctx context.Context, fsys fs.FS, names []string, location func(string, fs.FileInfo) (index.Location, error), _ ingest.Destination, o *ingest.Options) (placed []ingest.Entry, err error) {
	h := bao.NewHasher(&bao.HasherOptions{Workers: o.Concurrency})
	for _, name := range names {
		e, err := w.placeBlob(ctx, fsys, name, location, h, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		placed = append(placed, e)
	}
	return placed, nil
}

func (w *worker) placeBlob(ctx context.Context, fsys fs.FS, name string, location func(string, fs.FileInfo) (index.Location, error), h *bao.Hasher, o *ingest.Options) (ingest.Entry, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return ingest.Entry{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return ingest.Entry{}, err
	}
	if !fi.Mode().IsRegular() {
		return ingest.Entry{}, ingest.ErrChanged
	}
	loc, err := location(name, fi)
	if err != nil {
		return ingest.Entry{}, err
	}
	same := func(size int64) error {
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		if now, err := location(name, fi); err != nil || now != loc || size != fi.Size() {
			return ingest.ErrChanged
		}
		return nil
	}
	res, err := single.Place(ctx, told{f, func(n int64) { o.Trace.Read(name, n) }}, loc, same, w.x.stores.KV, h)
	if err != nil {
		return ingest.Entry{}, err
	}
	return ingest.Entry{Path: name, CID: res.Digest.CID(cid.Raw), Type: unixfs.File, Size: res.Size, DAGSize: uint64(res.Size), Location: loc}, nil
}

// told tells what is read.
type told struct {
	io.Reader
	tell func(n int64)
}

func (t told) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	t.tell(int64(n))
	return n, err
}
