package unpack

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
)

// bufferSize gathers the bytes of small leaves; larger ones are written directly.
const bufferSize = 64 << 10

// Writer writes the bytes of the file root to out. Anything but a file matches
// [dag.ErrNotFile]. What fails midway has written a part: callers that need all or
// nothing use [Tree] or [File].
func Writer(ctx context.Context, src block.Source, root cid.Cid, out io.Writer, o *Options) (Stats, error) {
	w := newWriter(src, o)
	if err := w.content(ctx, src, root, out); err != nil {
		return w.stats, fmt.Errorf("unpack: write %s: %w", root, err)
	}
	w.stats.Files++
	return w.stats, nil
}

// CAR writes blocks as a CARv1 with one root, and returns how many there were. As
// with [Writer], a failure leaves a part behind.
func CAR(ctx context.Context, blocks iter.Seq2[block.Block, error], root cid.Cid, out io.Writer) (int64, error) {
	var n int64
	w, err := car.NewWriter(out, root)
	if err != nil {
		return 0, fmt.Errorf("unpack: write car of %s: %w", root, err)
	}
	for b, err := range blocks {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = w.Write(b)
		}
		if err != nil {
			return n, fmt.Errorf("unpack: write car of %s: %w", root, err)
		}
		n++
	}
	return n, nil
}

// File writes name in dir with what fill writes: whole, or not at all.
func File(dir *os.Root, name string, o *Options, fill func(io.Writer) error) error {
	w := newWriter(nil, o)
	err := replace(dir, name, &w.o, func(tmp string) error {
		return w.create(dir, tmp, fill)
	})
	if err != nil {
		return fmt.Errorf("unpack: write %q: %w", name, err)
	}
	return nil
}

// file writes a file entity, of which b is the root block.
func (w *writer) file(ctx context.Context, dir *os.Root, name string, b block.Block) error {
	d, err := digest.FromCID(b.CID)
	if err != nil {
		return err
	}
	src := primed{w.src, d, b}
	return w.create(dir, name, func(out io.Writer) error { return w.content(ctx, src, b.CID, out) })
}

// create makes a new file, never opening an old one nor following a link.
func (w *writer) create(dir *os.Root, name string, fill func(io.Writer) error) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w.buf.Reset(f)
	err = fill(w.buf)
	if err == nil {
		err = w.buf.Flush()
	}
	if err == nil && w.o.Sync {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// content writes the bytes of the file root.
func (w *writer) content(ctx context.Context, src block.Source, root cid.Cid, out io.Writer) error {
	for data, err := range dag.FileBytes(ctx, src, root) {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		w.stats.Bytes += int64(len(data))
		if w.o.MaxBytes > 0 && w.stats.Bytes > w.o.MaxBytes {
			return fmt.Errorf("%w: more than %d bytes", ErrLimit, w.o.MaxBytes)
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
		w.o.Progress(int64(len(data)))
	}
	return nil
}
