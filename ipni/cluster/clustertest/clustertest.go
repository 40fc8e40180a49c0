// Package clustertest holds nodes for tests of what is built on package cluster: a
// [Store] in memory, and a [Link] to a node that can be cut, stalled and made to lie.
//
// # Errors
//
// A link that is cut answers [ErrCut].
//
// All types are safe for concurrent use.
package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// ErrCut is a node that cannot be reached.
var ErrCut = errors.New("clustertest: cut off")

// id is a record.
type id struct {
	key   dhash.Key
	value string
	group ipni.SealedGroup
}

func (a id) compare(b id) int {
	for _, c := range []int{
		bytes.Compare(a.key[:], b.key[:]), bytes.Compare([]byte(a.value), []byte(b.value)),
		bytes.Compare(a.group.Provider[:], b.group.Provider[:]), bytes.Compare(a.group.Context[:], b.group.Context[:]),
	} {
		if c != 0 {
			return c
		}
	}
	return int(a.group.Epoch) - int(b.group.Epoch)
}

// Store keeps everything in maps. It is slow and simple, so that it can be the model.
type Store struct {
	mu       sync.Mutex
	records  [cluster.Partitions]map[id]bool
	metadata map[dhash.MetadataKey][]byte
}

var _ cluster.Node = (*Store)(nil)

// NewStore returns an empty store.
func NewStore() *Store {
	s := &Store{metadata: map[dhash.MetadataKey][]byte{}}
	for p := range s.records {
		s.records[p] = map[id]bool{}
	}
	return s
}

// Len returns how many records and metadata there are.
func (s *Store) Len() (records, metadata int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range s.records {
		records += len(part)
	}
	return records, len(s.metadata)
}

// ValueKeys yields the values of key.
func (s *Store) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var last *string
		for _, r := range s.sorted(valuestore.Range{From: key, To: key}) {
			if last != nil && *last == r.value {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if last = &r.value; !yield([]byte(r.value), nil) {
				return
			}
		}
	}
}

func (s *Store) sorted(r valuestore.Range) (all []id) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range s.records[r.From[0] : int(r.To[0])+1] {
		for x := range part {
			if r.Contains(x.key) {
				all = append(all, x)
			}
		}
	}
	slices.SortFunc(all, id.compare)
	return all
}

// SealedMetadata returns metadata.
func (s *Store) SealedMetadata(_ context.Context, key dhash.MetadataKey) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.metadata[key]; ok {
		return bytes.Clone(m), nil
	}
	return nil, fmt.Errorf("clustertest: metadata: %w", fs.ErrNotExist)
}

// PutSealed adds records.
func (s *Store) PutSealed(_ context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return s.each(g, records, func(x id) { s.records[x.key[0]][x] = true })
}

// DeleteSealed deletes records.
func (s *Store) DeleteSealed(_ context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return s.each(g, records, func(x id) { delete(s.records[x.key[0]], x) })
}

func (s *Store) each(g ipni.SealedGroup, records valuestore.Records, f func(id)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e, err := range records.All() {
		if err != nil {
			return err
		}
		f(id{e.Key, string(e.Value), g})
	}
	return nil
}

// RemoveSealed removes groups.
func (s *Store) RemoveSealed(_ context.Context, provider ipni.ProviderTag, of *dhash.MetadataKey, before uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range s.records {
		maps.DeleteFunc(part, func(x id, _ bool) bool {
			return x.group.Provider == provider && (of == nil || x.group.Context == *of) && x.group.Epoch < before
		})
	}
	return nil
}

// PutSealedMetadata sets metadata.
func (s *Store) PutSealedMetadata(_ context.Context, key dhash.MetadataKey, sealed []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.metadata[key] = bytes.Clone(sealed); sealed == nil {
		delete(s.metadata, key)
	}
	return nil
}

// ExportSealed yields records.
func (s *Store) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	return func(yield func(cluster.Record, error) bool) {
		for _, x := range s.sorted(r) {
			if err := ctx.Err(); err != nil {
				yield(cluster.Record{}, err)
				return
			}
			if !yield(cluster.Record{Group: x.group, Key: x.key, Value: []byte(x.value)}, nil) {
				return
			}
		}
	}
}

// ExportMetadata yields metadata.
func (s *Store) ExportMetadata(_ context.Context, r valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	return func(yield func(cluster.Metadata, error) bool) {
		all := map[dhash.MetadataKey][]byte{}
		s.mu.Lock()
		for key, sealed := range s.metadata {
			if r.Contains(dhash.Key(key)) {
				all[key] = sealed
			}
		}
		s.mu.Unlock()
		keys := slices.SortedFunc(maps.Keys(all), func(a, b dhash.MetadataKey) int { return bytes.Compare(a[:], b[:]) })
		for _, key := range keys {
			if !yield(cluster.Metadata{Key: key, Sealed: all[key]}, nil) {
				return
			}
		}
	}
}
