package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// memValues is a value store in memory, as simple as can be. It refuses tags that
// were removed, which nothing may use again.
type memValues struct {
	keep int // bytes of a key that are kept

	mu       sync.Mutex
	rows     map[dhash.Key][]valuestore.Value
	removed  map[valuestore.Tag]bool
	puts     int
	onRemove func(tags []valuestore.Tag) error // before anything is removed
	onPut    func(tag valuestore.Tag) error
}

func newMemValues(short bool) *memValues {
	keep := dhash.KeySize
	if short {
		keep = 8
	}
	return &memValues{keep: keep, rows: map[dhash.Key][]valuestore.Value{}, removed: map[valuestore.Tag]bool{}}
}

func (m *memValues) cut(k dhash.Key) dhash.Key {
	clear(k[m.keep:])
	return k
}

func order(a, b valuestore.Value) int {
	return cmp.Or(bytes.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Tag, b.Tag))
}

func (m *memValues) each(tag valuestore.Tag, records valuestore.Records, f func(dhash.Key, valuestore.Value)) error {
	if _, err := records.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.removed[tag] {
		return errors.New("memvalues: tag was removed")
	}
	for e := range records.All() {
		f(m.cut(e.Key), valuestore.Value{Tag: tag, Bytes: bytes.Clone(e.Value)})
	}
	return nil
}

func (m *memValues) Put(_ context.Context, tag valuestore.Tag, records valuestore.Records) error {
	if m.onPut != nil {
		if err := m.onPut(tag); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.puts++
	m.mu.Unlock()
	return m.each(tag, records, func(k dhash.Key, v valuestore.Value) {
		if i, ok := slices.BinarySearchFunc(m.rows[k], v, order); !ok {
			m.rows[k] = slices.Insert(m.rows[k], i, v)
		}
	})
}

func (m *memValues) Delete(_ context.Context, tag valuestore.Tag, records valuestore.Records) error {
	return m.each(tag, records, func(k dhash.Key, v valuestore.Value) {
		if i, ok := slices.BinarySearchFunc(m.rows[k], v, order); ok {
			m.rows[k] = slices.Delete(slices.Clone(m.rows[k]), i, i+1)
		}
	})
}

func (m *memValues) Remove(_ context.Context, tags ...valuestore.Tag) error {
	if m.onRemove != nil {
		if err := m.onRemove(tags); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range tags {
		m.removed[t] = true
	}
	for k, vs := range m.rows {
		m.rows[k] = slices.DeleteFunc(slices.Clone(vs), func(v valuestore.Value) bool { return m.removed[v.Tag] })
	}
	return nil
}

func (m *memValues) Values(_ context.Context, key dhash.Key) iter.Seq2[valuestore.Value, error] {
	return func(yield func(valuestore.Value, error) bool) {
		m.mu.Lock()
		vs := slices.Clone(m.rows[m.cut(key)])
		m.mu.Unlock()
		var buf []byte // as the contract says, valid until the next one
		for _, v := range vs {
			buf = append(buf[:0], v.Bytes...)
			if !yield(valuestore.Value{Tag: v.Tag, Bytes: buf}, nil) {
				return
			}
			clear(buf)
		}
	}
}

func (m *memValues) Range(_ context.Context, r valuestore.Range) iter.Seq2[valuestore.Record, error] {
	return func(yield func(valuestore.Record, error) bool) {
		m.mu.Lock()
		rows := maps.Clone(m.rows)
		m.mu.Unlock()
		keys := slices.SortedFunc(maps.Keys(rows), func(a, b dhash.Key) int { return bytes.Compare(a[:], b[:]) })
		for _, k := range keys {
			for _, v := range rows[k] {
				if r.Contains(k) && !yield(valuestore.Record{Key: k, Value: v}, nil) {
					return
				}
			}
		}
	}
}
