// Package memblob stores objects in memory, for tests and for nodes that keep
// nothing.
//
// # Errors
//
// As package blob says.
//
// A Store is safe for concurrent use. Objects that are open stay as they were
// when they were opened.
package memblob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashstream/hashstream/blob"
)

// Store keeps objects in memory. It implements [blob.Store] and [blob.Drafter].
type Store struct {
	mu      sync.RWMutex
	entries map[string]entry
	writes  uint64 // counts, to tell versions apart
}

var (
	_ blob.Store   = (*Store)(nil)
	_ blob.Drafter = (*Store)(nil)
)

// entry is never modified once it is stored.
type entry struct {
	data []byte
	info blob.Info
}

// New returns an empty store.
func New() *Store { return &Store{entries: map[string]entry{}} }

// Get opens n bytes of key from offset off. The object implements [io.WriterTo].
func (s *Store) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	e, err := s.find(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("memblob: get %s: %w", key, err)
	}
	size := int64(len(e.data))
	switch {
	case off < 0:
		return nil, fmt.Errorf("memblob: get %s: offset %d: %w", key, off, fs.ErrInvalid)
	case off > size:
		return nil, fmt.Errorf("memblob: get %s at %d of %d bytes: %w", key, off, size, blob.ErrRange)
	case n < 0 || n > size-off:
		n = size - off
	}
	o := &object{info: e.info}
	o.Reset(e.data[off : off+n])
	return o, nil
}

type object struct {
	bytes.Reader
	info blob.Info
}

func (o *object) Info() blob.Info { return o.info }

func (o *object) Close() error {
	o.Reset(nil)
	return nil
}

// Stat describes key.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	e, err := s.find(ctx, key)
	if err != nil {
		return blob.Info{}, fmt.Errorf("memblob: stat %s: %w", key, err)
	}
	return e.info, nil
}

func (s *Store) find(ctx context.Context, key string) (entry, error) {
	if err := check(ctx, key); err != nil {
		return entry{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.entries[key]
	if !ok {
		return entry{}, fs.ErrNotExist
	}
	return e, nil
}

// Put stores what r yields under key.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("memblob: put %s: %w", key, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("memblob: put %s: %w", key, err)
	}
	s.store(key, data, true)
	return nil
}

// store takes data over.
func (s *Store) store(key string, data []byte, replace bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[key]; ok && !replace {
		return
	}
	s.writes++
	s.entries[key] = entry{data, blob.Info{
		Key: key, Size: int64(len(data)), ModTime: time.Now(), Version: strconv.FormatUint(s.writes, 10),
	}}
}

// Delete removes key.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("memblob: delete %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, key)
	return nil
}

// List yields the objects whose key begins with prefix, as of one moment.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		s.mu.RLock()
		entries := maps.Clone(s.entries)
		s.mu.RUnlock()
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			if ctx.Err() != nil {
				yield(blob.Info{}, fmt.Errorf("memblob: list %q: %w", prefix, context.Cause(ctx)))
				return
			}
			if strings.HasPrefix(key, prefix) && !yield(entries[key].info, nil) {
				return
			}
		}
	}
}

func check(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return blob.CheckKey(key)
}
