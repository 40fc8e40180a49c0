package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/unixfs"
)

// ErrWrapped reports a profile that wraps file content in its leaves, which therefore
// stand nowhere in the file.
var ErrWrapped = errors.New("the profile's leaves are not the bytes of the file; take one with raw leaves")

// placedPackSize is the pack size of [Place] unless its options tell another. What
// waits for a pack to be named stays in memory, and parents are few.
const placedPackSize = 8 << 20

// Place indexes files of fsys where they are: each is read once, leaves are recorded
// in the file, and all other blocks go to packs, which the files share. Location
// tells where a file is and in what version; it is asked when the file is opened and
// after its last byte, and must give the same. Place returns what it indexed, in the
// order of the names, when all of that is durable. The first error ends it, and then
// none of the files can be found.
func Place(ctx context.Context, fsys fs.FS, names []string, location func(name string, fi fs.FileInfo) (index.Location, error), dst Destination, opts *Options) ([]Entry, error) {
	o, err := opts.complete()
	if err != nil {
		return nil, err
	}
	if !o.Profile.RawLeaves {
		return nil, fmt.Errorf("ingest: %w", ErrWrapped)
	}
	if o.PackSize <= 0 {
		o.PackSize = placedPackSize
	}
	a := &adder{o: o, dst: dst, scan: &scanner{fsys: fsys, profile: o.Profile}, maxSeen: maxSeen}
	b := &builder{adder: a, seen: newSeen(maxSeen), placed: &placed{}}
	if err := b.open(); err != nil {
		return nil, err
	}
	fill := func(ctx context.Context, w *walker) error {
		for _, name := range names {
			if err := w.place(ctx, name, location); err != nil {
				return err
			}
		}
		return nil
	}
	if err = a.run(ctx, fill, b.take); err == nil {
		err = b.finish(ctx)
	}
	if err != nil {
		b.discard(ctx)
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return b.placed.files, nil
}

// place reads one file that stays where it is.
func (w *walker) place(ctx context.Context, name string, location func(string, fs.FileInfo) (index.Location, error)) error {
	f, err := w.scan.fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", name, ErrChanged)
	}
	loc, err := location(name, fi)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	shape := w.o.Profile.FileRoot(fi.Size())
	w.stay, w.at, w.from = &loc, 0, share(name, f, fi.Size())
	entity := &Entry{Path: name, Type: unixfs.File, Size: fi.Size(), DAGSize: w.o.Profile.Tsize(shape), Location: loc}
	var rest io.Reader = f
	err = w.subtree(ctx, name, f, shape, entity)
	if s := w.from; s != nil {
		w.submit()
		s.left.Wait() // f must stay open, and is to be looked at after its last byte was read
		rest = io.NewSectionReader(s.r, fi.Size(), 1)
	}
	if err != nil {
		return err
	}
	if err := ended(name, rest); err != nil {
		return err
	}
	if fi, err = f.Stat(); err != nil {
		return err
	}
	if now, err := location(name, fi); err != nil || now != loc {
		return fmt.Errorf("%s: %w", name, ErrChanged)
	}
	return nil
}

// placed is what a builder collects of files that are DAGs of their own.
type placed struct {
	files  []Entry
	ended  []Recorder // of files that are through, which are not visible yet
	single []singleBlock
}

// singleBlock is a file that is one block.
type singleBlock struct {
	digest digest.Digest
	loc    index.Location
	size   int64
}

// begin returns the recorder of a file that begins with n, or nil if that is all of it
// and single blocks are recorded by themselves.
func (p *placed) begin(dst Destination, n index.Node) Recorder {
	if dst.Record == nil || n.CID.Defined() && dst.Blocks != nil { // a parent's CID is not known yet
		return nil
	}
	return dst.Record()
}

// packed tells every recorder that pack n has a name, and remembers it for those to come.
func (p *placed) packed(ctx context.Context, current Recorder, n int, d digest.Digest) error {
	recs := p.ended
	if current != nil {
		recs = append(recs[:len(recs):len(recs)], current)
	}
	for _, rec := range recs {
		if err := rec.Packed(ctx, n, d); err != nil {
			return err
		}
	}
	return nil
}

// endFile makes the builder ready for the next file.
func (b *builder) endFile(e Entry) {
	p := b.placed
	p.files = append(p.files, e)
	if b.rec != nil {
		p.ended = append(p.ended, b.rec)
	} else if d, err := digest.FromCID(e.CID); err == nil {
		p.single = append(p.single, singleBlock{d, e.Location, e.Size})
	}
	b.rec, b.entries, b.cids = nil, 0, b.cids[:0]
	if len(b.seen.first) > 0 {
		b.seen = newSeen(b.maxSeen)
	}
	if b.o.Trace.Added != nil {
		b.o.Trace.Added(e)
	}
}

// finishPlaced makes the files durable and then visible.
func (b *builder) finishPlaced(ctx context.Context) error {
	if err := b.finishPacks(ctx); err != nil {
		return err
	}
	p := b.placed
	for len(p.ended) > 0 {
		if err := p.ended[0].Finish(ctx); err != nil {
			return err
		}
		p.ended = p.ended[1:]
	}
	if b.dst.Blocks == nil {
		return nil
	}
	for _, s := range p.single {
		b.dst.Blocks.Put(ctx, s.digest, s.loc, 0, s.size)
	}
	return b.dst.Blocks.Flush(ctx)
}

// discard frees what is not visible.
func (p *placed) discard(ctx context.Context) {
	for _, rec := range p.ended {
		_ = rec.Discard(context.WithoutCancel(ctx)) // what stays is never believed, and swept later
	}
}
