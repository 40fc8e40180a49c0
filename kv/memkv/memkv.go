// Package memkv keeps ordered keys in memory, for tests and for nodes that keep
// nothing. A scan reads a copy-on-write clone of the tree.
//
// # Errors
//
// As package kv says.
//
// A Store is safe for concurrent use.
package memkv

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/RaduBerinde/btreemap"

	"github.com/hashstream/hashstream/kv"
)

// degree of the tree: what its authors measured as good.
const degree = 32

// Store keeps pairs in memory.
type Store struct {
	mu     sync.Mutex
	tree   *btreemap.BTreeMap[[]byte, entry]
	writes uint64
}

var _ kv.Store = (*Store)(nil)

// entry is a value and the number of the write that made it.
type entry struct {
	value []byte
	write uint64
}

// New returns an empty store.
func New() *Store {
	return &Store{tree: btreemap.New[[]byte, entry](degree, bytes.Compare)}
}

// Get returns the value of key.
func (s *Store) Get(ctx context.Context, key []byte) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("memkv: get %x: %w", key, context.Cause(ctx))
	}
	if e, ok := s.find(key); ok {
		return clone(e.value), nil
	}
	return nil, fmt.Errorf("memkv: get %x: %w", key, fs.ErrNotExist)
}

func (s *Store) find(key []byte) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, e, ok := s.tree.Get(key)
	return e, ok
}

// Scan yields the pairs of r.
func (s *Store) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		s.mu.Lock()
		tree := s.tree.Clone()
		s.mu.Unlock()
		if ctx.Err() != nil {
			yield(kv.Pair{}, fmt.Errorf("memkv: scan: %w", context.Cause(ctx)))
			return
		}
		for key, e := range ascend(tree, r) {
			if ctx.Err() != nil {
				yield(kv.Pair{}, fmt.Errorf("memkv: scan: %w", context.Cause(ctx)))
				return
			}
			if !yield(kv.Pair{Key: clone(key), Value: clone(e.value)}, nil) {
				return
			}
		}
	}
}

func ascend(tree *btreemap.BTreeMap[[]byte, entry], r kv.Range) iter.Seq2[[]byte, entry] {
	if r.To == nil {
		return tree.Ascend(btreemap.GE(r.From), btreemap.Max[[]byte]())
	}
	return tree.Ascend(btreemap.GE(r.From), btreemap.LT(r.To))
}

// Batch applies ops in order, all or none.
func (s *Store) Batch(ctx context.Context, ops []kv.Op) error {
	err := kv.CheckOps(ops)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("memkv: batch: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range ops {
		s.apply(o)
	}
	return nil
}

// apply does one valid operation; s.mu is held.
func (s *Store) apply(o kv.Op) {
	s.writes++
	switch o.Kind {
	case kv.KindPut:
		s.tree.ReplaceOrInsert(clone(o.Key), entry{clone(o.Value), s.writes})
	case kv.KindDelete:
		s.tree.Delete(o.Key)
	case kv.KindDeleteRange:
		for key := range ascend(s.tree.Clone(), kv.Range{From: o.Key, To: o.Value}) {
			s.tree.Delete(key)
		}
	}
}

// Update replaces the value of one key by what f makes of it.
func (s *Store) Update(ctx context.Context, key []byte, f func(old []byte) ([]byte, error)) error {
	if err := kv.CheckKey(key); err != nil {
		return fmt.Errorf("memkv: update: %w", err)
	}
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("memkv: update %x: %w", key, context.Cause(ctx))
		}
		e, ok := s.find(key)
		var old []byte
		if ok {
			old = clone(e.value)
		}
		value, err := f(old)
		if err != nil {
			return fmt.Errorf("memkv: update %x: %w", key, err)
		}
		if s.swap(key, e.write, value) {
			return nil
		}
	}
}

// swap stores value if key still has the value of the given write, 0 for none.
func (s *Store) swap(key []byte, write uint64, value []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, now, _ := s.tree.Get(key); now.write != write {
		return false
	}
	if value == nil {
		s.apply(kv.Delete(key))
	} else {
		s.apply(kv.Put(key, value))
	}
	return true
}

// clone returns a copy that is not nil: an empty value is a value.
func clone(b []byte) []byte { return append([]byte{}, b...) }
