package sharded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
)

// ErrRawFile reports a block that is in a raw file, which no sharded index can tell.
var ErrRawFile = errors.New("a block is in a raw file, not in a pack")

// ImportOptions tunes [Import].
type ImportOptions struct {
	// SkipPacks does not stream the packs but believes the slices. Only blocks with links are
	// read, to plan the DAG. Packs that were not streamed are sent block by block, not in long runs.
	SkipPacks bool
	// Problem is told of packs and blocks that are left out. Optional.
	Problem func(error)
}

// Imported is what [Import] did.
type Imported struct {
	Packs, Blocks int64
	// Incomplete is why the DAG is not recorded as a whole, or nil.
	Incomplete error
}

// Import takes the DAG of x into home: its blocks are found where the packs have them, and it
// is planned if they are all there. The packs stay where they are.
func Import(ctx context.Context, x Index, home adopt.Home, o *ImportOptions) (Imported, error) {
	if o == nil {
		o = &ImportOptions{}
	}
	problem := func(err error) {
		if o.Problem != nil {
			o.Problem(err)
		}
	}
	a := adopt.New(home, nil)
	var n Imported
	var skipped []Shard
	for _, s := range x.Shards {
		if o.SkipPacks {
			skipped = append(skipped, s)
			continue
		}
		p, err := a.Pack(ctx, s.Digest)
		if errors.Is(err, adopt.ErrPack) {
			problem(err)
			continue
		}
		if err != nil {
			return n, fmt.Errorf("sharded: import: %w", err)
		}
		n.Packs++
		n.Blocks += p.Blocks
		for _, f := range p.Bad {
			problem(fmt.Errorf("sharded: pack %s: %s", s.Digest, f))
		}
	}
	for _, s := range skipped {
		n.Packs++
		if err := place(ctx, a, s, &n, problem); err != nil {
			return n, fmt.Errorf("sharded: import: %w", err)
		}
	}
	err := a.Flush(ctx)
	if err == nil {
		err = a.DAG(ctx, x.Content)
	}
	if errors.Is(err, adopt.ErrIncomplete) || errors.Is(err, adopt.ErrUnplanned) {
		n.Incomplete, err = err, nil
	}
	if err != nil {
		return n, fmt.Errorf("sharded: import: %w", err)
	}
	return n, nil
}

// place takes in the slices of a shard.
func place(ctx context.Context, a *adopt.Adopter, s Shard, n *Imported, problem func(error)) error {
	for _, slice := range s.Slices {
		switch {
		case slice.Digest == s.Digest: // the pack itself
		case slice.Length > block.MaxSize:
			problem(fmt.Errorf("sharded: %s of %d bytes: %w", slice.Digest, slice.Length, block.ErrTooLarge))
		default:
			if err := a.Place(ctx, slice.Digest.CID(cid.Raw), index.Location{Pack: s.Digest}, slice.Offset, slice.Length); err != nil {
				return err
			}
			n.Blocks++
		}
	}
	return nil
}

// Export returns the index of the DAG below root, from its first plan. A root without a plan
// is [fs.ErrNotExist]. The index is in memory whole: about 100 bytes for each block.
func Export(ctx context.Context, x *index.Index, root cid.Cid) (Index, error) {
	out, err := export(ctx, x, root)
	if err != nil {
		return Index{}, fmt.Errorf("sharded: export %s: %w", root, err)
	}
	return out, nil
}

func export(ctx context.Context, x *index.Index, root cid.Cid) (Index, error) {
	d, err := digest.FromCID(root)
	if err != nil {
		return Index{}, err
	}
	for p, err := range x.Plans(ctx, d) {
		if err != nil {
			return Index{}, err
		}
		return shards(ctx, root, p)
	}
	return Index{}, fmt.Errorf("plan: %w", fs.ErrNotExist)
}

func shards(ctx context.Context, root cid.Cid, p index.Plan) (Index, error) {
	out, at, known := Index{Content: root}, map[digest.Digest]int{}, map[digest.Digest]bool{}
	for r, err := range p.Records(ctx) {
		if err != nil {
			return Index{}, err
		}
		if r.Type == index.InlineBlob || known[r.Digest] { // under another CID too
			continue
		}
		known[r.Digest] = true
		if r.Location.Pack.IsZero() {
			return Index{}, fmt.Errorf("%s at %s: %w", r.Digest, r.Location, ErrRawFile)
		}
		i, ok := at[r.Location.Pack]
		if !ok {
			i = len(out.Shards)
			at[r.Location.Pack] = i
			out.Shards = append(out.Shards, Shard{Digest: r.Location.Pack})
		}
		out.Shards[i].Slices = append(out.Shards[i].Slices, Slice{r.Digest, r.Offset, r.Length})
	}
	return out, nil
}
