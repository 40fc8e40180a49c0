// Package treeblob reads the files of a directory tree that belongs to others: they
// stay as they are, and may be changed at any time.
//
// A key is a slash-separated path below the directory. No symbolic link leads out of
// it, and only regular files are read.
//
// # Errors
//
// An absent file matches [io/fs.ErrNotExist], one that is no longer what it was
// [blob.ErrChanged], a range that starts beyond the file [blob.ErrRange].
//
// A [Tree] is safe for concurrent use.
package treeblob

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/hashstream/hashstream/blob"
)

// Tree is a directory and what is below it.
type Tree struct{ root *os.Root }

var (
	_ blob.Conditional = (*Tree)(nil)
	_ blob.Getter      = (*Tree)(nil)
	_ blob.Stater      = (*Tree)(nil)
)

// Open opens the directory dir, which the caller closes.
func Open(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("treeblob: %w", err)
	}
	return &Tree{root}, nil
}

// Close closes the directory. Objects that are open stay readable.
func (t *Tree) Close() error { return t.root.Close() }

// FS returns the tree as a file system that can read links.
func (t *Tree) FS() fs.FS { return rootFS{t.root.FS().(rootMethods), t.root} }

// Stat describes key.
func (t *Tree) Stat(ctx context.Context, key string) (blob.Info, error) {
	obj, err := t.Get(ctx, key, 0, 0)
	if err != nil {
		return blob.Info{}, err
	}
	return obj.Info(), obj.Close()
}

// Get opens n bytes of key from offset off.
func (t *Tree) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	return t.GetIf(ctx, key, "", off, n)
}

// GetIf opens n bytes of key from offset off, if its [Identity] is the one given or
// that is empty. The object is a [blob.Rechecker].
func (t *Tree) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, fmt.Errorf("treeblob: get: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("treeblob: get %s: %w", key, err)
	}
	o, err := t.open(key, identity, off, n)
	if err != nil {
		return nil, fmt.Errorf("treeblob: get %s: %w", key, err)
	}
	return o, nil
}

func (t *Tree) open(key, identity string, off, n int64) (*object, error) {
	f, fi, err := openRegular(t.root, key)
	if err != nil {
		return nil, err
	}
	o := &object{file: f, off: off, state: stateOf(fi), info: info(key, fi)}
	switch {
	case identity != "" && identity != o.info.Identity:
		err = blob.ErrChanged
	case off < 0:
		err = fs.ErrInvalid
	case off > o.info.Size:
		err = fmt.Errorf("at %d of %d bytes: %w", off, o.info.Size, blob.ErrRange)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	o.n = o.info.Size - off
	if n >= 0 {
		o.n = min(n, o.n)
	}
	return o, nil
}

// openRegular opens a file, and nothing that blocks or acts when it is opened.
func openRegular(root *os.Root, key string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, absent(err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("it is %s, no regular file: %w", kind(fi.Mode()), blob.ErrChanged)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	}
	return "something else"
}

// object is a range of a file: n bytes from off are still to be read.
type object struct {
	file   *os.File
	off, n int64
	state  state
	info   blob.Info
}

func (o *object) Info() blob.Info { return o.info }
func (o *object) Close() error    { return o.file.Close() }

func (o *object) Read(p []byte) (int, error) {
	if o.n == 0 {
		return 0, io.EOF
	}
	k, err := o.file.ReadAt(p[:min(int64(len(p)), o.n)], o.off)
	o.off += int64(k)
	o.n -= int64(k)
	if err == io.EOF && o.n > 0 { // it is shorter than it was
		return k, fmt.Errorf("treeblob: read %s at %d: %w", o.info.Key, o.off, blob.ErrChanged)
	}
	if err == io.EOF {
		err = nil
	}
	return k, err
}

// Recheck implements [blob.Rechecker].
func (o *object) Recheck() error {
	fi, err := o.file.Stat()
	if err == nil && stateOf(fi) != o.state {
		err = blob.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("treeblob: %s: %w", o.info.Key, err)
	}
	return nil
}

func info(key string, fi fs.FileInfo) blob.Info {
	return blob.Info{Key: key, Size: fi.Size(), ModTime: fi.ModTime(), Version: stateOf(fi).version(time.Now()), Identity: Identity(fi)}
}
