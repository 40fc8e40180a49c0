// Package blob is the seam to bytes by key: packs, raw files, anything that is
// stored whole and read in ranges. A backend is a file system, memory, an HTTP
// server or a bucket; package blobtest holds the suite that each must pass.
//
// Keys are UTF-8, slash-separated and relative: no empty, "." or ".." segment, no
// zero byte. A store may reserve names for itself and call them malformed.
//
// # Errors
//
// An absent key matches [io/fs.ErrNotExist], a malformed one [io/fs.ErrInvalid], a
// range that starts beyond the object [ErrRange], an object that is no longer the one
// that was asked for [ErrChanged].
//
// Stores are safe for concurrent use, by several processes too.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrRange reports a read that starts beyond the end of an object.
var ErrRange = errors.New("range starts beyond the end of the object")

// ErrChanged reports an object that is not the one whose identity was given. The one
// that was meant is absent, so it matches [io/fs.ErrNotExist].
var ErrChanged = fmt.Errorf("the object has changed: %w", fs.ErrNotExist)

// Info describes a stored object.
type Info struct {
	Key     string
	Size    int64     // in bytes
	ModTime time.Time // zero where the store has none
	// Version changes whenever the content may have changed: an ETag, or a file's
	// identity. Whoever checked the bytes of one version need not check them again.
	// Empty means that the store cannot tell.
	Version string
	// Identity is what tells this content from what replaces it, and can be remembered
	// longer than a process lives: an ETag; size, modification time and inode of a
	// file. A rename or a hard link keeps it. It is weaker than Version where the
	// store's clock is coarse. Empty means that the store cannot tell.
	Identity string
}

// Object is an open range of a stored object. One that implements [io.WriterTo]
// can be sent without passing through memory and may be read again cheaply.
type Object interface {
	io.ReadCloser
	// Info describes the whole object, as it was when the range was opened.
	Info() Info
}

// Getter reads.
type Getter interface {
	// Get opens n bytes of key from offset off; n < 0 means to the end. A range
	// that reaches over the end is cut there, and one that starts at the end is
	// empty. The caller closes the object.
	Get(ctx context.Context, key string, off, n int64) (Object, error)
}

// Conditional is a Getter that can demand that an object is still the one it was, in the
// same request that reads it.
type Conditional interface {
	// GetIf is Get of the object that had identity, an [Info.Identity] of this store:
	// if another stands there now, the error matches [ErrChanged]. So does an error
	// of the object's Read once it notices that it would mix the two.
	GetIf(ctx context.Context, key, identity string, off, n int64) (Object, error)
}

// Rechecker is an [Object] whose bytes may be changed by others while they are read.
type Rechecker interface {
	// Recheck returns an error that matches [ErrChanged] unless everything that was
	// read so far belongs to what [Object] describes.
	Recheck() error
}

// Putter writes whole objects.
type Putter interface {
	// Put stores what r yields under key, replacing what was there. The object
	// appears whole and durable, or not at all: an error of r stores nothing.
	Put(ctx context.Context, key string, r io.Reader) error
}

// Lister enumerates.
type Lister interface {
	// List yields the objects whose key begins with prefix, ordered by key.
	// Objects that are half-written are never listed.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// Deleter removes.
type Deleter interface {
	// Delete removes key. To remove an absent key is no error.
	Delete(ctx context.Context, key string) error
}

// Stater describes without opening.
type Stater interface {
	// Stat describes key.
	Stat(ctx context.Context, key string) (Info, error)
}

// Store is everything.
type Store interface {
	Getter
	Putter
	Lister
	Deleter
	Stater
}

// Draft is an object that is written out of order before it has a name.
type Draft interface {
	io.ReaderAt
	io.WriterAt
	// Truncate sets the size in bytes.
	Truncate(size int64) error
	// Commit makes the object durable under key and ends the draft. If key exists,
	// Commit keeps the object that is there (drafts are named by their content).
	// If it fails nothing is stored, and the draft has ended too.
	Commit(ctx context.Context, key string) error
	// Discard ends the draft and frees its space. After Commit it does nothing.
	Discard() error
}

// Drafter is a store that can start drafts next to where they will be stored.
type Drafter interface {
	Draft(ctx context.Context) (Draft, error)
}

// Read returns n bytes of key from off, all of them: fewer is an error that
// matches [io.ErrUnexpectedEOF].
func Read(ctx context.Context, g Getter, key string, off, n int64) ([]byte, error) {
	obj, err := g.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	if have := obj.Info().Size - off; n < 0 || n > have { // before anything is allocated
		return nil, fmt.Errorf("blob: read %s at %d+%d of %d bytes: %w", key, off, n, obj.Info().Size, io.ErrUnexpectedEOF)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(obj, b); err != nil {
		return nil, fmt.Errorf("blob: read %s at %d+%d: %w", key, off, n, noEOF(err))
	}
	return b, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// CheckKey returns an error that matches [io/fs.ErrInvalid] if key is not well formed.
func CheckKey(key string) error {
	if key == "." || !fs.ValidPath(key) || !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0 {
		return fmt.Errorf("blob: key %q: %w", key, fs.ErrInvalid)
	}
	return nil
}
