// Package view is what a store consists of at a moment: segments on disk and tables in memory, and how both
// are read as one.
//
// A View does not change once it is current, but for the records of its first table and what the
// store says of it under its lock.
package view

import (
	"context"
	"slices"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/table"
)

// View is the state of a store. Who reads holds one, and with it the files.
type View struct {
	layout.Layout
	Tables []*Memory // the newest first
	refs   int
}

// Memory is a table of a view.
type Memory struct {
	*table.Table
	Log  uint64 // the log with the same records, 0 if there is none yet; guarded by the store
	Gen  uint64 // of removals, when the table was begun
	refs int    // views that hold it
}

// Clone returns a view that can be changed, which nobody holds.
func (v *View) Clone() *View {
	return &View{Tables: slices.Clone(v.Tables), Layout: v.Layout.Clone()}
}

// Begin adds a table, while a store is opened that holds the view.
func (v *View) Begin(t *Memory) {
	t.refs = 1
	v.Tables = append([]*Memory{t}, v.Tables...)
}

// Hold counts one more who holds the view. The store's lock is held, here and in Release.
func (v *View) Hold() {
	v.refs++
	if v.refs > 1 {
		return
	}
	for f := range v.Files() {
		f.Refs++
	}
	for _, t := range v.Tables {
		t.refs++
	}
}

// Release counts one less, and returns what nobody holds any more.
func (v *View) Release() (files []*layout.File, old []*Memory) {
	if v.refs--; v.refs > 0 {
		return nil, nil
	}
	for f := range v.Files() {
		if f.Refs--; f.Refs == 0 {
			files = append(files, f)
		}
	}
	for _, t := range v.Tables {
		if t.refs--; t.refs == 0 {
			old = append(old, t)
		}
	}
	return files, old
}

// Find returns the sources that may have records of key, the newest first.
func (v *View) Find(sources []segment.Source, key *dhash.Key, keyBytes int) []segment.Source {
	for _, t := range v.Tables {
		if src := t.Find(key[:keyBytes]); src != nil {
			sources = append(sources, src)
		}
	}
	head := segment.HeadOf(key)
	i := v.PartOf(head)
	for _, files := range [][]*layout.File{v.Pending(i), v.Parts[i].Runs} {
		for i := len(files) - 1; i >= 0; i-- {
			if c := files[i].Find(key, head); c != nil {
				sources = append(sources, c)
			}
		}
	}
	return sources
}

// Each calls f with the records of sources that are there, until it returns false.
func (v *View) Each(ctx context.Context, sources []segment.Source, f func(r *segment.Record) bool) error {
	m := segment.NewMerge(sources)
	for n := 0; ; n++ {
		r := m.Next()
		if r == nil {
			return m.Err()
		}
		if n&1023 == 1023 && ctx.Err() != nil {
			return ctx.Err()
		}
		if r.Gone || v.Removed.Has(r.Tag) {
			continue
		}
		if !f(r) {
			return nil
		}
	}
}

// Copy writes the records of sources, the newest first, without those that are removed, and returns how
// many. bottom says that there are none below them: deleted ones need not be known any more.
func (v *View) Copy(ctx context.Context, w *segment.Writer, sources []segment.Source, bottom bool) (n int, err error) {
	m := segment.NewMerge(sources)
	removed := v.Removed.Flat()
	for r := m.Next(); r != nil; r = m.Next() {
		if n&1023 == 1023 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		if bottom && r.Gone || removed.Has(r.Tag) {
			continue
		}
		if err := w.Add(r); err != nil {
			return n, err
		}
		n++
	}
	return n, m.Err()
}

// Scan calls f with the records of r in a partition. tables are the records of r, or more, in memory.
func (v *View) Scan(ctx context.Context, i int, r valuestore.Range, tables []*table.Source, f func(*segment.Record) bool) error {
	b := v.Bounds(i)
	if !b.Contains(r.From) {
		r.From = b.From
	}
	if !b.Contains(r.To) {
		r.To = b.To
	}
	var sources []segment.Source
	for _, t := range tables {
		sources = append(sources, t.Part(segment.HeadOf(&r.From), segment.HeadOf(&r.To)))
	}
	files, err := Sources(slices.Concat(v.Parts[i].Runs, v.Pending(i)), r, false)
	defer Close(files)
	if err != nil {
		return err
	}
	return v.Each(ctx, append(sources, files...), func(rec *segment.Record) bool {
		return !r.Contains(rec.Key) || f(rec) // tables know heads only
	})
}

// Sources returns sources over files, which are the oldest first, the newest first. Those that are
// returned with an error are to be closed too.
func Sources(files []*layout.File, r valuestore.Range, direct bool) (sources []segment.Source, err error) {
	for i := len(files) - 1; i >= 0; i-- {
		c, err := files[i].Scan(r.From, r.To, direct)
		if err != nil {
			return sources, err
		}
		sources = append(sources, c)
	}
	return sources, nil
}

// Close closes the sources that are files.
func Close(sources []segment.Source) {
	for _, src := range sources {
		if c, ok := src.(*segment.Cursor); ok {
			c.Close()
		}
	}
}
