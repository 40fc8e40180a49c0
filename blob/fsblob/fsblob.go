// Package fsblob stores objects as files below one directory.
//
// A key is the path of its file. Everything happens inside an [os.Root]: no key
// and no symbolic link leads out of the directory. A link to a file inside it is
// an object like any other; links to directories are not listed.
//
// Objects are written to a file in the directory ".tmp" of the root, synced, given
// their name in one step, and the directory is synced too. A crash therefore
// leaves whole objects and perhaps a file in ".tmp". A writer holds a lock
// (flock) on each of its temporary files; [Open] removes those that nobody holds.
// Keys below ".tmp" are malformed.
//
// Readers share a bounded number of open files. What [Store.Get] returns
// implements [io.WriterTo] and hands large ranges to the writer's
// [io.ReaderFrom], so that net/http sends them with sendfile.
//
// # Errors
//
// As package blob says. A directory is no object: reading it matches
// [io/fs.ErrNotExist]. A file that became shorter than it was when it was opened
// gives [io.ErrUnexpectedEOF], never a silent short read. A full disk gives the
// system's error, and nothing is stored.
//
// A Store is safe for concurrent use, and several processes may share a directory.
package fsblob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/hashstream/hashstream/blob"
)

// tmpDir holds files that have no name yet. It is inside the root because a
// rename must not leave the file system.
const tmpDir = ".tmp"

const (
	fileMode = 0o644
	dirMode  = 0o755
)

// Options tunes a [Store].
type Options struct {
	// OpenFiles is how many files are kept open for the next read. Default 128.
	OpenFiles int
}

// Store keeps objects in a directory. It implements [blob.Store] and [blob.Drafter].
type Store struct {
	root  *os.Root
	dir   *os.File // the root again, for calls that need its descriptor
	files *handles
}

var (
	_ blob.Store   = (*Store)(nil)
	_ blob.Drafter = (*Store)(nil)
)

// Open opens the store in dir and creates the directory if it is absent. It
// removes what writers that no longer live left behind.
func Open(dir string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("fsblob: open: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("fsblob: open: %w", err)
	}
	f, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("fsblob: open: %w", err)
	}
	s := &Store{root: root, dir: f}
	s.files = newHandles(s, o.OpenFiles)
	s.removeStale()
	return s, nil
}

// Close closes the shared files. Objects that are open stay readable until they
// are closed; other calls fail.
func (s *Store) Close() error {
	s.files.close()
	return errors.Join(s.dir.Close(), s.root.Close())
}

// Stat describes key.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := check(ctx, key); err != nil {
		return blob.Info{}, fmt.Errorf("fsblob: stat: %w", err)
	}
	fi, err := s.root.Stat(key)
	if err == nil && !fi.Mode().IsRegular() {
		err = irregular(fi)
	}
	if err != nil {
		return blob.Info{}, fmt.Errorf("fsblob: stat %s: %w", key, absent(err))
	}
	return info(key, fi), nil
}

// Delete removes key, durably. Directories that become empty stay, because a
// writer may be about to put something there.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("fsblob: delete: %w", err)
	}
	s.files.forget(key)
	fi, err := s.root.Lstat(key)
	if err == nil && fi.IsDir() {
		return nil // Remove would take an empty directory away
	}
	if err == nil {
		err = s.root.Remove(key)
	}
	if err == nil {
		err = s.syncDir(path.Dir(key))
	}
	if err = absent(err); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("fsblob: delete %s: %w", key, err)
	}
	return nil
}

func (s *Store) syncDir(name string) error {
	d, err := s.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// check is what every call does first.
func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	if key == tmpDir || strings.HasPrefix(key, tmpDir+"/") {
		return fmt.Errorf("blob: key %q is reserved: %w", key, fs.ErrInvalid)
	}
	return nil
}

func irregular(fi fs.FileInfo) error {
	if fi.IsDir() {
		return fs.ErrNotExist
	}
	return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
}

// cause drops the path that os puts into its errors: ours names the key.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}

// absent is cause for reads: below a file there is nothing.
func absent(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return fs.ErrNotExist
	}
	return cause(err)
}
