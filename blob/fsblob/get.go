package fsblob

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/hashstream/hashstream/blob"
)

const (
	// sendfileMin is the size from which a range is handed to the writer as a
	// file. Below, one pread and one write cost less than sendfile's extra calls.
	sendfileMin = 32 << 10
	bufferSize  = 64 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Get opens n bytes of key from offset off. The object implements [io.WriterTo].
func (s *Store) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	if err := check(ctx, key); err != nil {
		return nil, fmt.Errorf("fsblob: get: %w", err)
	}
	if off < 0 {
		return nil, fmt.Errorf("fsblob: get %s: offset %d: %w", key, off, fs.ErrInvalid)
	}
	h, err := s.files.acquire(key)
	if err != nil {
		return nil, fmt.Errorf("fsblob: get %s: %w", key, absent(err))
	}
	rest := h.info.Size - off
	if rest < 0 {
		h.release()
		return nil, fmt.Errorf("fsblob: get %s at %d of %d bytes: %w", key, off, h.info.Size, blob.ErrRange)
	}
	if n < 0 || n > rest {
		n = rest
	}
	return &object{store: s, h: h, off: off, n: n}, nil
}

// object is a range of a file: n bytes from off are still to be read.
type object struct {
	store  *Store
	h      *handle
	off, n int64
	closed bool
}

func (o *object) Info() blob.Info { return o.h.info }

func (o *object) Close() error {
	if !o.closed {
		o.closed = true
		o.h.release()
	}
	return nil
}

func (o *object) Read(p []byte) (int, error) {
	switch {
	case o.closed:
		return 0, o.fail(fs.ErrClosed)
	case o.n == 0:
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), o.n)]
	k, err := o.h.file.ReadAt(p, o.off)
	o.off += int64(k)
	o.n -= int64(k)
	if k == len(p) {
		return k, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return k, o.fail(err)
}

// WriteTo writes what is left of the range. It gives large ranges to w's ReadFrom
// as an [os.File] inside an [io.LimitedReader], the form that the network
// connections of package net send without copying.
func (o *object) WriteTo(w io.Writer) (int64, error) {
	if o.closed {
		return 0, o.fail(fs.ErrClosed)
	}
	if rf, ok := w.(io.ReaderFrom); ok && o.n >= sendfileMin {
		if n, handled, err := o.send(rf); handled {
			return n, err
		}
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	var sum int64
	for o.n > 0 {
		k, rerr := o.Read(buf[:])
		k, err := w.Write(buf[:k])
		sum += int64(k)
		if err != nil {
			return sum, err
		}
		if rerr != nil {
			return sum, rerr
		}
	}
	return sum, nil
}

func (o *object) send(rf io.ReaderFrom) (n int64, handled bool, err error) {
	f := o.h.takePrivate(o.store)
	if f == nil {
		return 0, false, nil
	}
	defer o.h.putPrivate(f)
	if _, err := f.Seek(o.off, io.SeekStart); err != nil {
		return 0, true, o.fail(err)
	}
	n, err = rf.ReadFrom(&io.LimitedReader{R: f, N: o.n})
	o.off += n
	o.n -= n
	if err == nil && o.n > 0 {
		err = o.fail(io.ErrUnexpectedEOF)
	}
	return n, true, err
}

func (o *object) fail(err error) error {
	return fmt.Errorf("fsblob: read %s at %d: %w", o.h.info.Key, o.off, cause(err))
}
