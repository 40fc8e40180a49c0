package adcar

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
)

const (
	firstRead = 64 << 10 // bytes of an archive that are read at once to open it
	maxHeader = 4 << 10  // bytes of the header of an archive, which has two roots
)

// archiveLimits bounds what is read of an archive.
func archiveLimits() *car.Options {
	return &car.Options{MaxHeader: maxHeader, MaxBlock: ipni.MaxBlock}
}

// errLong reports an archive that goes on beyond the limit.
var errLong = errors.New("the archive is too large")

// ranged reads an object in ranges. It is an [io.ReadSeeker] and an [io.ReaderAt] for as
// long as the call that made it.
type ranged struct {
	get   func(off, n int64) (blob.Object, error)
	first []byte // the beginning
	size  int64  // of the object
	pos   int64
	err   error // of the store
}

// openRanged reads the beginning of an object.
func openRanged(ctx context.Context, g blob.Getter, key string) (*ranged, error) {
	r := &ranged{get: func(off, n int64) (blob.Object, error) { return g.Get(ctx, key, off, n) }}
	obj, err := r.get(0, firstRead)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	r.size = obj.Info().Size
	r.first = make([]byte, max(0, min(r.size, firstRead)))
	if _, err := io.ReadFull(obj, r.first); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return r, nil
}

func (r *ranged) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= r.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), r.size-off)]
	if off+int64(len(want)) <= int64(len(r.first)) {
		copy(want, r.first[off:])
	} else if err := r.fetch(want, off); err != nil {
		r.err = err
		return 0, err
	}
	if len(want) < len(p) {
		return len(want), io.EOF
	}
	return len(want), nil
}

func (r *ranged) fetch(p []byte, off int64) error {
	obj, err := r.get(off, int64(len(p)))
	if err != nil {
		return err
	}
	defer obj.Close()
	_, err = io.ReadFull(obj, p)
	return err
}

func (r *ranged) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.ReadAt(p, r.pos)
	r.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (r *ranged) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += r.pos
	case io.SeekEnd:
		off += r.size
	}
	if off < 0 {
		return 0, fmt.Errorf("seek to %d", off)
	}
	r.pos = off
	return off, nil
}

// unpacked reads what a compressed object holds, up to a limit.
type unpacked struct {
	obj    blob.Object
	zip    io.Reader
	left   int64
	cancel context.CancelFunc
	err    error // of the store
}

// openUnpacked begins to read an object. It goes on after ctx ends, until close.
func openUnpacked(ctx context.Context, g blob.Getter, key string, limit int64) (*unpacked, error) {
	u := &unpacked{left: limit}
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	u.cancel = cancel
	defer context.AfterFunc(ctx, cancel)()
	obj, err := g.Get(detached, key, 0, -1)
	if err != nil {
		cancel()
		return nil, err
	}
	u.obj = obj
	zip, err := gzip.NewReader(tracked{u})
	if err != nil {
		err = u.failure(err)
		u.close()
		return nil, err
	}
	u.zip = zip
	return u, nil
}

// tracked tells errors of the store from those of what it holds.
type tracked struct{ u *unpacked }

func (t tracked) Read(p []byte) (int, error) {
	n, err := t.u.obj.Read(p)
	if err != nil && err != io.EOF {
		t.u.err = err
	}
	return n, err
}

func (u *unpacked) Read(p []byte) (int, error) {
	if u.left <= 0 {
		return 0, errLong
	}
	n, err := u.zip.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	return n, err
}

func (u *unpacked) close() {
	u.cancel()
	u.obj.Close()
}

// failure returns the error of the store if it has failed, else says that the object is damaged.
func (u *unpacked) failure(err error) error { return failure(u.err, err) }

func failure(store, err error) error {
	if store != nil {
		return store
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", digest.ErrMismatch, err)
}
