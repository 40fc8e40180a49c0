package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/pack"
)

// Locator answers [Destination.Locate] from an index: with the first copy of a
// block in a pack that is there, preferring one under the same CID. Raw files are
// left out, because they may change.
func Locator(x *index.Index, packs blob.Getter) func(context.Context, cid.Cid) (Known, error) {
	return func(ctx context.Context, c cid.Cid) (Known, error) {
		d, err := digest.FromCID(c)
		if err != nil {
			return Known{}, err
		}
		var found *Known
		for rec, err := range x.Blobs(ctx, d) {
			if err != nil {
				return Known{}, err
			}
			if rec.Location.Pack.IsZero() {
				continue
			}
			framed, err := framed(ctx, packs, rec, c)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return Known{}, err
			}
			if found == nil || framed {
				found = &Known{rec.Location, rec.Offset, framed}
			}
			if framed {
				break
			}
		}
		if found == nil {
			return Known{}, fmt.Errorf("ingest: locate %s: %w", c, fs.ErrNotExist)
		}
		return *found, nil
	}
}

// framed reports whether the frame of a CAR section of c stands before the bytes.
// A pack that ends before they do does not have them.
func framed(ctx context.Context, packs blob.Getter, rec index.Record, c cid.Cid) (bool, error) {
	head := car.AppendHead(nil, c, rec.Length)
	off := max(rec.Offset-int64(len(head)), 0)
	obj, err := packs.Get(ctx, pack.Key(rec.Location.Pack), off, rec.Offset-off)
	if errors.Is(err, blob.ErrRange) {
		return false, fs.ErrNotExist
	}
	if err != nil {
		return false, err
	}
	defer obj.Close()
	if obj.Info().Size < rec.Offset+rec.Length {
		return false, fs.ErrNotExist
	}
	got, err := io.ReadAll(obj)
	return bytes.Equal(got, head), err
}
