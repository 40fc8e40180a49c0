package fsblob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/blob"
)

// writebackStep is how many written bytes start the disk's work on them, so that
// Commit need not wait for all of it.
const writebackStep = 8 << 20

// Draft starts an object that is written out of order.
func (s *Store) Draft(ctx context.Context) (blob.Draft, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("fsblob: draft: %w", context.Cause(ctx))
	}
	t, err := s.newTemp()
	if err != nil {
		return nil, fmt.Errorf("fsblob: draft: %w", cause(err))
	}
	return &draft{temp: t}, nil
}

type draft struct {
	temp    *temp
	mu      sync.Mutex // orders Commit and Discard
	written atomic.Int64
}

func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.temp.file.ReadAt(p, off)
	return n, d.wrap("read", err)
}

func (d *draft) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.temp.file.WriteAt(p, off)
	if sum := d.written.Add(int64(n)); sum/writebackStep != (sum-int64(n))/writebackStep {
		startWriteback(d.temp.file)
	}
	return n, d.wrap("write", err)
}

func (d *draft) Truncate(size int64) error {
	return d.wrap("truncate", d.temp.file.Truncate(size))
}

// wrap leaves io.EOF as it is: the contract of ReadAt names it.
func (d *draft) wrap(verb string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("fsblob: %s draft: %w", verb, pe.Err)
	}
	return err
}

// Commit makes the object durable under key. It ends the draft in any case.
func (d *draft) Commit(ctx context.Context, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.temp.ended {
		return fmt.Errorf("fsblob: commit draft: %w", fs.ErrClosed)
	}
	defer d.temp.discard()
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("fsblob: commit draft: %w", err)
	}
	if err := d.temp.publish(key, d.temp.store.keep); err != nil {
		return fmt.Errorf("fsblob: commit %s: %w", key, cause(err))
	}
	return nil
}

// Discard ends the draft and frees its space.
func (d *draft) Discard() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.temp.discard()
}

// keep gives the file from the name to, unless there is an object already.
func (s *Store) keep(from, to string) error {
	err := s.root.Link(from, to)
	if err == nil {
		return nil
	}
	fi, serr := s.root.Stat(to)
	switch {
	case serr == nil && fi.Mode().IsRegular():
		return nil
	case errors.Is(err, fs.ErrExist):
		return err // a directory, or a link that leads nowhere
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, os.ErrPermission):
		// No hard links here. Two writers of one key may both get this far; they
		// carry the same content.
		return s.root.Rename(from, to)
	}
	return err
}
