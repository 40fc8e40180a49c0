// Package kvstore is a value store over ordered keys: for nodes that keep their state in a
// database, and for tests. It is several times slower than segstore.
//
// Each record is a key of its own, in the order in which records are read, with an empty value:
//
//	"v" key value tag    ; a record
//	"r" tag              ; a tag that is removed
//	"R"                  ; random bytes, new ones whenever there are other tags that are removed
//
// A tag is eight bytes, big-endian. A reader keeps the tags that are removed for as long as "R" stays what it
// was, so that it reads one row before those of a key, and sees what another process has removed at once. [Store.Run]
// reclaims the space of what was removed.
//
// A value is written in groups of eight bytes, of which the last is filled with
// zeros; behind each stands a byte, 9 if there is another one, and the bytes of this one
// that count otherwise. So values are in the order of their bytes, and no two records
// share a key, as they might if it held a short hash of the value.
//
// # Errors
//
// Rows that are not of that form match [digest.ErrMismatch].
//
// A Store is safe for concurrent use, and several may share the keys. Of a put and a delete of one record at the same
// time through the same Store, one is wholly before the other, however many records they have; through
// two Stores, one or the other decides for each record.
package kvstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

const (
	recordPrefix  = 'v'
	removedPrefix = 'r'
	tagSize       = 8
	group         = 8
	more          = group + 1
	statePrefix   = 'R'
	batchSize     = 4096 // rows of a batch
	stripeCount   = 64
	leastRow      = 1 + dhash.KeySize + group + 1 + tagSize // bytes
)

// Store is a value store over a kv store, of which it uses the keys that begin
// with "v", "r" and "R".
type Store struct {
	kv   kv.Store
	gone cache
	// A put in several batches must not be acknowledged after a delete which came between
	// them: puts of a tag share its stripe, a delete has it alone.
	stripes [stripeCount]sync.RWMutex
}

// New returns the value store that s holds.
func New(s kv.Store) *Store { return &Store{kv: s} }

var _ valuestore.Store = (*Store)(nil)

// rowOf returns the row of a record.
func rowOf(key dhash.Key, value []byte, tag valuestore.Tag) []byte {
	b := make([]byte, 0, 1+len(key)+(len(value)/group+1)*(group+1)+tagSize)
	b = append(append(b, recordPrefix), key[:]...)
	for len(value) > group {
		b = append(append(b, value[:group]...), more)
		value = value[group:]
	}
	b = append(b, value...)
	b = append(b, make([]byte, group-len(value))...)
	b = append(b, byte(len(value)))
	return binary.BigEndian.AppendUint64(b, uint64(tag))
}

// parseRow is the inverse of rowOf.
func parseRow(row []byte) (r valuestore.Record, err error) {
	malformed := func() (valuestore.Record, error) {
		return valuestore.Record{}, fmt.Errorf("kvstore: row %x: %w: malformed", row, digest.ErrMismatch)
	}
	groups := len(row) - 1 - dhash.KeySize - tagSize
	if len(row) < leastRow || row[0] != recordPrefix || groups%(group+1) != 0 || groups/(group+1) > valuestore.MaxValue/group+1 {
		return malformed()
	}
	r.Key = dhash.Key(row[1:])
	r.Tag = valuestore.Tag(binary.BigEndian.Uint64(row[len(row)-tagSize:]))
	for rest := row[1+dhash.KeySize : len(row)-tagSize]; len(rest) > 0; rest = rest[group+1:] {
		n, last := rest[group], len(rest) == group+1
		switch {
		case !last && n == more:
			r.Bytes = append(r.Bytes, rest[:group]...)
		case last && n <= group && (n > 0 || len(r.Bytes) == 0) && allZero(rest[n:group]):
			r.Bytes = append(r.Bytes, rest[:n]...)
		default:
			return malformed()
		}
	}
	if r.Tag > valuestore.MaxTag || len(r.Bytes) > valuestore.MaxValue {
		return malformed()
	}
	return r, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// Put implements [valuestore.Store].
func (s *Store) Put(ctx context.Context, tag valuestore.Tag, records valuestore.Records) error {
	stripe := &s.stripes[tag%stripeCount]
	stripe.RLock()
	defer stripe.RUnlock()
	if err := s.write(ctx, tag, records, func(row []byte) kv.Op { return kv.Put(row, nil) }); err != nil {
		return fmt.Errorf("kvstore: put: %w", err)
	}
	return nil
}

// Delete implements [valuestore.Store].
func (s *Store) Delete(ctx context.Context, tag valuestore.Tag, records valuestore.Records) error {
	stripe := &s.stripes[tag%stripeCount]
	stripe.Lock()
	defer stripe.Unlock()
	if err := s.write(ctx, tag, records, kv.Delete); err != nil {
		return fmt.Errorf("kvstore: delete: %w", err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, tag valuestore.Tag, records valuestore.Records, op func(row []byte) kv.Op) error {
	if tag > valuestore.MaxTag {
		return fmt.Errorf("tag %d is above %d: %w", tag, valuestore.MaxTag, fs.ErrInvalid)
	}
	if _, err := records.Check(); err != nil {
		return err
	}
	b := batch{ctx: ctx, kv: s.kv}
	for e, err := range records.All() {
		if err != nil {
			return err
		}
		if err := b.add(op(rowOf(e.Key, e.Value, tag))); err != nil {
			return err
		}
	}
	return b.flush()
}

// batch writes many operations in parts.
type batch struct {
	ctx context.Context // of the call that makes and uses it
	kv  kv.Store
	ops []kv.Op
}

func (b *batch) add(op kv.Op) error {
	if b.ops = append(b.ops, op); len(b.ops) < batchSize {
		return nil
	}
	return b.flush()
}

func (b *batch) flush() error {
	if err := b.ctx.Err(); err != nil || len(b.ops) == 0 {
		return err
	}
	err := b.kv.Batch(b.ctx, b.ops)
	b.ops = b.ops[:0]
	return err
}

// Values implements [valuestore.Reader].
func (s *Store) Values(ctx context.Context, key dhash.Key) iter.Seq2[valuestore.Value, error] {
	return func(yield func(valuestore.Value, error) bool) {
		for r, err := range s.scan(ctx, kv.Prefix(append([]byte{recordPrefix}, key[:]...))) {
			if !yield(r.Value, err) || err != nil {
				return
			}
		}
	}
}

// Range implements [valuestore.Reader].
func (s *Store) Range(ctx context.Context, r valuestore.Range) iter.Seq2[valuestore.Record, error] {
	from := append([]byte{recordPrefix}, r.From[:]...)
	to := kv.Prefix(append([]byte{recordPrefix}, r.To[:]...)).To
	return s.scan(ctx, kv.Range{From: from, To: to})
}

// scan yields the records of rows, without those that are removed.
func (s *Store) scan(ctx context.Context, rows kv.Range) iter.Seq2[valuestore.Record, error] {
	return func(yield func(valuestore.Record, error) bool) {
		fail := func(err error) { yield(valuestore.Record{}, fmt.Errorf("kvstore: read: %w", err)) }
		if err := ctx.Err(); err != nil {
			fail(err)
			return
		}
		removed, err := s.removed(ctx) // before the rows: these may be gone when their tag is forgotten
		if err != nil {
			fail(err)
			return
		}
		for p, err := range s.kv.Scan(ctx, rows) {
			var r valuestore.Record
			if err == nil {
				r, err = parseRow(p.Key)
			}
			if err != nil {
				fail(err)
				return
			}
			if _, gone := removed[r.Tag]; !gone && !yield(r, nil) {
				return
			}
		}
	}
}
