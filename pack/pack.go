// Package pack writes, reads and checks packs.
//
// A pack is a CARv1 (https://ipld.io/specs/transport/car/carv1/) that is stored as
// one blob and named by the sha2-256 of its bytes: see [Key]. The packs that
// [Writer] makes hold the blocks of one DAG in depth-first pre-order, each block
// where it occurs first, so that the CAR of the whole DAG is a header and one
// contiguous range of every pack. docs/formats/pack.md gives the layout. Packs that
// came in by [Import] are CARs of any order and either version.
//
// # Errors
//
// An absent pack matches [io/fs.ErrNotExist]. Bytes that are not what their name
// or their CID says match [digest.ErrMismatch], a broken frame [car.ErrMalformed]
// or [car.ErrTruncated], and a block over 2 MiB [block.ErrTooLarge].
//
// # Concurrency
//
// A [Writer] belongs to one goroutine at a time. It hashes and commits full packs
// on goroutines of its own, which [Writer.Finish] and [Writer.Discard] end.
// Everything else is safe for concurrent use.
package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

const extension = ".car"

// Key returns the blob key of the pack that d names: its CIDv1 and ".car".
func Key(d digest.Digest) string { return d.String() + extension }

// ParseKey returns the digest that the blob key of a pack holds. Keys that [Key]
// would not write match [digest.ErrInvalid].
func ParseKey(key string) (digest.Digest, error) {
	name, ok := strings.CutSuffix(key, extension)
	if !ok {
		return digest.Digest{}, fmt.Errorf("pack: key %q: %w", key, digest.ErrInvalid)
	}
	d, err := digest.Parse(name)
	if err != nil {
		return digest.Digest{}, fmt.Errorf("pack: key %q: %w", key, err)
	}
	if Key(d) != key {
		return digest.Digest{}, fmt.Errorf("pack: key %q: %w: not in its one spelling", key, digest.ErrInvalid)
	}
	return d, nil
}

// Info describes a stored pack.
type Info struct {
	Digest  digest.Digest
	Size    int64     // in bytes
	ModTime time.Time // zero where the store has none
}

// List yields the packs of a store in the order of their keys. Blobs that are not
// named like packs are passed over.
func List(ctx context.Context, l blob.Lister) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for b, err := range l.List(ctx, "") {
			if err != nil {
				yield(Info{}, fmt.Errorf("pack: list: %w", err))
				return
			}
			d, err := ParseKey(b.Key)
			if err != nil {
				continue
			}
			if !yield(Info{d, b.Size, b.ModTime}, nil) {
				return
			}
		}
	}
}

// Sections yields the sections of a stored pack in their order, and stops after
// the first error. It reads frames only: nothing is verified.
func Sections(ctx context.Context, g blob.Getter, d digest.Digest) iter.Seq2[car.Section, error] {
	return func(yield func(car.Section, error) bool) {
		obj, err := g.Get(ctx, Key(d), 0, -1)
		if err != nil {
			yield(car.Section{}, fmt.Errorf("pack: open %s: %w", d, err))
			return
		}
		defer obj.Close()
		r, err := car.NewReader(obj, nil)
		for err == nil {
			var s car.Section
			if s, err = r.Next(); err == nil {
				if err = ctx.Err(); err == nil && !yield(s, nil) {
					return
				}
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(car.Section{}, fmt.Errorf("pack: read %s: %w", d, err))
		}
	}
}
