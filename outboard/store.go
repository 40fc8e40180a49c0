package outboard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// Options are the choices of a [Store].
type Options struct {
	// CachedSegments is how many segments above the lowest tier are kept in memory,
	// each of 4 KiB for 64 MiB of data or more. 0 is 1024.
	CachedSegments int
}

// Store reads trees.
type Store struct {
	store kv.Reader
	cache *otter.Cache[segmentAt, []byte] // never stale: an id is used once
}

type segmentAt struct {
	id treeID
	place
}

// New returns a Store over the trees in store.
func New(store kv.Reader, o *Options) *Store {
	n := 1024
	if o != nil && o.CachedSegments > 0 {
		n = o.CachedSegments
	}
	return &Store{store, otter.Must(&otter.Options[segmentAt, []byte]{MaximumSize: n})}
}

// Open finds the tree of a blob. A blob of at most [bao.GroupSize] bytes has none.
func (s *Store) Open(ctx context.Context, root digest.Digest) (*Tree, error) {
	prefix := headersOf(root)
	for p, err := range s.store.Scan(ctx, kv.Prefix(prefix)) {
		if err != nil {
			return nil, fmt.Errorf("outboard: open %s: %w", root, err)
		}
		t := &Tree{store: s, root: root}
		if len(p.Key) != len(prefix)+len(t.id) {
			return nil, fmt.Errorf("outboard: open %s: key of %d bytes: %w", root, len(p.Key), digest.ErrMismatch)
		}
		copy(t.id[:], p.Key[len(prefix):])
		if t.size, err = decodeHeader(p.Value); err != nil {
			return nil, fmt.Errorf("outboard: open %s: %w", root, err)
		}
		return t, nil
	}
	return nil, fmt.Errorf("outboard: open %s: %w", root, fs.ErrNotExist)
}

// Tree is the parent nodes of one blob, as they are stored: only whoever checks
// them against the root, as package bao does, knows that they are right.
type Tree struct {
	store *Store
	root  digest.Digest
	id    treeID
	size  int64
	last  [maxTiers]loaded // of each tier the segment read last: enough for any walk in pre-order
}

type loaded struct {
	number int64
	pairs  []byte // nil if none
}

var _ bao.Nodes = (*Tree)(nil)

// Root returns the digest of the blob.
func (t *Tree) Root() digest.Digest { return t.root }

// Size returns the size of the blob in bytes.
func (t *Tree) Size() int64 { return t.size }

// Node implements [bao.Nodes].
func (t *Tree) Node(ctx context.Context, split int64) (p bao.Pair, err error) {
	if split <= 0 || split >= groups(t.size) {
		return p, fmt.Errorf("outboard: node %d of %s: %w", split, t.root, fs.ErrInvalid)
	}
	at, slot := locate(split)
	l := &t.last[at.tier]
	if l.pairs == nil || l.number != at.number {
		pairs, err := t.segment(ctx, at)
		if err != nil {
			return p, fmt.Errorf("outboard: read %s: %w", t.root, err)
		}
		*l = loaded{at.number, pairs}
	}
	return bao.Pair(l.pairs[slot*pairSize:]), nil
}

func (t *Tree) segment(ctx context.Context, at place) ([]byte, error) {
	key := segmentAt{t.id, at}
	if at.tier > 0 {
		if pairs, ok := t.store.cache.GetIfPresent(key); ok {
			return pairs, nil
		}
	}
	b, err := t.store.store.Get(ctx, segmentKey(t.id, at))
	if err != nil {
		return nil, t.missing(ctx, err)
	}
	pairs, err := decodeSegment(b, at.nodes(groups(t.size)))
	if err == nil && at.tier > 0 {
		t.store.cache.Set(key, pairs)
	}
	return pairs, err
}

// missing says of a segment that was not found whether the tree was deleted or is
// damaged.
func (t *Tree) missing(ctx context.Context, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, gone := t.store.store.Get(ctx, headerKey(t.root, t.id)); gone != nil {
		return err
	}
	return fmt.Errorf("%v: %w", err, digest.ErrMismatch)
}

// Entry is a blob that has a tree.
type Entry struct {
	Root digest.Digest
	Size int64 // in bytes
}

