package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

const (
	exportBytes = 1 << 20 // of records that an export in batches holds
	shortKey    = 8       // bytes of a key that a value store keeps at least
)

// SealedRecord is an encrypted value key of a group.
type SealedRecord struct {
	Group ipni.SealedGroup
	Key   dhash.Key
	Value []byte
}

// compare orders records by key, value and group.
func (x SealedRecord) compare(y SealedRecord) int {
	return cmp.Or(
		bytes.Compare(x.Key[:], y.Key[:]),
		bytes.Compare(x.Value, y.Value),
		bytes.Compare(x.Group.Provider[:], y.Group.Provider[:]),
		bytes.Compare(x.Group.Context[:], y.Group.Context[:]),
		cmp.Compare(x.Group.Epoch, y.Group.Epoch),
	)
}

// SealedMetadata is encrypted metadata with its key.
type SealedMetadata struct {
	Key    dhash.MetadataKey
	Sealed []byte
}

// ExportSealed yields the records whose keys lie in r in the order of their keys, those of a
// key in the order of their values, those of a value in the order of their groups, each once.
// It is as of one moment, except that what is removed while an export is under way may be
// yielded or not. A value is valid until the next record is yielded. [Store.PutSealed] takes
// what is yielded.
//
// A compact store seals what it yields, and holds all the records of a multihash while it
// yields them: some 250 bytes for each group.
func (s *Store) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[SealedRecord, error] {
	export := s.exportStored
	if s.o.Compact {
		export = s.exportCompact
	}
	return func(yield func(SealedRecord, error) bool) {
		err := export(ctx, r, func(x SealedRecord) bool { return yield(x, nil) })
		if err != nil {
			yield(SealedRecord{}, fmt.Errorf("store: export: %w", err))
		}
	}
}

// exportStored yields the records of a sealed store. They lie in the order of their
// values, but a value with several tags in that of the tags.
func (s *Store) exportStored(ctx context.Context, r valuestore.Range, yield func(SealedRecord) bool) error {
	var same []SealedRecord // of one key and value
	var value []byte
	for rec, err := range s.values.Range(ctx, r) {
		var o *owner
		if err == nil {
			o, err = s.owner(ctx, rec.Value)
		}
		if err != nil {
			return err
		}
		if o == nil {
			continue
		}
		if len(same) > 0 && (same[0].Key != rec.Key || !bytes.Equal(value, rec.Bytes)) {
			if !yieldSorted(same, yield) {
				return nil
			}
			same = same[:0]
		}
		if len(same) == 0 {
			value = append(value[:0], rec.Bytes...)
		}
		same = append(same, SealedRecord{o.SealedGroup, rec.Key, value})
	}
	yieldSorted(same, yield)
	return nil
}

// yieldSorted yields records in their order. A group that has several tags comes once.
func yieldSorted(records []SealedRecord, yield func(SealedRecord) bool) bool {
	if len(records) > 1 {
		slices.SortFunc(records, SealedRecord.compare)
		records = slices.CompactFunc(records, func(x, y SealedRecord) bool { return x.compare(y) == 0 })
	}
	for _, x := range records {
		if !yield(x) {
			return false
		}
	}
	return true
}

// exportCompact yields the records of a compact store. They lie in the order of their keys as
// far as these are kept, which more than one multihash may share.
func (s *Store) exportCompact(ctx context.Context, r valuestore.Range, yield func(SealedRecord) bool) error {
	var (
		short, key dhash.Key           // as it is kept, and whole
		mh         multihash.Multihash // of that key
		run        []SealedRecord      // that share the short key
	)
	kept := r
	clear(kept.From[shortKey:]) // the ends of keys may be zeros
	for rec, err := range s.values.Range(ctx, kept) {
		var o *owner
		if err == nil {
			o, err = s.owner(ctx, rec.Value)
		}
		if err != nil {
			return err
		}
		if rec.Key != short {
			if !yieldSorted(run, yield) {
				return nil
			}
			short, run = rec.Key, run[:0]
		}
		if !bytes.Equal(mh, rec.Bytes) {
			mh = append(mh[:0], rec.Bytes...)
			key = dhash.SecondHash(mh)
		}
		if o != nil && r.Contains(key) {
			run = append(run, SealedRecord{o.SealedGroup, key, dhash.Seal(nil, o.valueKey, mh)})
		}
	}
	yieldSorted(run, yield)
	return nil
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
			if len(p.Value) < dhash.Overhead {
				continue // opens for nobody, and others do not take it; nothing means elsewhere that there is none
			}
			if !yield(SealedMetadata{dhash.MetadataKey(p.Key[len(prefix):]), p.Value}, nil) {
				return
			}
		}
	}
}

// SealedBatch is records of one group.
type SealedBatch struct {
	ipni.SealedGroup
	Records valuestore.Records
}

// Export yields what [Store.ExportSealed] does, a group at a time, in batches that together
// hold no more than about a mebibyte. A batch belongs to whoever receives it.
func (s *Store) Export(ctx context.Context, r valuestore.Range) iter.Seq2[SealedBatch, error] {
	return func(yield func(SealedBatch, error) bool) {
		var batches []SealedBatch
		at := map[ipni.SealedGroup]int{}
		held := 0
		flush := func() bool {
			for _, b := range batches {
				if !yield(b, nil) {
					return false
				}
			}
			batches, held = batches[:0], 0
			clear(at)
			return true
		}
		for x, err := range s.ExportSealed(ctx, r) {
			if err != nil {
				yield(SealedBatch{}, err)
				return
			}
			i, ok := at[x.Group]
			if !ok {
				i = len(batches)
				at[x.Group] = i
				batches = append(batches, SealedBatch{SealedGroup: x.Group})
			}
			before := len(batches[i].Records)
			batches[i].Records = batches[i].Records.Append(x.Key, x.Value)
			if held += len(batches[i].Records) - before; held >= exportBytes && !flush() {
				return
			}
		}
		flush()
	}
}
