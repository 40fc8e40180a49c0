package store

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/kv"
)

// maxSealed is the length of the longest encrypted metadata, in bytes.
const maxSealed = dhash.MaxMetadata + dhash.Overhead

// Contexts yields the contexts of mh, each once. A context whose metadata was removed is
// yielded too.
func (s *Store) Contexts(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Context, error] {
	if s.o.Compact {
		return s.compactContexts(ctx, mh)
	}
	return func(yield func(ipni.Context, error) bool) {
		var valueKey []byte
		opener := dhash.NewOpener(mh)
		for sealed, err := range s.sealedValues(ctx, dhash.SecondHash(mh)) {
			if err != nil {
				yield(ipni.Context{}, err)
				return
			}
			c, ok := ipni.Context{}, false
			if valueKey, c, ok = openContext(valueKey[:0], sealed, opener); !ok {
				s.counts.foreign.Add(1)
				continue
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// openContext opens an encrypted value key into buf.
func openContext(buf, sealed []byte, o *dhash.Opener) (_ []byte, c ipni.Context, ok bool) {
	valueKey, err := o.Open(buf, sealed)
	if err != nil {
		return buf, c, false
	}
	id, context, err := dhash.SplitValueKey(valueKey)
	return valueKey, ipni.Context{Provider: id, ID: string(context)}, err == nil
}

// ValueKeys yields the encrypted value keys of key, each once.
func (s *Store) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	if s.o.Compact {
		return s.compactValueKeys(ctx, key)
	}
	return s.sealedValues(ctx, key)
}

// sealedValues yields the values of key. They come in the order of their bytes, so those
// that are there under several tags come one after the other.
func (s *Store) sealedValues(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var last []byte
		first := true
		for v, err := range s.values.Values(ctx, key) {
			if err != nil {
				yield(nil, fmt.Errorf("store: look up: %w", err))
				return
			}
			if !first && bytes.Equal(v.Bytes, last) {
				continue
			}
			first, last = false, append(last[:0], v.Bytes...)
			if !yield(v.Bytes, nil) {
				return
			}
		}
	}
}

// Metadata returns the metadata of a context.
func (s *Store) Metadata(ctx context.Context, c ipni.Context) ([]byte, error) {
	valueKey := c.ValueKey()
	sealed, err := s.SealedMetadata(ctx, dhash.HashValueKey(valueKey))
	if err != nil {
		return nil, err
	}
	metadata, err := dhash.Open(nil, sealed, valueKey)
	if err != nil {
		return nil, fmt.Errorf("store: metadata of a context of %s: %w", c.Provider, err)
	}
	return metadata, nil
}

// SealedMetadata returns encrypted metadata.
func (s *Store) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	sealed, err := s.kv.Get(ctx, metadataKey(key))
	if err != nil {
		return nil, fmt.Errorf("store: metadata %x: %w", key, err)
	}
	return sealed, nil
}

// PutMetadata sets the metadata of a context, of at most [dhash.MaxMetadata] bytes; nil removes it.
func (s *Store) PutMetadata(ctx context.Context, c ipni.Context, metadata []byte) error {
	valueKey, err := checkContext(c)
	if err != nil {
		return fmt.Errorf("store: put metadata: %w", err)
	}
	var sealed []byte
	if metadata != nil {
		sealed = dhash.Seal(nil, metadata, valueKey)
	}
	return s.PutSealedMetadata(ctx, dhash.HashValueKey(valueKey), sealed)
}

// PutSealedMetadata sets encrypted metadata; nil removes it. What is shorter or longer than
// encryption makes it matches fs.ErrInvalid.
func (s *Store) PutSealedMetadata(ctx context.Context, key dhash.MetadataKey, sealed []byte) error {
	op := kv.Delete(metadataKey(key))
	if sealed != nil {
		op = kv.Put(metadataKey(key), sealed)
	}
	err := error(nil)
	if sealed != nil && len(sealed) < dhash.Overhead || len(sealed) > maxSealed {
		err = fmt.Errorf("%d bytes, %d to %d are allowed: %w", len(sealed), dhash.Overhead, maxSealed, fs.ErrInvalid)
	}
	if err == nil {
		err = s.kv.Batch(ctx, []kv.Op{op})
	}
	if err != nil {
		return fmt.Errorf("store: put metadata %x: %w", key, err)
	}
	return nil
}
