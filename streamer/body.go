package streamer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/streamer/sections"
	"github.com/hashstream/hashstream/streamer/trees"
)

// variant names the one order in which bodies are written: depth-first, blocks
// framed as they are linked. Two bodies of one selection are equal byte for byte,
// planned or not.
const variant = trees.Variant

// Open implements [block.Opener].
func (s *Streamer) Open(ctx context.Context, sel block.Selection) (block.Body, error) {
	root, err := digest.FromCID(sel.Root)
	if err != nil {
		return nil, err
	}
	switch sel.Encoding {
	case block.EncodingRaw:
		return s.openRaw(ctx, root)
	case block.EncodingBao:
		return s.openProof(ctx, root, sel)
	}
	return s.openCAR(ctx, s.within(root), sel)
}

func (s *Streamer) openCAR(ctx context.Context, src source, sel block.Selection) (block.Body, error) {
	prefix := car.AppendHeader(nil, sel.Root)
	if len(sel.Path) == 0 {
		return s.openTerminus(ctx, src, sel, prefix)
	}
	res, err := dag.Resolve(ctx, src, sel.Root, sel.Path)
	if err != nil {
		return nil, err
	}
	for _, b := range res.Visited {
		if b.CID.Prefix().MhType == uint64(digest.Identity) {
			continue
		}
		if prefix = appendSection(prefix, b.CID, b.Data); len(prefix) > maxPrefix {
			return &walkBody{src: src, sel: sel, prefix: car.AppendHeader(nil, sel.Root), limit: s.o.MaxRepeating}, nil
		}
	}
	sel.Root, sel.Path = res.Terminus, nil
	return s.openTerminus(ctx, src, sel, prefix)
}

// maxPrefix bounds the blocks of a path that are held while they wait to be sent,
// in bytes. Beyond it they are read again.
const maxPrefix = 4 << 20

// openTerminus opens what a path ends at. prefix is the header and the blocks of
// the path.
func (s *Streamer) openTerminus(ctx context.Context, src source, sel block.Selection, prefix []byte) (block.Body, error) {
	d, err := digest.FromCID(sel.Root)
	if err != nil {
		return nil, err
	}
	if sel.Bytes == nil && (sel.Scope == block.ScopeBlock || sel.Root.Prefix().Codec == cid.Raw) {
		return s.openSingle(ctx, src, d, sel, prefix)
	}
	ps, err := s.planFor(ctx, d, sel)
	if s.o.Trace.Planned != nil {
		s.o.Trace.Planned(err == nil)
	}
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errGone) {
		return s.openWalk(ctx, src, sel, prefix)
	}
	if err != nil {
		return nil, err
	}
	size, exact, err := ps.Size(ctx)
	if err != nil {
		return nil, err
	}
	return &planBody{s: s, sel: ps, prefix: prefix, size: int64(len(prefix)) + size, exact: exact}, nil
}

// planFor finds a plan that answers sel, which has no path, and whose first
// locations are there, so that what was deleted is not promised. No such plan is
// [fs.ErrNotExist], and errGone if there was one.
func (s *Streamer) planFor(ctx context.Context, d digest.Digest, sel block.Selection) (sections.Selection, error) {
	var gone error
	for p, err := range s.index.Plans(ctx, d) {
		if err != nil {
			return sections.Selection{}, err
		}
		ps, ok, err := sections.Select(ctx, p, sel)
		if err == nil && ok {
			err = s.present(ctx, ps)
		}
		if errors.Is(err, errGone) {
			gone = err
		}
		if errors.Is(err, fs.ErrNotExist) || err == nil && !ok {
			continue
		}
		return ps, err
	}
	if gone != nil {
		return sections.Selection{}, fmt.Errorf("streamer: plan of %s: %w", d, gone)
	}
	return sections.Selection{}, fmt.Errorf("streamer: plan of %s: %w", d, fs.ErrNotExist)
}

// openSingle opens a CAR that ends with one block.
func (s *Streamer) openSingle(ctx context.Context, src source, d digest.Digest, sel block.Selection, prefix []byte) (block.Body, error) {
	if _, inline := d.Inline(); inline {
		return &memoryBody{prefix}, nil
	}
	raw, err := s.openBlock(ctx, src, d)
	if err != nil {
		return nil, err
	}
	n, _ := raw.Size()
	if n > block.MaxSize {
		return nil, fmt.Errorf("streamer: %s of %d bytes in a CAR: %w", d, n, block.ErrEncoding)
	}
	return &prefixedBody{Ranger: raw, prefix: car.AppendHead(prefix, sel.Root, n)}, nil
}

// openWalk opens a CAR of blocks that are found one by one.
func (s *Streamer) openWalk(ctx context.Context, src source, sel block.Selection, prefix []byte) (block.Body, error) {
	if _, err := block.Get(ctx, src, sel.Root); err != nil {
		return nil, err
	}
	if sel.Bytes != nil {
		size, err := dag.FileSize(ctx, src, sel.Root)
		if err == nil {
			_, _, err = sel.Bytes.Resolve(size)
		}
		if errors.Is(err, block.ErrRange) {
			return nil, err
		}
	}
	return &walkBody{src: src, sel: sel, prefix: prefix, limit: s.o.MaxRepeating}, nil
}

// appendSection appends the whole CAR section of a block.
func appendSection(b []byte, c cid.Cid, data []byte) []byte {
	return append(car.AppendHead(b, c, int64(len(data))), data...)
}
