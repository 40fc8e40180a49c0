package jsstore

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// maxSub is about how many blocks one record holds. Hash-stream puts all that it
// writes at once into one, and reads several as if they were one.
const maxSub = 1 << 18

// ExportOptions tunes [Export].
type ExportOptions struct {
	Options
	Level index.Level // records to write; default all
	// Roots are the DAGs for which there are multiple-level records. Default: every root.
	Roots []digest.Digest
	// Path is what hash-stream calls a raw file. Nil means the path of its location.
	Path func(index.Location) (string, error)
}

// Exported counts what [Export] wrote.
type Exported struct {
	Blocks int64 // single-level records of blocks
	Packs  int64 // single-level records of packs
	Roots  int64 // that have multiple-level records
}

// Export writes the records of x for hash-stream. It copies no pack: ours are
// hash-stream's in the layout [Disk]. Roots without a plan are [io/fs.ErrNotExist] if they are named.
func Export(ctx context.Context, x *index.Index, store blob.Putter, o *ExportOptions) (Exported, error) {
	e := exporter{x: x, store: store}
	if o != nil {
		e.o = *o
	}
	if e.o.Level == "" {
		e.o.Level = index.LevelAll
	}
	err := e.run(ctx)
	if err != nil {
		err = fmt.Errorf("jsstore: export: %w", err)
	}
	return e.n, err
}

type exporter struct {
	x     *index.Index
	store blob.Putter
	o     ExportOptions
	n     Exported
}

func (e *exporter) run(ctx context.Context) error {
	if e.o.Level == index.LevelAll || e.o.Level == index.LevelSingle {
		if err := e.singles(ctx); err != nil {
			return err
		}
	}
	if e.o.Level != index.LevelAll && e.o.Level != index.LevelMultiple {
		return nil
	}
	for _, d := range e.o.Roots {
		if err := e.root(ctx, d); err != nil {
			return err
		}
	}
	if len(e.o.Roots) > 0 {
		return nil
	}
	for d, err := range e.x.Roots(ctx) {
		if err == nil {
			err = e.root(ctx, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) singles(ctx context.Context) error {
	packs := map[digest.Digest]bool{}
	for r, err := range e.x.All(ctx) {
		if err != nil {
			return err
		}
		b, err := e.blob(r)
		if err == nil {
			err = Put(ctx, e.store, b, SingleLevel, &e.o.Options)
		}
		if err != nil {
			return err
		}
		e.n.Blocks++
		if p := r.Location.Pack; !p.IsZero() && p != r.Digest && !packs[p] {
			packs[p] = true
			if err := Put(ctx, e.store, Pack(p), SingleLevel, &e.o.Options); err != nil {
				return err
			}
			e.n.Packs++
		}
	}
	return nil
}

func (e *exporter) blob(r index.Record) (Record, error) {
	loc, err := r.Location, error(nil)
	if loc.Path != "" && e.o.Path != nil {
		loc.Path, err = e.o.Path(loc)
	}
	return Blob(r.Digest, loc, r.Offset, r.Length), err
}

// root writes the records of one DAG, from its first plan.
func (e *exporter) root(ctx context.Context, d digest.Digest) error {
	for p, err := range e.x.Plans(ctx, d) {
		if err != nil {
			return err
		}
		w := containing{exporter: e, root: d, used: map[digest.Digest]bool{}}
		for r, err := range p.Records(ctx) {
			if err == nil && r.Type == index.Blob {
				err = w.add(ctx, r)
			}
			if err != nil {
				return err
			}
		}
		e.n.Roots++
		return w.flush(ctx)
	}
	return fmt.Errorf("plan of %s: %w", d, fs.ErrNotExist)
}

// containing writes the records of one root.
type containing struct {
	*exporter
	root   digest.Digest
	sub    []Record
	packs  map[digest.Digest]int // index into sub
	blocks int
	used   map[digest.Digest]bool // first sub-records, which name the objects
}

func (w *containing) add(ctx context.Context, r index.Record) error {
	b, err := w.blob(r)
	if err != nil {
		return err
	}
	name := r.Digest
	if packed := b.Path == "" && b.Location != r.Digest; packed {
		name = b.Location
	}
	if w.blocks >= maxSub && !w.used[name] {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	if len(w.sub) == 0 {
		w.used[name], w.packs, w.blocks = true, map[digest.Digest]int{}, 0
	}
	w.blocks++
	if name == r.Digest {
		w.sub = append(w.sub, b)
		return nil
	}
	i, ok := w.packs[name]
	if !ok {
		i = len(w.sub)
		w.packs[name] = i
		w.sub = append(w.sub, Pack(name))
	}
	w.sub[i].Sub = append(w.sub[i].Sub, b)
	return nil
}

func (w *containing) flush(ctx context.Context) error {
	if len(w.sub) == 0 {
		return nil
	}
	err := Put(ctx, w.store, Containing(w.root, w.sub...), MultipleLevel, &w.o.Options)
	w.sub = nil
	return err
}
