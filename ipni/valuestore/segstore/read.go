package segstore

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/table"
)

// Values implements [valuestore.Reader]. Values of keys that begin as key does are among
// them if the store keeps short keys.
func (s *Store) Values(ctx context.Context, key dhash.Key) iter.Seq2[valuestore.Value, error] {
	return func(yield func(valuestore.Value, error) bool) {
		if err := s.readable(ctx); err != nil {
			yield(valuestore.Value{}, err)
			return
		}
		v := s.acquire()
		defer s.release(v)
		var room [8]segment.Source
		key := s.stored(key)
		sources := v.find(room[:0], &key, s.keyBytes)
		if len(sources) == 0 {
			return
		}
		defer closeAll(sources)
		err := v.each(ctx, sources, func(r *segment.Record) bool {
			return yield(valuestore.Value{Tag: r.Tag, Bytes: r.Value}, nil)
		})
		if err != nil {
			yield(valuestore.Value{}, fmt.Errorf("segstore: values of %x: %w", key, err))
		}
	}
}

// readable returns why nothing can be read.
func (s *Store) readable(ctx context.Context) error {
	if s.queue.Closed() {
		return fmt.Errorf("segstore: read: %w", fs.ErrClosed)
	}
	return ctx.Err()
}

// find returns the sources that may have records of key, the newest first.
func (v *version) find(sources []segment.Source, key *dhash.Key, keyBytes int) []segment.Source {
	for _, t := range v.tables {
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

// each calls f with the records of sources that are there, until it returns false.
func (v *version) each(ctx context.Context, sources []segment.Source, f func(r *segment.Record) bool) error {
	m := segment.NewMerge(sources)
	for n := 0; ; n++ {
		r := m.Next()
		if r == nil {
			return m.Err()
		}
		if n&1023 == 1023 && ctx.Err() != nil {
			return ctx.Err()
		}
		if r.Gone {
			continue
		}
		if _, removed := v.Removed[r.Tag]; removed {
			continue
		}
		if !f(r) {
			return nil
		}
	}
}

func closeAll(sources []segment.Source) {
	for _, src := range sources {
		if c, ok := src.(*segment.Cursor); ok {
			c.Close()
		}
	}
}

// Range implements [valuestore.Reader].
func (s *Store) Range(ctx context.Context, r valuestore.Range) iter.Seq2[valuestore.Record, error] {
	return func(yield func(valuestore.Record, error) bool) {
		if err := s.readable(ctx); err != nil {
			yield(valuestore.Record{}, err)
			return
		}
		v := s.acquire()
		defer s.release(v)
		var tables []*table.Source
		for _, t := range v.tables {
			tables = append(tables, t.Sorted(segment.HeadOf(&r.From), segment.HeadOf(&r.To)))
		}
		more := true
		for i := v.PartOf(segment.HeadOf(&r.From)); more && i <= v.PartOf(segment.HeadOf(&r.To)); i++ {
			err := v.scan(ctx, i, r, tables, func(rec *segment.Record) bool {
				more = yield(valuestore.Record{Key: rec.Key, Value: valuestore.Value{Tag: rec.Tag, Bytes: rec.Value}}, nil)
				return more
			})
			if err != nil {
				yield(valuestore.Record{}, fmt.Errorf("segstore: range: %w", err))
				return
			}
		}
	}
}

// scan calls f with the records of r in a partition.
func (v *version) scan(ctx context.Context, i int, r valuestore.Range, tables []*table.Source, f func(*segment.Record) bool) error {
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
	files, err := scanAll(slices.Concat(v.Parts[i].Runs, v.Pending(i)), r, false)
	defer closeAll(files)
	if err != nil {
		return err
	}
	return v.each(ctx, append(sources, files...), func(rec *segment.Record) bool {
		return !r.Contains(rec.Key) || f(rec) // tables know heads only
	})
}

// scanAll returns sources over files, which are the oldest first, the newest first.
func scanAll(files []*layout.File, r valuestore.Range, direct bool) (sources []segment.Source, err error) {
	for i := len(files) - 1; i >= 0; i-- {
		c, err := files[i].Scan(r.From, r.To, direct)
		if err != nil {
			return sources, err
		}
		sources = append(sources, c)
	}
	return sources, nil
}
