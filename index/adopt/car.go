package adopt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/pack"
)

// Fault is a block of a CAR that is left out.
type Fault struct {
	CID    cid.Cid // undefined if it is not known
	Offset int64   // in the CAR
	Err    error
}

// String says what is wrong, for people.
func (f Fault) String() string {
	if f.CID.Defined() {
		return fmt.Sprintf("block %s at %d: %v", f.CID, f.Offset, f.Err)
	}
	return fmt.Sprintf("at %d: %v", f.Offset, f.Err)
}

// Packed is what a CAR held.
type Packed struct {
	Blocks int64
	// Bad is the first blocks that are not what their CID or the index says. They are left out.
	Bad []Fault
	// Unverified is set if the name of the CAR does not tell its content, or by a hash
	// function that is not supported.
	Unverified bool
}

const (
	maxBad = 16
	// maxSort bounds the entries of an index that are sorted at once.
	maxSort = 1 << 20
	// headAtOnce is how much is read for the head of a section. Heads of small blocks
	// come several at once.
	headAtOnce = 4 << 10
	maxHeader  = 1<<20 + 128
)

func (p *Packed) bad(f Fault) {
	if len(p.Bad) < maxBad {
		p.Bad = append(p.Bad, f)
	}
}

// Pack streams a pack once, verifies it and its blocks, and records them.
func (a *Adopter) Pack(ctx context.Context, d digest.Digest) (Packed, error) {
	return a.CAR(ctx, index.Location{Pack: d})
}

// CAR is Pack for a CAR at any location: the blocks of a raw file are verified, and it is not
// asked for its digest.
func (a *Adopter) CAR(ctx context.Context, loc index.Location) (Packed, error) {
	return a.take(ctx, loc, func(p *Packed) ([]cid.Cid, error) { return a.stream(ctx, loc, p) })
}

// Frames is Pack for a pack that was verified before: it reads no data.
func (a *Adopter) Frames(ctx context.Context, d digest.Digest) (Packed, error) {
	loc := index.Location{Pack: d}
	return a.take(ctx, loc, func(p *Packed) ([]cid.Cid, error) {
		p.Unverified = true
		obj, err := a.open(ctx, loc, 0, -1)
		if err != nil {
			return nil, err
		}
		defer obj.Close()
		return a.each(ctx, obj, loc, p, func(*car.Reader, digest.Digest) error { return nil })
	})
}

// Indexed takes in a CAR by an index over it: [car.ReadIndex] or [car.ReadSidecar]. It reads the
// header and the head of each section but no data, except that of nodes when a DAG is planned. What
// it records is verified when it is served.
func (a *Adopter) Indexed(ctx context.Context, loc index.Location, entries iter.Seq2[car.IndexEntry, error]) (Packed, error) {
	return a.take(ctx, loc, func(p *Packed) ([]cid.Cid, error) {
		p.Unverified = true
		return a.heads(ctx, loc, entries, p)
	})
}

// take takes in a CAR by f. If that fails nothing of it becomes part of a plan.
func (a *Adopter) take(ctx context.Context, loc index.Location, f func(*Packed) ([]cid.Cid, error)) (Packed, error) {
	before, over := len(a.table.places), a.table.over
	var p Packed
	roots, err := f(&p)
	if err != nil {
		a.table.places, a.table.over = a.table.places[:before], over
		if ctx.Err() != nil {
			return p, context.Cause(ctx)
		}
		return p, fmt.Errorf("adopt: %s: %w: %w", loc, ErrPack, err)
	}
	a.packs = append(a.packs, packed{loc, roots})
	return p, nil
}

// open opens n bytes of a location from off.
func (a *Adopter) open(ctx context.Context, loc index.Location, off, n int64) (blob.Object, error) {
	switch {
	case !loc.Pack.IsZero():
		return a.home.Packs.Get(ctx, pack.Key(loc.Pack), off, n)
	case a.home.Files == nil:
		return nil, fmt.Errorf("%s: no files are read: %w", loc, fs.ErrNotExist)
	}
	return a.home.Files.GetIf(ctx, loc.Path, loc.Version, off, n)
}

// bytes reads n bytes of a location from off, all of them.
func (a *Adopter) bytes(ctx context.Context, loc index.Location, off, n int64) ([]byte, error) {
	obj, err := a.open(ctx, loc, off, n)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	if have := obj.Info().Size - off; n > have {
		return nil, fmt.Errorf("%s: %d bytes at %d of %d: %w", loc, n, off, obj.Info().Size, io.ErrUnexpectedEOF)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(obj, b)
	if r, ok := obj.(blob.Rechecker); ok && err == nil {
		err = r.Recheck()
	}
	return b, err
}

func (a *Adopter) stream(ctx context.Context, loc index.Location, p *Packed) ([]cid.Cid, error) {
	obj, err := a.open(ctx, loc, 0, -1)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	var in io.Reader = struct{ io.Reader }{obj} // everything is read, nothing sought over
	h, err := digest.NewHasher(loc.Pack.Code())
	if p.Unverified = loc.Pack.IsZero() || err != nil; !p.Unverified {
		in = io.TeeReader(in, h)
	}
	roots, err := a.each(ctx, in, loc, p, verify)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, err
	}
	if !p.Unverified && h.Digest() != loc.Pack {
		return nil, fmt.Errorf("its bytes: %w", digest.ErrMismatch)
	}
	return roots, nil
}

