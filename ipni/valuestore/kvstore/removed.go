package kvstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

// removedBatch is how many tags are removed at once. Each batch has a state of its own.
const removedBatch = batchSize - 1

// tags is a set of tags that does not change.
type tags map[valuestore.Tag]struct{}

// snapshot is the tags that are removed, as of a state or a later one.
type snapshot struct {
	state []byte // nil if nothing was ever removed
	tags  tags
}

// cache keeps the latest snapshot.
type cache struct {
	last atomic.Pointer[snapshot]
	load sync.Mutex // one reading for concurrent readers
}

func stateKey() []byte { return []byte{statePrefix} }

func removedRow(tag valuestore.Tag) []byte {
	return binary.BigEndian.AppendUint64([]byte{removedPrefix}, uint64(tag))
}

// changed is what tells other readers that the tags that are removed are not what they were.
func changed() kv.Op { return kv.Put(stateKey(), []byte(rand.Text())) }

// Remove implements [valuestore.Store]. The rows stay until they are swept, see [Store.Run], and
// reads skip them. Tag 0 cannot be removed, it matches fs.ErrInvalid.
func (s *Store) Remove(ctx context.Context, all ...valuestore.Tag) error {
	for _, tag := range all {
		if tag == 0 || tag > valuestore.MaxTag {
			return fmt.Errorf("kvstore: remove: tag %d: %w", tag, fs.ErrInvalid)
		}
	}
	if err := s.mark(ctx, all, func(tag valuestore.Tag) kv.Op { return kv.Put(removedRow(tag), nil) }); err != nil {
		return fmt.Errorf("kvstore: remove: %w", err)
	}
	return nil
}

// mark writes the rows of tags, and with each batch of them that they changed.
func (s *Store) mark(ctx context.Context, all []valuestore.Tag, op func(valuestore.Tag) kv.Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for len(all) > 0 {
		ops := []kv.Op{changed()}
		for n := min(len(all), removedBatch); n > 0; n-- {
			ops = append(ops, op(all[0]))
			all = all[1:]
		}
		if err := s.kv.Batch(ctx, ops); err != nil {
			return err
		}
	}
	return nil
}

// removed returns the tags that were removed before the call, and are not swept.
func (s *Store) removed(ctx context.Context) (tags, error) {
	state, err := s.kv.Get(ctx, stateKey())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if last := s.gone.last.Load(); last != nil && bytes.Equal(last.state, state) {
		return last.tags, nil
	}
	s.gone.load.Lock()
	defer s.gone.load.Unlock()
	if last := s.gone.last.Load(); last != nil && bytes.Equal(last.state, state) {
		return last.tags, nil
	}
	all, err := s.readRemoved(ctx)
	if err != nil {
		return nil, err
	}
	// They may be of a later state than the one that was read before: then they are read again.
	s.gone.last.Store(&snapshot{state, all})
	return all, nil
}

func (s *Store) readRemoved(ctx context.Context) (tags, error) {
	all := tags{}
	for p, err := range s.kv.Scan(ctx, kv.Prefix([]byte{removedPrefix})) {
		if err != nil {
			return nil, err
		}
		if len(p.Key) != 1+tagSize {
			return nil, fmt.Errorf("row %x: %w: malformed", p.Key, digest.ErrMismatch)
		}
		all[valuestore.Tag(binary.BigEndian.Uint64(p.Key[1:]))] = struct{}{}
	}
	return all, nil
}
