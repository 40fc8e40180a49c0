// Package backup writes what a node of a provider index knows into one stream and reads
// it back: the records and metadata of its store, and the rows that the other parts
// of the index keep in the node's ordered keys. docs/formats/indexbackup.md gives the bytes,
// which are an archive of package archive with a line before it.
//
// A backup does not depend on what is below the store: it can be restored over another
// value store or database. It does depend on the mode. What a compact store wrote holds
// multihashes, and is restored into a store of either mode. What a sealed store wrote holds
// ciphertext, which only a sealed store takes.
//
// A node may run while it is backed up. The rows are of one moment, and the records and
// metadata of a later one: what ingestion says it has processed is there, and what came
// after is processed again when the restored node reads on. What tells of running
// nodes, members and leases, is left out.
//
// # Errors
//
// What is damaged, cut or no backup matches [digest.ErrMismatch], a target that does not take
// what there is [errors.ErrUnsupported], one that is not empty [ErrNotEmpty].
//
// Functions are safe for concurrent use.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/archive"
)

// batchBytes is how many bytes of multihashes are gathered.
const batchBytes = 1 << 20

// ErrNotEmpty says that a target has records, metadata or rows already.
var ErrNotEmpty = errors.New("backup: the index is not empty")

// Header begins a backup.
type Header struct {
	Compact bool      `json:"compact"` // it holds multihashes
	Created time.Time `json:"created"` // to the second, UTC
}

// Totals counts what a backup holds.
type Totals struct {
	Rows     uint64 `json:"rows"`
	Records  uint64 `json:"records"`
	Metadata uint64 `json:"metadata"`
}

// Item is one part of a backup: the field that is not nil.
type Item struct {
	Header   *Header // the first one
	Row      *kv.Pair
	Sealed   *store.SealedBatch // of a sealed store
	Plain    *PlainBatch        // of a compact store
	Metadata *store.SealedMetadata
	Totals   *Totals // the last one
}

// PlainBatch is multihashes of one group of a compact store.
type PlainBatch struct {
	ipni.Group
	Multihashes ipni.Multihashes
}

// rowSpace begins the keys of the rows that belong to an index.
const rowSpace = 'N'

// live are the first two bytes of rows that tell of running nodes, not of what is indexed:
// members, partitions and leases.
var live = [...]string{"Na", "Nc"}

// isLive reports whether a key is of a row that is left out.
func isLive(key []byte) bool {
	return len(key) >= 2 && slices.Contains(live[:], string(key[:2]))
}

// Write writes what s holds and what rows tell, which may be nil, to w. now is told as the
// time of the backup.
func Write(ctx context.Context, w io.Writer, s *store.Store, rows kv.Reader, now time.Time) (Totals, error) {
	var t Totals
	err := encode(ctx, w, func(yield func(Item, error) bool) {
		if yield(Item{Header: &Header{Compact: s.Compact(), Created: now}}, nil) &&
			(rows == nil || each(rowItems(ctx, rows), yield)) && each(recordItems(ctx, s), yield) && each(metadataItems(ctx, s), yield) {
			yield(Item{Totals: &t}, nil)
		}
	}, &t)
	if err != nil {
		return t, fmt.Errorf("backup: write: %w", err)
	}
	return t, nil
}

// each yields all of items, and reports whether to go on.
func each(items iter.Seq2[Item, error], yield func(Item, error) bool) bool {
	for it, err := range items {
		if !yield(it, err) || err != nil {
			return false
		}
	}
	return true
}

// convert makes items of what f makes items of.
func convert[T any](seq iter.Seq2[T, error], f func(T) (Item, bool)) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for v, err := range seq {
			it, ok := f(v)
			if (ok || err != nil) && !yield(it, err) {
				return
			}
		}
	}
}

func rowItems(ctx context.Context, rows kv.Reader) iter.Seq2[Item, error] {
	return convert(rows.Scan(ctx, kv.Prefix([]byte{rowSpace})), func(p kv.Pair) (Item, bool) { return Item{Row: &p}, !isLive(p.Key) })
}

func recordItems(ctx context.Context, s *store.Store) iter.Seq2[Item, error] {
	if s.Compact() {
		return plainItems(ctx, s)
	}
	return convert(s.Export(ctx, valuestore.Everything()), func(b store.SealedBatch) (Item, bool) { return Item{Sealed: &b}, true })
}

// plainItems yields what a compact store holds. Multihashes of a group that lie near each other
// make one batch.
func plainItems(ctx context.Context, s *store.Store) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		var batches []*PlainBatch
		at, size := map[ipni.Group]*PlainBatch{}, 0
		flush := func() bool {
			for _, b := range batches {
				if !yield(Item{Plain: b}, nil) {
					return false
				}
			}
			clear(at)
			batches, size = nil, 0
			return true
		}
		for r, err := range s.ExportPlain(ctx) {
			if err != nil {
				yield(Item{}, err)
				return
			}
			b := at[r.Group]
			if b == nil {
				b = &PlainBatch{Group: r.Group}
				at[r.Group], batches = b, append(batches, b)
			}
			b.Multihashes = append(b.Multihashes, r.Multihash...)
			if size += len(r.Multihash); size >= batchBytes && !flush() {
				return
			}
		}
		flush()
	}
}

func metadataItems(ctx context.Context, s *store.Store) iter.Seq2[Item, error] {
	last := dhash.MetadataKey(valuestore.Everything().To)
	return convert(s.ExportMetadata(ctx, dhash.MetadataKey{}, last), func(m store.SealedMetadata) (Item, bool) { return Item{Metadata: &m}, true })
}

// encode writes items, and counts them in t.
func encode(ctx context.Context, w io.Writer, items iter.Seq2[Item, error], t *Totals) error {
	if _, err := io.WriteString(w, magic); err != nil {
		return err
	}
	_, err := archive.Write(ctx, w, pairs{items, t})
	return err
}

// pairs is items as an archive takes them.
type pairs struct {
	items iter.Seq2[Item, error]
	t     *Totals
}

// Get is not asked for by an archive.
func (pairs) Get(context.Context, []byte) ([]byte, error) { return nil, errors.ErrUnsupported }

// Scan yields all pairs.
func (p pairs) Scan(ctx context.Context, _ kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		seq := uint64(0)
		for it, err := range p.items {
			var pair kv.Pair
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err == nil {
				pair, err = it.encode(&seq, p.t)
			}
			if !yield(pair, err) || err != nil {
				return
			}
		}
	}
}

// Inspect reads a backup to its end, and tells what it holds. If there is no error it is
// undamaged.
func Inspect(r io.Reader) (Header, Totals, error) {
	var (
		h Header
		t Totals
	)
	for it, err := range Read(r) {
		switch {
		case err != nil:
			return h, t, err
		case it.Header != nil:
			h = *it.Header
		case it.Totals != nil:
			t = *it.Totals
		}
	}
	return h, t, nil
}