// All yields every tree in the order of the digests. Of a blob that several
// processes stored at once there may be several.
func (s *Store) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for p, err := range s.store.Scan(ctx, kv.Prefix([]byte{keySpace, keyHeader})) {
			var e Entry
			if err == nil {
				e, err = entry(p)
			}
			if err != nil {
				err = fmt.Errorf("outboard: list: %w", err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func entry(p kv.Pair) (e Entry, err error) {
	if len(p.Key) < 2+len(treeID{}) {
		return e, fmt.Errorf("key of %d bytes: %w", len(p.Key), digest.ErrMismatch)
	}
	if e.Root, err = digest.FromBytes(p.Key[2 : len(p.Key)-len(treeID{})]); err != nil {
		return e, fmt.Errorf("%w: %w", digest.ErrMismatch, err)
	}
	e.Size, err = decodeHeader(p.Value)
	return e, err
}

// Verify hashes data again and compares its digest and every node with what is
// stored. The error says which of the two is damaged.
func Verify(ctx context.Context, store kv.Reader, root digest.Digest, data io.ReaderAt, h *bao.Hasher) error {
	t, err := New(store, nil).Open(ctx, root)
	if err != nil {
		return err
	}
	var bad error
	got, err := h.SumAt(ctx, data, t.size, func(ctx context.Context, split int64, p *bao.Pair) error {
		if bad != nil {
			return nil // only the root can tell whose fault it is
		}
		switch stored, err := t.Node(ctx, split); {
		case err != nil:
			bad = err
		case stored != *p:
			bad = fmt.Errorf("outboard: node %d of %s: %w", split, root, digest.ErrMismatch)
		}
		return nil
	})
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("outboard: verify %s: %w: %w", root, err, digest.ErrMismatch)
	case err != nil:
		return fmt.Errorf("outboard: verify %s: %w", root, err)
	case got != root:
		return fmt.Errorf("outboard: verify %s: the blob now hashes to %s: %w", root, got, digest.ErrMismatch)
	}
	return bad
}

// Delete removes the trees of a blob. It is no error if there is none.
func Delete(ctx context.Context, store kv.Store, root digest.Digest) error {
	var ops []kv.Op
	prefix := headersOf(root)
	for p, err := range store.Scan(ctx, kv.Prefix(prefix)) {
		if err != nil {
			return fmt.Errorf("outboard: delete %s: %w", root, err)
		}
		ops = append(ops, kv.Delete(p.Key))
		if len(p.Key) == len(prefix)+len(treeID{}) {
			ops = append(ops, kv.DeleteRange(kv.Prefix(segmentsOf(treeID(p.Key[len(prefix):])))))
		}
	}
	if len(ops) == 0 {
		return nil
	}
	if err := store.Batch(ctx, ops); err != nil {
		return fmt.Errorf("outboard: delete %s: %w", root, err)
	}
	return nil
}

// Clear removes every tree.
func Clear(ctx context.Context, store kv.Store) error {
	if err := store.Batch(ctx, []kv.Op{kv.DeleteRange(kv.Prefix([]byte{keySpace}))}); err != nil {
		return fmt.Errorf("outboard: clear: %w", err)
	}
	return nil
}

// Sweep removes what was begun before the time given and never finished. It
// returns how many trees that were. A writer that is still at work on one of them
// fails when it ends.
func Sweep(ctx context.Context, store kv.Store, before time.Time) (removed int64, err error) {
	prefix := []byte{keySpace, keyIntent}
	for p, err := range store.Scan(ctx, kv.Prefix(prefix)) {
		if err != nil {
			return removed, fmt.Errorf("outboard: sweep: %w", err)
		}
		begun, n := binary.Uvarint(p.Value)
		if n == len(p.Value) && n > 0 && !time.Unix(int64(begun), 0).Before(before) {
			continue
		}
		ops := []kv.Op{kv.Delete(p.Key)}
		if len(p.Key) == len(prefix)+len(treeID{}) {
			ops = append(ops, kv.DeleteRange(kv.Prefix(segmentsOf(treeID(p.Key[len(prefix):])))))
		}
		if err := store.Batch(ctx, ops); err != nil {
			return removed, fmt.Errorf("outboard: sweep: %w", err)
		}
		removed++
	}
	return removed, nil
}
