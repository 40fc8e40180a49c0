package origin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/origin/catalog"
	"github.com/hashstream/hashstream/pipeline"
)

// task is files of one source to be hashed.
type task struct {
	Source Source   `json:"source"`
	Files  []string `json:"files"`
}

// Bounds of a task.
const (
	taskFiles = 512
	taskBytes = 64 << 20 // of content, unless one file has more
	taskNames = 64 << 10 // bytes of names
)

// Work does a task of a scan. It is a [pipeline.Handler].
func (x *Indexer) Work(ctx context.Context, t pipeline.Task) error {
	var work task
	if err := json.Unmarshal(t.Body, &work); err != nil {
		return pipeline.Permanent(fmt.Errorf("origin: %s: %w: %w", t, digest.ErrMismatch, err))
	}
	tree, closer, err := x.open(ctx, work.Source.URL)
	if err != nil {
		return fmt.Errorf("origin: open %s: %w", work.Source.URL, err)
	}
	defer closer.Close()
	w := worker{x: x, src: work.Source, id: work.Source.id(), tree: tree}
	w.out = catalog.NewWriter(x.stores.KV)
	if w.dst, err = x.stores.Destination(w.src.fileLevel()); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	if w.src.Blob { // found by its own record alone, whatever the level
		w.dst.Blocks = index.NewBlocks(x.stores.KV)
	}
	if err := w.run(ctx, work.Files); err != nil {
		return fmt.Errorf("origin: %s: %w", work.Source.URL, err)
	}
	return nil
}

// worker indexes the files of one task.
type worker struct {
	x    *Indexer
	src  Source
	id   catalog.ID
	tree Tree
	dst  ingest.Destination
	out  *catalog.Writer
}

func (w *worker) run(ctx context.Context, files []string) error {
	var unknown []string
	var failed failures
	for _, name := range files {
		done, err := w.recognise(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went since it was listed; the next scan will say so
		}
		failed.add(err)
		if err == nil && !done {
			unknown = append(unknown, name)
		}
	}
	failed.add(w.hash(ctx, unknown))
	if err := w.out.Flush(ctx); err != nil {
		return err
	}
	return failed.err()
}

// failures are the files of a task that could not be indexed: the first cause, and how
// many more there are.
type failures struct {
	first     error
	more      int
	retryable error // one that is not permanent, or nil
}

func (f *failures) add(err error) {
	var several *failedFiles
	switch {
	case err == nil:
		return
	case errors.As(err, &several):
		f.more += several.more
		err = several.error
	}
	if f.first == nil {
		f.first = err
	} else {
		f.more++
	}
	if !hopeless(err) {
		f.retryable = err
	}
}

// err is permanent if no failure would go away by another attempt.
func (f *failures) err() error {
	switch {
	case f.first == nil:
		return nil
	case f.retryable == nil:
		return pipeline.Permanent(&failedFiles{f.first, f.more})
	}
	return &failedFiles{f.retryable, f.more}
}

// failedFiles is the error of one file, which stands for others.
type failedFiles struct {
	error
	more int
}

func (f *failedFiles) Unwrap() error { return f.error }

func (f *failedFiles) Error() string {
	if f.more == 0 {
		return f.error.Error()
	}
	return fmt.Sprintf("%v (and %d more files)", f.error, f.more)
}

// hopeless reports whether another attempt would fail in the same way.
func hopeless(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, ingest.ErrWrapped) || errors.Is(err, ErrUnversioned)
}