// verify reads the block at hand.
func verify(r *car.Reader, d digest.Digest) error {
	data, err := r.Data()
	if err != nil {
		return err
	}
	if err := d.Verify(data); !errors.Is(err, digest.ErrUnsupported) {
		return err
	}
	return nil
}

// each records the blocks of a CAR that pass check.
func (a *Adopter) each(ctx context.Context, in io.Reader, loc index.Location, p *Packed, check func(*car.Reader, digest.Digest) error) ([]cid.Cid, error) {
	r, err := car.NewReader(in, nil)
	if err != nil {
		return nil, err
	}
	n := a.table.location(loc)
	for {
		s, err := r.Next()
		if err == io.EOF {
			return r.Roots(), nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		d, err := digest.FromCID(s.CID)
		if err == nil {
			err = check(r, d)
		}
		if err != nil {
			p.bad(Fault{s.CID, s.Offset, err})
			continue
		}
		p.Blocks++
		a.known(ctx, d, s, n)
	}
}

// heads records what an index points to.
func (a *Adopter) heads(ctx context.Context, loc index.Location, entries iter.Seq2[car.IndexEntry, error], p *Packed) ([]cid.Cid, error) {
	h := &headReader{ctx: ctx, a: a, loc: loc}
	size, _, roots, err := h.header()
	if err != nil {
		return nil, err
	}
	n := a.table.location(loc)
	var batch []car.IndexEntry
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		e.Value = slices.Clone(e.Value)
		if batch = append(batch, e); len(batch) == maxSort {
			if err := h.batch(batch, n, size, p); err != nil {
				return nil, err
			}
			batch = batch[:0]
		}
	}
	return roots, h.batch(batch, n, size, p)
}

// headReader reads heads of sections.
type headReader struct {
	ctx context.Context
	a   *Adopter
	loc index.Location
	off int64 // of buf
	buf []byte
}

func (h *headReader) header() (size int64, version int, roots []cid.Cid, err error) {
	obj, err := h.a.open(h.ctx, h.loc, 0, maxHeader)
	if err != nil {
		return 0, 0, nil, err
	}
	defer obj.Close()
	r, err := car.NewReader(struct{ io.Reader }{obj}, nil)
	if err != nil {
		return 0, 0, nil, err
	}
	return obj.Info().Size, r.Version(), r.Roots(), nil
}

// batch takes in entries, in the order in which they stand in the CAR.
func (h *headReader) batch(entries []car.IndexEntry, loc int32, size int64, p *Packed) error {
	slices.SortFunc(entries, func(a, b car.IndexEntry) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, e := range entries {
		s, err := car.SectionAt(h, e.Offset, size)
		var d digest.Digest
		if err == nil {
			d, err = digest.FromCID(s.CID)
		}
		switch {
		case err != nil && !errors.Is(err, car.ErrMalformed) && !errors.Is(err, car.ErrTruncated) && !errors.Is(err, digest.ErrInvalid):
			return err
		case err == nil && !e.Matches(d):
			err = fmt.Errorf("the index has another block there: %w", digest.ErrMismatch)
		}
		if err != nil {
			p.bad(Fault{s.CID, e.Offset, err})
			continue
		}
		p.Blocks++
		h.a.known(h.ctx, d, s, loc)
	}
	return nil
}

// ReadAt implements [io.ReaderAt] for what is about as long as a head.
func (h *headReader) ReadAt(b []byte, off int64) (int, error) {
	if off < h.off || off+int64(len(b)) > h.off+int64(len(h.buf)) {
		obj, err := h.a.open(h.ctx, h.loc, off, max(headAtOnce, int64(len(b))))
		if err != nil {
			return 0, err
		}
		defer obj.Close()
		if h.buf, err = io.ReadAll(obj); err != nil {
			h.buf = nil
			return 0, err
		}
		h.off = off
	}
	n := copy(b, h.buf[off-h.off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// sections yields the sections of a CAR.
func (a *Adopter) sections(ctx context.Context, loc index.Location) iter.Seq2[car.Section, error] {
	return func(yield func(car.Section, error) bool) {
		obj, err := a.open(ctx, loc, 0, -1)
		if err != nil {
			yield(car.Section{}, err)
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
		if err != io.EOF {
			yield(car.Section{}, err)
		}
	}
}
