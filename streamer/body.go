package streamer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// variant names the one order in which bodies are written: depth-first, blocks
// framed as they are linked. Two bodies of one selection are equal byte for byte,
// planned or not.
const variant = "dfs1"

// Open implements [block.Opener].
func (s *Streamer) Open(ctx context.Context, sel block.Selection) (block.Body, error) {
	root, err := digest.FromCID(sel.Root)
	if err != nil {
		return nil, err
	}
	if sel.Encoding == block.EncodingRaw {
		return s.openRaw(ctx, root)
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
		if b.CID.Prefix().MhType != uint64(digest.Identity) {
			prefix = appendSection(prefix, b.CID, b.Data)
		}
	}
	sel.Root, sel.Path = res.Terminus, nil
	return s.openTerminus(ctx, src, sel, prefix)
}

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
	if errors.Is(err, fs.ErrNotExist) {
		return s.openWalk(ctx, src, sel, prefix)
	}
	if err != nil {
		return nil, err
	}
	size, exact, err := ps.size(ctx)
	if err != nil {
		return nil, err
	}
	return &planBody{s: s, sel: ps, prefix: prefix, size: int64(len(prefix)) + size, exact: exact}, nil
}

// planFor finds a plan that answers sel, which has no path, and whose first pack
// is there, so that what was deleted is not promised. No such plan is
// [fs.ErrNotExist].
func (s *Streamer) planFor(ctx context.Context, d digest.Digest, sel block.Selection) (planSelection, error) {
	for p, err := range s.index.Plans(ctx, d) {
		if err != nil {
			return planSelection{}, err
		}
		ps, ok, err := selected(ctx, p, sel)
		if err == nil && ok {
			err = s.present(ctx, ps)
		}
		if errors.Is(err, fs.ErrNotExist) || err == nil && !ok {
			continue
		}
		return ps, err
	}
	return planSelection{}, fmt.Errorf("streamer: plan of %s: %w", d, fs.ErrNotExist)
}

// selected returns the part of p that answers sel. It reports false for what is
// found by walking: a directory's own blocks, and graphs with folded repeats.
func selected(ctx context.Context, p index.Plan, sel block.Selection) (planSelection, bool, error) {
	_, complete := p.Repeated()
	switch {
	case sel.Dups && !complete:
	case sel.Bytes != nil && p.File():
		ps, err := slice(ctx, p, *sel.Bytes, sel.Dups)
		return ps, true, err
	case sel.Bytes == nil && (sel.Scope == block.ScopeAll || p.File()):
		return whole(p, sel.Dups), true, nil
	}
	return planSelection{}, false, nil
}

// present makes sure that the first pack of a selection is there.
func (s *Streamer) present(ctx context.Context, ps planSelection) error {
	for e, err := range ps.entries(ctx) {
		if err != nil {
			return err
		}
		return s.stat(ctx, e.location)
	}
	return nil
}

func (s *Streamer) stat(ctx context.Context, loc index.Location) error {
	key, err := s.key(loc)
	if err != nil {
		return err
	}
	_, err = s.packs.Stat(ctx, key)
	return err
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
	return &walkBody{src: src, sel: sel, prefix: prefix}, nil
}

// memoryBody is bytes at hand.
type memoryBody struct{ data []byte }

func (b *memoryBody) Size() (int64, bool) { return int64(len(b.data)), true }
func (b *memoryBody) Variant() string     { return variant }

func (b *memoryBody) Send(_ context.Context, w io.Writer) (int64, error) {
	n, err := w.Write(b.data)
	return int64(n), err
}

// prefixedBody is a block behind its CAR frame.
type prefixedBody struct {
	block.Ranger
	prefix []byte
}

func (b *prefixedBody) Size() (int64, bool) {
	n, exact := b.Ranger.Size()
	return int64(len(b.prefix)) + n, exact
}

func (b *prefixedBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	out := &prefixWriter{w: w, prefix: b.prefix}
	_, err := b.Ranger.Send(ctx, out)
	if err == nil {
		err = out.flush()
	}
	return out.sent, err
}

// walkBody is a traversal that nothing is known of beforehand.
type walkBody struct {
	src    block.Source
	sel    block.Selection
	prefix []byte
}

func (b *walkBody) Size() (int64, bool) { return 0, false }
func (b *walkBody) Variant() string     { return variant }

func (b *walkBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	out := &prefixWriter{w: w, prefix: b.prefix}
	var section []byte
	for blk, err := range dag.Walk(ctx, b.src, b.sel) {
		if err != nil {
			return out.sent, err
		}
		section = appendSection(section[:0], blk.CID, blk.Data)
		if _, err := out.Write(section); err != nil {
			return out.sent, err
		}
	}
	err := out.flush()
	return out.sent, err
}

// prefixWriter puts bytes before the first write, so that nothing is written
// before something is known to be good.
type prefixWriter struct {
	w      io.Writer
	prefix []byte
	sent   int64 // with the prefix
}

// flush writes the prefix if nothing else did.
func (p *prefixWriter) flush() error {
	if len(p.prefix) == 0 {
		return nil
	}
	n, err := p.w.Write(p.prefix)
	p.sent += int64(n)
	p.prefix = p.prefix[n:]
	return err
}

func (p *prefixWriter) Write(b []byte) (int, error) {
	if err := p.flush(); err != nil {
		return 0, err
	}
	n, err := p.w.Write(b)
	p.sent += int64(n)
	return n, err
}
