package cacheblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/blob"
)

// object is a range, of which the bytes from off to end are still to come.
type object struct {
	store    *Store
	ctx      context.Context // of Get: pages are fetched when they are read
	info     blob.Info
	off, end int64
	page     *page       // what is being read, may be nil
	run      blob.Object // what is being fetched, may be nil
	at       int64       // where run stands
	runEnd   int64       // where run ends
	closed   bool
}

func (s *Store) object(ctx context.Context, info blob.Info, off, n int64) *object {
	end := info.Size
	if n >= 0 && n < end-off {
		end = off + n
	}
	return &object{store: s, ctx: ctx, info: info, off: off, end: end}
}

func (o *object) Info() blob.Info { return o.info }

func (o *object) Read(b []byte) (int, error) {
	if o.closed {
		return 0, fmt.Errorf("cacheblob: read %s: %w", o.info.Key, fs.ErrClosed)
	}
	if o.off >= o.end {
		return 0, io.EOF
	}
	for {
		if err := o.turn(); err != nil {
			return 0, err
		}
		within := o.off - o.page.header.page*o.store.pageSize()
		n, err := o.page.readAt(b[:min(int64(len(b)), o.end-o.off)], within)
		o.off += int64(n)
		if n > 0 || len(b) == 0 {
			return n, nil
		}
		o.lose(err)
	}
}

// lose gives a page up that the disk does not yield any more.
func (o *object) lose(err error) {
	at := o.store.id(o.info.Key, o.page.header.page)
	o.drop()
	o.store.cache.drop(o.ctx, at, fmt.Errorf("cacheblob: read a page of %s: %w", o.info.Key, err))
}

// turn makes o.page the one that holds o.off.
func (o *object) turn() error {
	size := o.store.pageSize()
	if o.page != nil && o.page.header.page == o.off/size {
		return nil
	}
	o.drop()
	at := o.store.id(o.info.Key, o.off/size)
	for {
		if p := o.store.open(o.ctx, o.info.Key, o.off/size); p != nil {
			if same(p.header.info, o.info) {
				o.take(p, true)
				return nil
			}
			o.store.cache.close(p)
			o.store.cache.drop(o.ctx, at, nil)
		}
		done := o.store.cache.join(at)
		if done == nil {
			defer o.store.cache.leave(at)
			return o.fill()
		}
		select {
		case <-done:
		case <-o.ctx.Done():
			return fmt.Errorf("cacheblob: read %s: %w", o.info.Key, context.Cause(o.ctx))
		}
	}
}

// fill fetches the page that holds o.off, and keeps it. Whoever calls it has joined.
func (o *object) fill() error {
	s := o.store
	start := o.off / s.pageSize() * s.pageSize()
	if o.run == nil || o.at != start || o.at >= o.runEnd {
		o.stop()
		if err := o.start(); err != nil {
			return err
		}
	}
	n := min(s.pageSize(), o.info.Size-start)
	buf := s.cache.buffers.Get().(*[]byte)
	k, err := io.ReadFull(o.run, (*buf)[:n])
	o.at += int64(k)
	if err != nil {
		s.cache.buffers.Put(buf)
		o.stop()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("cacheblob: fetch %s at %d: %w", o.info.Key, o.at, err)
	}
	h := header{store: s.name, page: start / s.pageSize(), payload: k, info: o.info}
	if r, ok := o.run.(blob.Rechecker); ok {
		if err := r.Recheck(); err != nil {
			s.cache.buffers.Put(buf)
			return err
		}
	}
	s.cache.keep(o.ctx, s.id(o.info.Key, h.page), h, (*buf)[:k])
	o.take(&page{header: h, buffer: buf}, false)
	return nil
}

// start opens a run of missing pages, of the same object.
func (o *object) start() error {
	s := o.store
	start, want := s.missing(o.info.Key, o.off, o.end-o.off)
	want = min(want, o.info.Size-start)
	run, err := s.fetch(o.ctx, o.info.Key, o.info.Identity, start, want)
	if err == nil && !same(run.Info(), o.info) {
		run.Close()
		err = fmt.Errorf("cacheblob: fetch %s at %d: %w", o.info.Key, start, blob.ErrChanged)
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // or an immutable object would be stuck between two contents
			s.forget(o.info.Key, o.info.Size)
		}
		return err
	}
	o.run, o.at, o.runEnd = run, start, start+want
	return nil
}

func (o *object) take(p *page, hit bool) {
	o.page = p
	if t := o.store.cache.options.Trace.Page; t != nil {
		t(o.ctx, hit, p.header.payload)
	}
}

func (o *object) drop() {
	if o.page != nil {
		o.store.cache.close(o.page)
		o.page = nil
	}
}

func (o *object) stop() {
	if o.run != nil {
		o.run.Close()
		o.run = nil
	}
}

// Close ends the reading and the fetching.
func (o *object) Close() error {
	if !o.closed {
		o.closed = true
		o.drop()
		o.stop()
	}
	return nil
}

// fileObject is an object that was all on disk when it was opened.
type fileObject struct{ *object }

// WriteTo writes what is left of the range. It gives files to w's ReadFrom as an [os.File]
// inside an [io.LimitedReader], the form that the network connections of package net send
// without copying.
func (o fileObject) WriteTo(w io.Writer) (int64, error) {
	rf, ok := w.(io.ReaderFrom)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{o.object})
	}
	var sum int64
	for o.off < o.end {
		if o.closed {
			return sum, fmt.Errorf("cacheblob: read %s: %w", o.info.Key, fs.ErrClosed)
		}
		if err := o.turn(); err != nil {
			return sum, err
		}
		p := o.page
		within := o.off - p.header.page*o.store.pageSize()
		left := min(int64(p.header.payload)-within, o.end-o.off)
		var r io.Reader
		if p.file != nil {
			if _, err := p.file.Seek(p.start+within, io.SeekStart); err != nil {
				return sum, fmt.Errorf("cacheblob: read %s: %w", o.info.Key, err)
			}
			r = p.file
		} else {
			r = io.NewSectionReader(&memory{p}, within, left)
		}
		n, err := rf.ReadFrom(&io.LimitedReader{R: r, N: left})
		sum += n
		o.off += n
		if err != nil {
			return sum, err
		}
		if n < left {
			o.lose(io.ErrUnexpectedEOF)
		}
	}
	return sum, nil
}

// memory reads a page that is not in a file.
type memory struct{ *page }

func (m *memory) ReadAt(b []byte, off int64) (int, error) { return m.readAt(b, off) }
