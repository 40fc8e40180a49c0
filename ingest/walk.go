package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/unixfs"
)

// walker goes through what is to be added in depth-first pre-order, reads, and
// fills batches.
type walker struct {
	*adder
	pipe *pipeline
	cur  *batch
	stay *index.Location // of the file that is read, if it stays where it is
	at   int64           // bytes of it that were read
	from *shared         // of it, if others read it
}

// room returns a batch that takes one more step with n bytes of content.
func (w *walker) room(ctx context.Context, n int) (*batch, error) {
	if b := w.cur; b != nil && len(b.ops) < batchOps && len(b.buf)+n <= batchBytes {
		return b, nil
	}
	w.submit()
	select {
	case b := <-w.pipe.free:
		if b == nil {
			b = &batch{buf: make([]byte, 0, batchBytes), done: make(chan error, 1)}
		}
		w.cur = b
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// submit hands the current batch over. The channels take every batch there is.
func (w *walker) submit() {
	if b := w.cur; b != nil {
		w.pipe.work <- b
		w.pipe.queue <- b
		w.cur = nil
	}
}

func (w *walker) emit(ctx context.Context, o op) error {
	b, err := w.room(ctx, 0)
	if err != nil {
		return err
	}
	b.ops = append(b.ops, o)
	return nil
}

func (w *walker) entry(ctx context.Context, name string, e *entry) error {
	switch e.kind {
	case unixfs.Directory:
		return w.directory(ctx, name, e.dir)
	case unixfs.Symlink:
		return w.symlink(ctx, name, e)
	}
	return w.file(ctx, name, e)
}

func (w *walker) directory(ctx context.Context, name string, d *dir) error {
	l, err := w.scan.relist(name, d)
	if err != nil {
		return err
	}
	return w.node(ctx, name, l, l.shape, &Entry{Path: name, Type: unixfs.Directory, DAGSize: l.shape.Tsize})
}

// node goes through a block of a directory: the directory itself, or a shard of it.
func (w *walker) node(ctx context.Context, name string, l *listing, n *unixfs.DirNode, entity *Entry) error {
	if err := w.emit(ctx, op{kind: opOpen, size: n.Size, cidLen: n.CIDLen, entity: entity}); err != nil {
		return err
	}
	for _, item := range n.Items {
		var err error
		if item.Child != nil {
			err = w.node(ctx, name, l, item.Child, nil)
		} else {
			e := &l.entries[item.Entry]
			err = w.entry(ctx, path.Join(name, e.name), e)
		}
		if err != nil {
			return err
		}
	}
	return w.emit(ctx, op{kind: opClose, dir: n})
}

func (w *walker) symlink(ctx context.Context, name string, e *entry) error {
	target, err := fs.ReadLink(w.scan.fsys, name)
	if err != nil {
		return err
	}
	if int64(len(target)) != e.size {
		return fmt.Errorf("%s: %w", name, ErrChanged)
	}
	b, err := w.o.Profile.Symlink(target)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	entity := &Entry{Path: name, Type: unixfs.Symlink, DAGSize: uint64(len(b.Data))}
	return w.emit(ctx, op{kind: opBlock, block: b, entity: entity})
}

func (w *walker) file(ctx context.Context, name string, e *entry) error {
	if w.o.Stored != nil {
		return w.stored(ctx, name, e)
	}
	r, err := w.open(name, e)
	if err != nil {
		return err
	}
	defer r.Close()
	shape := w.o.Profile.FileRoot(e.size)
	entity := &Entry{Path: name, Type: unixfs.File, Size: e.size, DAGSize: w.o.Profile.Tsize(shape)}
	if err := w.subtree(ctx, name, r, shape, entity); err != nil {
		return err
	}
	return ended(name, r)
}

// ended returns an error unless the last byte of r was read.
func ended(name string, r io.Reader) error {
	var more [1]byte
	if n, err := r.Read(more[:]); n > 0 {
		return fmt.Errorf("%s: %w", name, ErrChanged)
	} else if err != nil && err != io.EOF {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (w *walker) open(name string, e *entry) (io.ReadCloser, error) {
	if e.reader != nil {
		return io.NopCloser(io.NewSectionReader(e.reader, 0, e.size)), nil
	}
	f, err := w.scan.fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrChanged, err)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (!fi.Mode().IsRegular() || fi.Size() != e.size) {
		err = fmt.Errorf("%s: %w", name, ErrChanged)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (w *walker) subtree(ctx context.Context, name string, r io.Reader, s unixfs.Subtree, entity *Entry) error {
	p := w.o.Profile
	if s.Depth == 0 {
		return w.leaf(ctx, name, r, int(s.Bytes), entity)
	}
	if err := w.emit(ctx, op{kind: opOpen, size: p.BlockSize(s), cidLen: p.CIDLen(s), entity: entity}); err != nil {
		return err
	}
	for child := range p.Children(s) {
		if err := w.subtree(ctx, name, r, child, nil); err != nil {
			return err
		}
	}
	return w.emit(ctx, op{kind: opClose, file: s})
}

// leaf reads n bytes into a batch.
func (w *walker) leaf(ctx context.Context, name string, r io.Reader, n int, entity *Entry) error {
	b, err := w.room(ctx, n)
	if err != nil {
		return err
	}
	used := len(b.buf)
	data := b.buf[used : used+n]
	if w.from != nil {
		w.from.left.Add(1)
		w.take(b, name, op{kind: opLeaf, data: data, from: w.from, entity: entity})
		return nil
	}
	switch _, err := io.ReadFull(r, data); err {
	case nil:
	case io.EOF, io.ErrUnexpectedEOF:
		return fmt.Errorf("%s: %w", name, ErrChanged)
	default:
		return fmt.Errorf("%s: %w", name, err)
	}
	w.take(b, name, op{kind: opLeaf, data: data, entity: entity})
	return nil
}

// take adds a leaf to a batch, which has room for it.
func (w *walker) take(b *batch, name string, o op) {
	b.buf = b.buf[:len(b.buf)+len(o.data)]
	if w.stay != nil {
		o.known = &Known{Location: *w.stay, Offset: w.at}
		w.at += int64(len(o.data))
	}
	b.ops = append(b.ops, o)
	b.path = name
}
