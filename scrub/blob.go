package scrub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/pack"
)

// blob checks an object that is one BLAKE3 block against its name. Its tree needs no
// check here: nothing is sent before the tree proves it.
func (s *Scrubber) blob(ctx context.Context, info blob.Info, d digest.Digest, r *Report) error {
	obj, err := limited{s.packs, s.limit}.Get(ctx, info.Key, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	defer obj.Close()
	got, n, err := bao.NewHasher(&bao.HasherOptions{Workers: 1}).Sum(ctx, obj, nil)
	if err != nil {
		return fmt.Errorf("scrub: %s: %w", info.Key, err)
	}
	r.Blobs++
	r.Bytes += n
	loc := index.StoredBlob(d)
	if got == d {
		released, err := s.release(ctx, loc)
		r.Released += released
		return err
	}
	r.Faults++
	f := pack.Fault{Pack: d, CID: d.CID(cid.Raw), Err: fmt.Errorf("it hashes to %s: %w", got, digest.ErrMismatch)}
	if err := s.quarantine(ctx, f, loc); err != nil {
		return err
	}
	if s.o.Trace.Fault != nil {
		s.o.Trace.Fault(f, loc)
	}
	return nil
}
