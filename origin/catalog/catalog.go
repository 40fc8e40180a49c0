// Package catalog remembers what was hashed of a source of files: by directory and name, and
// by the identity of a file. docs/formats/catalog.md gives the bytes.
//
// # Errors
//
// A malformed value matches [digest.ErrMismatch], what is not there [io/fs.ErrNotExist].
package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"path"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
)

// The first byte of a key.
const (
	keyEntry = 'F' // ‖ source id ‖ hash of dir ‖ name  → entry
	keySame  = 'V' // ‖ hash of settings and file       → CID, path of who has it
)

// ID names a source.
type ID [16]byte

// Prefix is how the keys of all entries of a source begin.
func Prefix(id ID) []byte { return append([]byte{keyEntry}, id[:]...) }

// DirPrefix is how the keys of the entries of one directory begin; the name follows.
func DirPrefix(id ID, dir string) []byte {
	sum := sha256.Sum256([]byte(dir))
	return append(Prefix(id), sum[:16]...)
}

// Key is the key of a file of a source.
func Key(id ID, name string) []byte {
	return append(DirPrefix(id, path.Dir(name)), path.Base(name)...)
}

// SameKey is the key of a file's own identity: what its names have in common. Settings
// are those that determine its CID.
func SameKey(settings, same string) []byte {
	sum := sha256.Sum256([]byte(settings + "\x00" + same))
	return append([]byte{keySame}, sum[:16]...)
}

// Same is where a file was hashed.
type Same struct {
	CID  cid.Cid
	Path string // of the name that was hashed last
}

// Encode returns the value of a Same.
func (s Same) Encode() []byte { return append(appendBytes(nil, s.CID.Bytes()), s.Path...) }

// DecodeSame is the inverse of [Same.Encode].
func DecodeSame(b []byte) (s Same, err error) {
	c, rest, err := takeBytes(b)
	if err == nil {
		s.CID, err = cid.Cast(c)
	}
	if err != nil {
		return Same{}, fmt.Errorf("catalog: %w: %w", digest.ErrMismatch, err)
	}
	s.Path = string(rest)
	return s, nil
}

// Clear removes every entry of every source.
func Clear(ctx context.Context, store kv.Store) error {
	return store.Batch(ctx, []kv.Op{kv.DeleteRange(kv.Prefix([]byte{keyEntry})), kv.DeleteRange(kv.Prefix([]byte{keySame}))})
}

// The kinds of entries.
const (
	File    = 'f'
	Dir     = 'd'
	Symlink = 'l'
)

// Entry is what is known of a name in a directory.
type Entry struct {
	Kind     byte
	Size     int64 // of a file, in bytes
	CID      cid.Cid
	Same     []byte // key of the file's own identity (see [SameKey]), or empty
	Location index.Location
	Target   string // of a symlink
	// Young tells that a file had changed so shortly before it was hashed that a further
	// change may have left it the same identity.
	Young bool
}

const version = 1

// youngFile is the kind of a file that is young, in its encoding.
const youngFile = 'y'

// Encode returns the value of an entry.
func (e Entry) Encode() []byte {
	b := []byte{version, e.Kind}
	if e.Young {
		b[1] = youngFile
	}
	switch e.Kind {
	case File:
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = appendBytes(b, e.CID.Bytes())
		b = appendBytes(b, e.Same)
		b = append(b, e.Location.Encode()...)
	case Symlink:
		b = append(b, e.Target...)
	}
	return b
}

func appendBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }

// Decode is the inverse of [Entry.Encode].
func Decode(b []byte) (Entry, error) {
	e, err := parseEntry(b)
	if err != nil {
		return Entry{}, fmt.Errorf("catalog: %w: %w", digest.ErrMismatch, err)
	}
	return e, nil
}

var errEntry = errors.New("malformed entry")

func parseEntry(b []byte) (e Entry, err error) {
	if len(b) < 2 || b[0] != version {
		return Entry{}, errEntry
	}
	e.Kind, b = b[1], b[2:]
	if e.Kind == youngFile {
		e.Kind, e.Young = File, true
	}
	switch e.Kind {
	case Dir:
		if len(b) > 0 {
			return Entry{}, errEntry
		}
		return e, nil
	case Symlink:
		e.Target = string(b)
		return e, nil
	case File:
		return e, e.parseFile(b)
	}
	return Entry{}, errEntry
}

func (e *Entry) parseFile(b []byte) error {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > 1<<62 || n > 1 && b[n-1] == 0 {
		return errEntry
	}
	e.Size = int64(size)
	c, b, err := takeBytes(b[n:])
	if err != nil {
		return err
	}
	if e.CID, err = cid.Cast(c); err != nil {
		return err
	}
	if e.Same, b, err = takeBytes(b); err != nil {
		return err
	}
	e.Location, err = index.ParseLocation(b)
	return err
}

func takeBytes(b []byte) (v, rest []byte, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) || k > 1 && b[k-1] == 0 {
		return nil, nil, errEntry
	}
	return b[k:][:n:n], b[k+int(n):], nil
}

// Pages yields the pairs below a prefix. No scan is open while it yields: a listing may
// wait for workers, and a scan holds a connection or a snapshot.
func Pages(ctx context.Context, store kv.Reader, prefix []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		r := kv.Prefix(prefix)
		for {
			pairs, err := page(ctx, store, r)
			for _, p := range pairs {
				if !yield(p, nil) {
					return
				}
			}
			if err != nil {
				yield(kv.Pair{}, err)
				return
			}
			if len(pairs) < pageEntries {
				return
			}
			r.From = append(pairs[len(pairs)-1].Key, 0)
		}
	}
}

// pageEntries is what every backend answers in one request.
const pageEntries = 250

func page(ctx context.Context, store kv.Reader, r kv.Range) (pairs []kv.Pair, err error) {
	for p, err := range store.Scan(ctx, r) {
		if err != nil {
			return pairs, err
		}
		if pairs = append(pairs, p); len(pairs) == pageEntries {
			break
		}
	}
	return pairs, nil
}
