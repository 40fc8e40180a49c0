package pgkv

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"

	"github.com/hashstream/hashstream/kv"
)

// Update replaces the value of one key by what f makes of it. It compares and swaps,
// and so holds neither a lock nor a connection while f runs.
func (s *Store) Update(ctx context.Context, key []byte, f func(old []byte) ([]byte, error)) error {
	err := kv.CheckKey(key)
	if err == nil {
		err = s.update(ctx, key, f)
	}
	if err != nil {
		return fmt.Errorf("pgkv: update %s: %w", short(key), err)
	}
	return nil
}

func (s *Store) update(ctx context.Context, key []byte, f func(old []byte) ([]byte, error)) error {
	// The updates of this process queue here rather than lose races at the server.
	stripe := s.stripes[maphash.Bytes(s.seed, key)%uint64(len(s.stripes))]
	select {
	case stripe <- struct{}{}:
		defer func() { <-stripe }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for n, lost := 0, false; ; n++ {
		old, err := s.get(ctx, key)
		if err != nil {
			return err
		}
		value, err := f(bytes.Clone(old)) // which may scribble on it
		if same(old, value) && err == nil {
			return nil // also if an update that broke off was applied: f has no more to do
		}
		if lost {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		var swapped bool
		if swapped, lost, err = s.swap(ctx, key, old, value); swapped || err != nil {
			return err
		}
		if err := sleep(ctx, backoff(min(n, 4))/2); err != nil {
			return err
		}
	}
}

// same tells an empty value from none.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// swap writes value if the key holds old. lost tells that it may have done so before
// although it does not now.
func (s *Store) swap(ctx context.Context, key, old, value []byte) (swapped, lost bool, err error) {
	sql, args := s.sql.replace, []any{key, old, value}
	switch {
	case old == nil:
		sql, args = s.sql.insert, []any{key, value}
	case value == nil:
		sql, args = s.sql.removeOld, []any{key, old}
	}
	err = s.retry(ctx, "update", func() error {
		tag, err := s.pool.Exec(ctx, sql, args...)
		swapped = err == nil && tag.RowsAffected() == 1
		lost = lost || err != nil && unknown(err)
		return err
	})
	if err != nil && lost {
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return swapped, lost, err
}
