package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hashstream/hashstream/kv"
)

// Batch applies ops in order, all or none, and returns when they are durable.
func (s *Store) Batch(ctx context.Context, ops []kv.Op) error {
	if err := s.batch(ctx, ops); err != nil {
		return fmt.Errorf("pebblekv: batch: %w", err)
	}
	return nil
}

func (s *Store) batch(ctx context.Context, ops []kv.Op) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.users.Done()
	if err := kv.CheckOps(ops); err != nil || len(ops) == 0 {
		return err
	}
	size := 0
	for _, o := range ops {
		size += len(o.Key) + len(o.Value) + 16
	}
	b := s.db.NewBatchWithSize(size)
	for _, o := range ops {
		if err := add(b, o); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	set := s.stripes.of(ops)
	return s.commit(b, func(apply func() error) error {
		s.stripes.rlock(set)
		defer s.stripes.runlock(set)
		return apply()
	})
}

func add(b *pebble.Batch, o kv.Op) error {
	switch o.Kind {
	case kv.KindPut:
		return b.Set(o.Key, o.Value, nil)
	case kv.KindDelete:
		return b.Delete(o.Key, nil)
	}
	if string(o.Key) >= string(o.Value) {
		return nil // an empty range
	}
	return b.DeleteRange(o.Key, o.Value, nil)
}

// Update replaces the value of one key by what f makes of it.
func (s *Store) Update(ctx context.Context, key []byte, f func(old []byte) ([]byte, error)) error {
	if err := s.update(ctx, key, f); err != nil {
		return fmt.Errorf("pebblekv: update %x: %w", key, err)
	}
	return nil
}

func (s *Store) update(ctx context.Context, key []byte, f func(old []byte) ([]byte, error)) error {
	if err := kv.CheckKey(key); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.users.Done()
	b := s.db.NewBatch()
	return s.commit(b, func(apply func() error) error {
		l := &s.stripes.locks[s.stripes.index(key)]
		l.Lock()
		defer l.Unlock()
		old, err := s.get(key)
		if err != nil {
			return err
		}
		value, err := f(old)
		if err != nil {
			return err
		}
		if value == nil {
			err = b.Delete(key, nil)
		} else {
			err = b.Set(key, value, nil)
		}
		if err != nil {
			return err
		}
		return apply()
	})
}

// commit makes b visible and then waits until it is durable. Locked runs its
// argument, which makes b visible, under the right locks; the wait is outside of
// them, so that many writers share one sync.
func (s *Store) commit(b *pebble.Batch, locked func(apply func() error) error) error {
	applied := false
	err := locked(func() error {
		if err := s.writable(b.Len()); err != nil {
			return err
		}
		if err := s.apply(b); err != nil {
			return err
		}
		applied = true
		return nil
	})
	if applied {
		err = errors.Join(err, s.broken(b.SyncWait()))
	}
	if errors.As(err, new(fatalError)) {
		return err // the batch may still be in the broken pipeline
	}
	return errors.Join(err, b.Close())
}

func (s *Store) apply(b *pebble.Batch) (err error) {
	defer func() { err = s.broken(err) }()
	defer recoverFatal(&err)
	return s.db.ApplyNoSyncWait(b, pebble.Sync)
}

// broken remembers that a write failed: what Pebble would do next is undefined.
func (s *Store) broken(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fatalError{fmt.Errorf("the database takes no writes after: %w", err)}
	}
	return s.failed
}

// writable checks that the database is sound and the disk has room for n bytes.
func (s *Store) writable(n int) error {
	s.mu.Lock()
	err := s.failed
	s.mu.Unlock()
	if err != nil || s.minFree < 0 {
		return err
	}
	u, err := vfs.Default.GetDiskUsage(s.dir)
	if err != nil {
		return err
	}
	if need := uint64(s.minFree) + uint64(n); u.AvailBytes < need {
		return fmt.Errorf("%d bytes are free, a write needs %d: %w", u.AvailBytes, need, syscall.ENOSPC)
	}
	return nil
}

// stripes are locks, each for many keys. An update holds one of them alone; a
// batch shares those of its keys with other batches, so that no update reads
// before and writes after it.
type stripes struct {
	seed  maphash.Seed
	locks [64]sync.RWMutex
}

func (s *stripes) index(key []byte) int {
	return int(maphash.Bytes(s.seed, key) % uint64(len(s.locks)))
}

// of returns the set of stripes that ops touch.
func (s *stripes) of(ops []kv.Op) (set uint64) {
	for _, o := range ops {
		if o.Kind == kv.KindDeleteRange {
			return ^uint64(0)
		}
		set |= 1 << s.index(o.Key)
		if set == ^uint64(0) {
			break
		}
	}
	return set
}

// rlock takes the locks in order, so that no two batches wait for each other.
func (s *stripes) rlock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.locks[bits.TrailingZeros64(set)].RLock()
	}
}

func (s *stripes) runlock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.locks[bits.TrailingZeros64(set)].RUnlock()
	}
}
