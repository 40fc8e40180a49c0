// Package single adds content as one BLAKE3 blob: one raw CID for all of its bytes,
// however many they are. The blob becomes an object of its own in the pack store, under
// the key that package index gives it, and its tree goes beside the index (package
// outboard), so that parts of it can be verified and served.
//
// # Errors
//
// Errors are those of the content and of the stores. After one nothing new is found.
//
// [Add] and [Place] are safe for concurrent use; a [bao.Hasher] belongs to one call at a time.
package single

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/outboard"
)

// Store is what an object is written to. Drafts start there and are renamed.
type Store interface {
	blob.Drafter
	blob.Stater
	blob.Deleter
}

// Result is what was added.
type Result struct {
	Digest digest.Digest
	Size   int64 // in bytes
	Stored bool  // false if all was there already
}

// Add stores all of r, which it reads once. keys holds the index and the trees.
func Add(ctx context.Context, r io.Reader, objects Store, keys kv.Store, h *bao.Hasher) (Result, error) {
	res, err := add(ctx, r, objects, keys, h)
	if err != nil {
		return Result{}, fmt.Errorf("single: add: %w", err)
	}
	return res, nil
}

func add(ctx context.Context, r io.Reader, objects Store, keys kv.Store, h *bao.Hasher) (Result, error) {
	draft, err := objects.Draft(ctx)
	if err != nil {
		return Result{}, err
	}
	defer draft.Discard()
	d, size, err := outboard.Write(ctx, keys, io.TeeReader(r, io.NewOffsetWriter(draft, 0)), h)
	if err != nil {
		return Result{}, err
	}
	res := Result{Digest: d, Size: size}
	idx, loc := index.New(keys, nil), index.StoredBlob(d)
	bad, err := idx.Quarantined(ctx, d, loc)
	if err != nil {
		return Result{}, err
	}
	info, err := objects.Stat(ctx, index.BlobKey(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{}, err
	}
	there := err == nil
	if there && !bad && info.Size == size {
		if res.Stored, err = missing(ctx, idx, d, loc); err != nil || !res.Stored {
			return res, err
		}
	} else {
		if there { // a draft does not replace what has its name
			err = objects.Delete(ctx, index.BlobKey(d))
		} else {
			err = nil
		}
		if err == nil {
			err = draft.Commit(ctx, index.BlobKey(d))
		}
		if err != nil {
			return Result{}, err
		}
		res.Stored = true
	}
	return res, record(ctx, keys, d, loc, size, bad)
}

// missing reports whether the index does not know d at loc.
func missing(ctx context.Context, idx *index.Index, d digest.Digest, loc index.Location) (bool, error) {
	for rec, err := range idx.Blobs(ctx, d) {
		if err != nil || rec.Location == loc {
			return false, err
		}
	}
	return true, nil
}

// record makes a blob at loc findable. What was bad there was replaced.
func record(ctx context.Context, keys kv.Store, d digest.Digest, loc index.Location, size int64, bad bool) error {
	blocks := index.NewBlocks(keys)
	blocks.Put(ctx, d, loc, 0, size)
	err := blocks.Flush(ctx)
	if err == nil && bad {
		err = index.Release(ctx, keys, d, loc)
	}
	return err
}

// Place records all of r, which stands at loc, as one blob. Nothing is copied. check is
// called after the last byte was read and must confirm that loc still holds them.
func Place(ctx context.Context, r io.Reader, loc index.Location, check func(size int64) error, keys kv.Store, h *bao.Hasher) (Result, error) {
	w := outboard.NewWriter(keys)
	d, size, err := h.Sum(ctx, r, w.Put)
	if err == nil {
		err = check(size)
	}
	if err == nil {
		err = w.Finish(ctx, d, size)
	}
	if err != nil {
		return Result{}, fmt.Errorf("single: place: %w", errors.Join(err, w.Discard(context.WithoutCancel(ctx))))
	}
	if err := record(ctx, keys, d, loc, size, false); err != nil {
		return Result{}, fmt.Errorf("single: place: %w", err)
	}
	return Result{d, size, true}, nil
}