// hash reads files and records them. If one fails the others are taken one by one.
func (w *worker) hash(ctx context.Context, files []string) error {
	if len(files) == 0 {
		return nil
	}
	o := &ingest.Options{Profile: w.src.Profile, Concurrency: w.x.o.Concurrency, PackSize: w.x.o.PackSize}
	o.Trace.Read = func(name string, n int64) {
		pipeline.Count(ctx, "bytes", n)
		if w.x.o.Read != nil {
			w.x.o.Read(name, n)
		}
	}
	place := ingest.Place
	if w.src.Blob {
		place = w.placeBlobs
	}
	placed, err := place(ctx, w.tree.FS, files, w.tree.location, w.dst, o)
	switch {
	case err == nil:
		pipeline.Count(ctx, "files", int64(len(placed)))
		for _, e := range placed {
			if err := w.record(ctx, e.Path, e.Size, e.CID, e.Location); err != nil {
				return err
			}
		}
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case len(files) > 1:
		var failed failures
		for _, name := range files {
			failed.add(w.hash(ctx, []string{name}))
		}
		return failed.err()
	case w.absent(files[0]):
		return nil // as above
	}
	return err
}

func (w *worker) absent(name string) bool {
	_, err := fs.Lstat(w.tree.FS, name)
	return errors.Is(err, fs.ErrNotExist)
}

// record puts a file that is indexed into the catalog.
func (w *worker) record(ctx context.Context, name string, size int64, c cid.Cid, loc index.Location) error {
	e := catalog.Entry{Kind: catalog.File, Size: size, CID: c, Location: loc}
	if w.tree.Same != nil {
		// Asked after the file was hashed: if it was replaced meanwhile, the
		// identity does not fit, and is not kept.
		fi, err := fs.Lstat(w.tree.FS, name)
		if err == nil && fi.Mode().IsRegular() && w.tree.Identity(fi) == loc.Version {
			e.Young = time.Since(fi.ModTime()) < coarse
			if e.Same = w.src.sameKey(w.tree.Same(fi)); !e.Young {
				err = w.out.Put(ctx, kv.Put(e.Same, catalog.Same{CID: c, Path: loc.Path}.Encode()))
			}
			if err != nil {
				return err
			}
		}
	}
	return w.out.Put(ctx, kv.Put(catalog.Key(w.id, name), e.Encode()))
}

// coarse is the coarsest clock of a file system, and then some: what changed a file at an
// earlier time than that shows in its modification time.
const coarse = 3 * time.Second

// recognise reports whether a file need not be hashed: because that was done already,
// or because it was hashed under another name.
func (w *worker) recognise(ctx context.Context, name string) (bool, error) {
	b, err := w.x.stores.KV.Get(ctx, catalog.Key(w.id, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err != nil && w.tree.Same == nil {
		return false, nil
	}
	fi, err := fs.Lstat(w.tree.FS, name)
	if err != nil {
		return false, err
	}
	if !fi.Mode().IsRegular() {
		return false, fmt.Errorf("%s: %w", name, ingest.ErrChanged)
	}
	loc, err := w.tree.location(name, fi)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	if e, err := catalog.Decode(b); err == nil && e.Kind == catalog.File && e.Location == loc {
		return !e.Young, nil
	}
	if w.tree.Same == nil {
		return false, nil
	}
	b, err = w.x.stores.KV.Get(ctx, w.src.sameKey(w.tree.Same(fi)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	same, err := catalog.DecodeSame(b)
	if err != nil {
		return false, err
	}
	if moved, err := w.move(ctx, same.CID, fi.Size(), loc); !moved || err != nil {
		return false, err
	}
	pipeline.Count(ctx, "recognised", 1)
	return true, w.record(ctx, name, fi.Size(), same.CID, loc)
}

// move records the blocks of a file that was hashed elsewhere at loc. It reports false
// if they are not known any more.
func (w *worker) move(ctx context.Context, c cid.Cid, size int64, loc index.Location) (bool, error) {
	if c.Prefix().Codec == cid.Raw && w.dst.Blocks != nil {
		d, err := digest.FromCID(c)
		if err != nil {
			return false, err
		}
		w.dst.Blocks.Put(ctx, d, loc, 0, size)
		return true, w.dst.Blocks.Flush(ctx)
	}
	if w.dst.Record == nil {
		return true, nil
	}
	rec := w.dst.Record()
	err := replay(rec, w.x.blocks(ctx, c, size, loc))
	if err == nil {
		err = rec.Finish(ctx)
	}
	if err != nil {
		err = errors.Join(err, rec.Discard(context.WithoutCancel(ctx)))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
