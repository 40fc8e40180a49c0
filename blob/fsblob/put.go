package fsblob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// Put stores what r yields under key.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("fsblob: put: %w", err)
	}
	t, err := s.newTemp()
	if err != nil {
		return fmt.Errorf("fsblob: put %s: %w", key, cause(err))
	}
	defer t.discard()
	if err := t.fill(ctx, r); err != nil {
		return fmt.Errorf("fsblob: put %s: %w", key, cause(err))
	}
	if err := t.publish(key, s.root.Rename); err != nil {
		return fmt.Errorf("fsblob: put %s: %w", key, cause(err))
	}
	return nil
}

// temp is a file that has no name yet. Its lock tells others that we live.
type temp struct {
	store *Store
	file  *os.File
	name  string
	ended bool
}

func (s *Store) newTemp() (*temp, error) {
	for {
		name := path.Join(tmpDir, rand.Text())
		f, err := s.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if errors.Is(err, fs.ErrNotExist) {
			if err = s.root.Mkdir(tmpDir, dirMode); err == nil || errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		// Between its creation and our lock somebody's removeStale may have taken
		// the file for stale. Then it holds the lock, or the name is gone.
		held, err := lock(f)
		if held || err != nil {
			if fi, err := s.root.Stat(name); err == nil && sameFile(f, fi) {
				return &temp{store: s, file: f, name: name}, nil
			}
		}
		f.Close()
	}
}

func sameFile(f *os.File, fi fs.FileInfo) bool {
	own, err := f.Stat()
	return err == nil && os.SameFile(own, fi)
}

func (t *temp) fill(ctx context.Context, r io.Reader) error {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf[:])
		if _, werr := t.file.Write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// publish makes the file durable under key. Name gives it that name in one step:
// Rename replaces what is there, Link does not.
func (t *temp) publish(key string, name func(from, to string) error) error {
	if err := t.file.Sync(); err != nil {
		return err
	}
	if err := t.store.makeDir(path.Dir(key)); err != nil {
		return err
	}
	if err := name(t.name, key); err != nil {
		return err
	}
	return t.store.syncDir(path.Dir(key))
}

// discard ends the use of the file and removes its temporary name if it still
// has one. The name goes first: while the lock is held nobody else takes it.
func (t *temp) discard() error {
	if t.ended {
		return nil
	}
	t.ended = true
	err := t.store.root.Remove(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, t.file.Close())
}

// makeDir creates dir and its parents, durably.
func (s *Store) makeDir(dir string) error {
	if fi, err := s.root.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	parent := path.Dir(dir)
	if err := s.makeDir(parent); err != nil {
		return err
	}
	err := s.root.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrExist) {
		if fi, serr := s.root.Stat(dir); serr == nil && fi.IsDir() {
			return nil // another writer was faster
		}
		return syscall.ENOTDIR
	}
	if err != nil {
		return err
	}
	return s.syncDir(parent)
}

// removeStale removes temporary files whose writer is gone. What cannot be
// removed stays: it harms nobody, and the directory may be read-only.
func (s *Store) removeStale() {
	d, err := s.root.Open(tmpDir)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		name = path.Join(tmpDir, name)
		f, err := s.open(name, os.O_RDONLY|syscall.O_NONBLOCK)
		if err != nil {
			continue
		}
		if held, _ := lock(f); held {
			s.root.Remove(name)
		}
		f.Close()
	}
}
