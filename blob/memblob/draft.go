package memblob

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"sync"

	"github.com/hashstream/hashstream/blob"
)

// Draft starts an object that is written out of order.
func (s *Store) Draft(ctx context.Context) (blob.Draft, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("memblob: draft: %w", context.Cause(ctx))
	}
	return &draft{store: s}, nil
}

type draft struct {
	store *Store
	mu    sync.Mutex
	data  []byte
	ended bool
}

func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("read", off); err != nil {
		return 0, err
	}
	if off >= int64(len(d.data)) {
		return 0, io.EOF
	}
	n := copy(p, d.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *draft) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("write", off); err != nil {
		return 0, err
	}
	if off > math.MaxInt-int64(len(p)) {
		return 0, fmt.Errorf("memblob: write draft: offset %d: %w", off, fs.ErrInvalid)
	}
	if end := off + int64(len(p)); end > int64(len(d.data)) {
		d.resize(end)
	}
	return copy(d.data[off:], p), nil
}

func (d *draft) Truncate(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("truncate", size); err != nil {
		return err
	}
	d.resize(size)
	return nil
}

// resize fills what is new with zeros, also where the array held bytes before.
func (d *draft) resize(size int64) {
	old := len(d.data)
	d.data = slices.Grow(d.data, max(0, int(size)-old))[:size]
	if int(size) > old {
		clear(d.data[old:])
	}
}

func (d *draft) check(verb string, off int64) error {
	if d.ended {
		return fmt.Errorf("memblob: %s draft: %w", verb, fs.ErrClosed)
	}
	if off < 0 {
		return fmt.Errorf("memblob: %s draft: offset %d: %w", verb, off, fs.ErrInvalid)
	}
	return nil
}

// Commit stores the object under key. It ends the draft in any case.
func (d *draft) Commit(ctx context.Context, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	data := d.data
	err := d.check("commit", 0)
	d.data, d.ended = nil, true
	if err != nil {
		return err
	}
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("memblob: commit draft: %w", err)
	}
	d.store.store(key, data, false)
	return nil
}

// Discard ends the draft.
func (d *draft) Discard() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.data, d.ended = nil, true
	return nil
}
