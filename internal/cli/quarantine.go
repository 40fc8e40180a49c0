package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/pack"
)

// store ingests in. A store keeps the object that it has, so a pack that was
// damaged before would stay so: where blocks of a pack that was just written are in
// quarantine, the pack is read, and if it is damaged, removed and written again.
func (a *app) store(ctx context.Context, s *node.Stores, dst ingest.Destination, o ingest.Options, in input) (ingest.Result, error) {
	packs := map[index.Location]bool{}
	told := o.Trace.Packed
	o.Trace.Packed = func(n int, d digest.Digest, size int64) {
		packs[index.Location{Pack: d}] = true
		if told != nil {
			told(n, d, size)
		}
	}
	res, err := a.ingest(ctx, dst, &o, in)
	if err != nil || len(packs) == 0 {
		return res, err
	}
	damaged, err := recheck(ctx, s, packs)
	if err != nil || damaged == 0 {
		return res, err
	}
	if in.path == "" {
		return res, errRemoved()
	}
	return a.ingest(ctx, dst, &o, in)
}

func errRemoved() error {
	return hint(errors.New("a damaged copy of it was stored, and is removed now"), "run the command again")
}

// sound reports whether the whole DAG below root is stored, and none of its packs
// has a block in quarantine.
func sound(s *node.Stores) func(ctx context.Context, root digest.Digest) (bool, error) {
	return func(ctx context.Context, root digest.Digest) (bool, error) {
		bad := map[index.Location]bool{}
		for b, err := range s.Index.Quarantines(ctx) {
			if err != nil {
				return false, err
			}
			bad[b.Location] = true
		}
		if len(bad) == 0 {
			return s.Streamer.Complete(ctx, root)
		}
		for p, err := range s.Index.Plans(ctx, root) {
			if err == nil {
				err = intact(ctx, s, p, bad)
			}
			if err == nil || !errors.Is(err, fs.ErrNotExist) {
				return err == nil, err
			}
		}
		return false, nil
	}
}

// intact returns an error that matches [fs.ErrNotExist] if a pack of p is gone or bad.
func intact(ctx context.Context, s *node.Stores, p index.Plan, bad map[index.Location]bool) error {
	known := map[index.Location]bool{}
	for loc, err := range p.Locations(ctx) {
		if err == nil && bad[loc] {
			err = absentf("pack %s is damaged", loc)
		}
		if err == nil && !known[loc] {
			_, err = s.Packs.Stat(ctx, pack.Key(loc.Pack))
			known[loc] = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recheck reads those of packs that have blocks in quarantine. It releases the
// blocks of whole ones, and removes the others.
func recheck(ctx context.Context, s *node.Stores, packs map[index.Location]bool) (damaged int, err error) {
	suspects := map[digest.Digest]bool{}
	for bad, err := range s.Index.Quarantines(ctx) {
		if err != nil {
			return 0, err
		}
		if packs[bad.Location] {
			suspects[bad.Location.Pack] = true
		}
	}
	for d := range suspects {
		whole := true
		for f, err := range pack.Verify(ctx, s.Packs, d) {
			if err != nil {
				return damaged, err
			}
			whole = whole && f.Err == nil
		}
		if !whole {
			damaged++
			if err := s.Packs.Delete(ctx, pack.Key(d)); err != nil {
				return damaged, fmt.Errorf("remove the damaged pack %s: %w", d, err)
			}
		}
		// What takes the place of a damaged pack is written anew.
		if err := release(ctx, s, index.Location{Pack: d}); err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

// release lifts the quarantine of all blocks at loc.
func release(ctx context.Context, s *node.Stores, loc index.Location) error {
	for bad, err := range s.Index.Quarantines(ctx) {
		if err == nil && bad.Location == loc {
			err = index.Release(ctx, s.KV, bad.Digest, loc)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget removes what the index knows of loc.
func forget(ctx context.Context, s *node.Stores, loc index.Location) error {
	if err := release(ctx, s, loc); err != nil {
		return err
	}
	return index.RemoveLocation(ctx, s.KV, loc)
}
