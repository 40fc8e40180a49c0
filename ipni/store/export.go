package store

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

const (
	exportBytes = 1 << 20 // of records that an export holds
	shortKey    = 8       // bytes of a key that a value store keeps at least
)

// SealedBatch is records of one group.
type SealedBatch struct {
	ipni.SealedGroup
	Records valuestore.Records
}

// SealedMetadata is encrypted metadata with its key.
type SealedMetadata struct {
	Key    dhash.MetadataKey
	Sealed []byte
}

// Export yields the records whose keys lie in r, a group at a time, in batches that together
// hold no more than about a mebibyte. [Store.PutSealed] takes them. A batch belongs to
// whoever receives it. What is removed while an export is under way may be yielded or not.
// A compact store seals what it yields.
func (s *Store) Export(ctx context.Context, r valuestore.Range) iter.Seq2[SealedBatch, error] {
	return func(yield func(SealedBatch, error) bool) {
		byTag := map[valuestore.Tag]*SealedBatch{}
		held := 0
		flush := func() bool {
			for _, tag := range slices.Sorted(maps.Keys(byTag)) {
				if !yield(*byTag[tag], nil) {
					return false
				}
			}
			clear(byTag)
			held = 0
			return true
		}
		for rec, err := range s.values.Range(ctx, s.stored(r)) {
			var n int
			if err == nil {
				n, err = s.exportRecord(ctx, byTag, r, rec)
			}
			if err != nil {
				yield(SealedBatch{}, fmt.Errorf("store: export: %w", err))
				return
			}
			if held += n; held >= exportBytes && !flush() {
				return
			}
		}
		flush()
	}
}

// stored returns the range of r in the value store. That of a compact store
// may yield zeros for the ends of keys.
func (s *Store) stored(r valuestore.Range) valuestore.Range {
	if s.o.Compact {
		clear(r.From[shortKey:])
		for i := shortKey; i < len(r.To); i++ {
			r.To[i] = 0xff
		}
	}
	return r
}

// exportRecord adds a record to the batch of its tag, and returns how many bytes it has.
func (s *Store) exportRecord(ctx context.Context, byTag map[valuestore.Tag]*SealedBatch, r valuestore.Range, rec valuestore.Record) (int, error) {
	key := rec.Key
	if s.o.Compact {
		if key = dhash.SecondHash(rec.Bytes); !r.Contains(key) {
			return 0, nil
		}
	}
	o, err := s.owner(ctx, rec.Value)
	if err != nil || o == nil {
		return 0, err
	}
	b := byTag[rec.Tag]
	if b == nil {
		b = &SealedBatch{SealedGroup: o.SealedGroup}
		byTag[rec.Tag] = b
	}
	before := len(b.Records)
	if s.o.Compact {
		b.Records = appendSealed(b.Records, key, rec.Bytes, o.valueKey)
	} else {
		b.Records = b.Records.Append(key, rec.Bytes)
	}
	return len(b.Records) - before, nil
}

// ExportMetadata yields encrypted metadata with keys between from and to, both inclusive, in
// the order of the keys. [Store.PutSealedMetadata] takes it.
func (s *Store) ExportMetadata(ctx context.Context, from, to dhash.MetadataKey) iter.Seq2[SealedMetadata, error] {
	return func(yield func(SealedMetadata, error) bool) {
		prefix := metadataKey(dhash.MetadataKey{})[:2]
		for p, err := range s.kv.Scan(ctx, kv.Range{From: metadataKey(from), To: append(metadataKey(to), 0)}) {
			if err == nil && len(p.Key) != len(prefix)+dhash.KeySize {
				err = fmt.Errorf("metadata row %x: malformed", p.Key)
			}
			if err != nil {
				yield(SealedMetadata{}, fmt.Errorf("store: export metadata: %w", err))
				return
			}
			if !yield(SealedMetadata{dhash.MetadataKey(p.Key[len(prefix):]), p.Value}, nil) {
				return
			}
		}
	}
}
