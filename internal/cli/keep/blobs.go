package keep

import (
	"context"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/outboard"
)

// clearBlobs removes every object that is one block, and trees that nothing else needs.
func clearBlobs(ctx context.Context, s *node.Stores) (n int64, err error) {
	for info, err := range s.Packs.List(ctx, "") {
		if err != nil {
			return n, err
		}
		d, err := index.ParseBlobKey(info.Key)
		if err != nil {
			continue
		}
		if err = forget(ctx, s, index.StoredBlob(d)); err == nil {
			err = s.Packs.Delete(ctx, info.Key)
		}
		if err == nil {
			err = dropTree(ctx, s, d)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func dropTree(ctx context.Context, s *node.Stores, d digest.Digest) error {
	for _, err := range s.Index.Blobs(ctx, d) {
		return err // it is elsewhere too
	}
	return outboard.Delete(ctx, s.KV, d)
}
