package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// errCompact is why others cannot write to a compact store.
var errCompact = fmt.Errorf("the store is compact: it keeps multihashes, and takes none that are hashed. Configure the mode sealed on a node that others write to: %w", errors.ErrUnsupported)

// match is a multihash with one of the groups that hold it.
type match struct {
	mh multihash.Multihash // valid until the next match
	*owner
}

// compactContexts is Contexts in compact mode.
func (s *Store) compactContexts(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Context, error] {
	return func(yield func(ipni.Context, error) bool) {
		for m, err := range s.matches(ctx, dhash.SecondHash(mh)) {
			if err != nil {
				yield(ipni.Context{}, err)
				return
			}
			if !yield(m.context, nil) {
				return
			}
		}
	}
}

// compactValueKeys is ValueKeys in compact mode: it seals what it finds.
func (s *Store) compactValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var sealed []byte
		for m, err := range s.matches(ctx, key) {
			if err != nil {
				yield(nil, err)
				return
			}
			if sealed = dhash.Seal(sealed[:0], m.valueKey, m.mh); !yield(sealed, nil) {
				return
			}
		}
	}
}

// matches yields what holds the multihash of key, each context once. The value store may
// know a part of the key only, so the multihash is hashed again.
func (s *Store) matches(ctx context.Context, key dhash.Key) iter.Seq2[match, error] {
	return func(yield func(match, error) bool) {
		var (
			hashed multihash.Multihash // the last one that was hashed
			same   bool                // its key is the one
			seen   seen
		)
		for v, err := range s.values.Values(ctx, key) {
			if err != nil {
				yield(match{}, fmt.Errorf("store: look up: %w", err))
				return
			}
			if hashed == nil || !bytes.Equal(v.Bytes, hashed) {
				hashed = append(hashed[:0], v.Bytes...)
				same = dhash.SecondHash(hashed) == key
			}
			if !same {
				continue
			}
			o, err := s.owner(ctx, v)
			if err != nil {
				yield(match{}, err)
				return
			}
			if o == nil || seen.again(o.Context) {
				continue
			}
			if !yield(match{hashed, o}, nil) {
				return
			}
		}
	}
}

// owner returns what a value belongs to, or nil if that was removed in the
// meantime.
func (s *Store) owner(ctx context.Context, v valuestore.Value) (*owner, error) {
	o, err := s.groups.owner(ctx, v.Tag, s.o.Compact)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: look up: %w", err)
	}
	return o, nil
}

// seen is the contexts that were met. Most lookups meet one, for which there is no map.
type seen struct {
	first dhash.MetadataKey
	any   bool
	rest  map[dhash.MetadataKey]struct{}
}

// again reports whether key was met before.
func (s *seen) again(key dhash.MetadataKey) bool {
	if !s.any {
		s.first, s.any = key, true
		return false
	}
	if key == s.first {
		return true
	}
	if _, ok := s.rest[key]; ok {
		return true
	}
	if s.rest == nil {
		s.rest = map[dhash.MetadataKey]struct{}{}
	}
	s.rest[key] = struct{}{}
	return false
}
