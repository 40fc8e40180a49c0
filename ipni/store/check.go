package store

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Check yields those of mhs that are missing from a group. What is not kept on purpose, see
// [Stats], is not missing.
func (s *Store) Check(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) {
		tags, err := s.groups.of(ctx, g.Seal(), 0)
		if err != nil {
			yield(nil, fmt.Errorf("store: check: %w", err))
			return
		}
		valueKey := g.ValueKey()
		var want []byte
		for mh, err := range mhs.All() {
			if err == nil && s.refuses(mh) != keep {
				continue
			}
			found := false
			if err == nil && len(tags) > 0 {
				want = append(want[:0], mh...)
				if !s.o.Compact {
					want = dhash.Seal(want[:0], valueKey, mh)
				}
				found, err = s.has(ctx, dhash.SecondHash(mh), want, tags)
			}
			if err != nil {
				yield(nil, fmt.Errorf("store: check: %w", err))
				return
			}
			if !found && !yield(mh, nil) {
				return
			}
		}
	}
}

// has reports whether key has the value under one of tags.
func (s *Store) has(ctx context.Context, key dhash.Key, value []byte, tags []valuestore.Tag) (bool, error) {
	for v, err := range s.values.Values(ctx, key) {
		if err != nil {
			return false, err
		}
		order := bytes.Compare(v.Bytes, value)
		if order == 0 && slices.Contains(tags, v.Tag) {
			return true, nil
		}
		if order > 0 {
			break // they are ordered
		}
	}
	return false, nil
}
