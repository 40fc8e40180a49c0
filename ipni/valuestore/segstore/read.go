package segstore

import (
	"context"
	"fmt"
	"io/fs"
	"iter"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/table"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/view"
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
		sources := v.Find(room[:0], &key, s.keyBytes)
		if len(sources) == 0 {
			return
		}
		defer view.Close(sources)
		err := v.Each(ctx, sources, func(r *segment.Record) bool {
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
		for _, t := range v.Tables {
			tables = append(tables, t.Sorted(segment.HeadOf(&r.From), segment.HeadOf(&r.To)))
		}
		more := true
		for i := v.PartOf(segment.HeadOf(&r.From)); more && i <= v.PartOf(segment.HeadOf(&r.To)); i++ {
			err := v.Scan(ctx, i, r, tables, func(rec *segment.Record) bool {
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
