package outboard

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// maxBatch is how many bytes are written at a time.
const maxBatch = 1 << 20

// Writer stores the nodes of one blob while it is hashed:
//
//	w := outboard.NewWriter(store)
//	root, size, err := hasher.Sum(ctx, r, w.Put)
//	if err == nil {
//		err = w.Finish(ctx, root, size)
//	}
//	if err != nil {
//		w.Discard(ctx)
//	}
//
// It holds a batch of 1 MiB and one segment of each tier.
type Writer struct {
	store   kv.Store
	id      treeID
	started bool // something is stored
	open    [maxTiers]segment
	count   int64 // nodes
	batch   []kv.Op
	bytes   int
}

// segment is one that is being filled.
type segment struct {
	number int64
	pairs  []byte
	nodes  int
}

// NewWriter returns a Writer for one blob.
func NewWriter(store kv.Store) *Writer {
	w := &Writer{store: store}
	rand.Read(w.id[:]) // never an error
	return w
}

var _ bao.Sink = (*Writer)(nil).Put

// Put stores a node. It is a [bao.Sink], and wants the nodes in the order of one.
func (w *Writer) Put(ctx context.Context, split int64, p *bao.Pair) error {
	if split <= 0 || split > bao.MaxSize/bao.GroupSize {
		return fmt.Errorf("outboard: put node %d: %w", split, fs.ErrInvalid)
	}
	at, slot := locate(split)
	s := &w.open[at.tier]
	if s.nodes > 0 && s.number != at.number {
		if s.nodes != perTier {
			return fmt.Errorf("outboard: put node %d before its left neighbours: %w", split, fs.ErrInvalid)
		}
		if err := w.close(ctx, at.tier); err != nil {
			return err
		}
	}
	if s.pairs == nil {
		s.pairs = make([]byte, perTier*pairSize)
	}
	s.number = at.number
	s.nodes++
	w.count++
	copy(s.pairs[slot*pairSize:], p[:])
	return nil
}

// close adds the open segment of a tier to the batch.
func (w *Writer) close(ctx context.Context, tier uint8) error {
	s := &w.open[tier]
	op := kv.Put(segmentKey(w.id, place{tier, s.number}), encodeSegment(s.pairs[:s.nodes*pairSize]))
	s.nodes = 0
	w.batch = append(w.batch, op)
	w.bytes += len(op.Key) + len(op.Value)
	if w.bytes < maxBatch {
		return nil
	}
	if !w.started {
		now := binary.AppendUvarint(nil, uint64(time.Now().Unix()))
		w.batch = append([]kv.Op{kv.Put(intentKey(w.id), now)}, w.batch...)
	}
	return w.flush(ctx)
}

func (w *Writer) flush(ctx context.Context) error {
	if err := w.store.Batch(ctx, w.batch); err != nil {
		return fmt.Errorf("outboard: store nodes: %w", err)
	}
	w.started = true
	w.batch, w.bytes = w.batch[:0], 0
	return nil
}

// Finish makes the tree of the blob root visible, for good when it returns. If
// there is one already, that stays, and this one is discarded.
func (w *Writer) Finish(ctx context.Context, root digest.Digest, size int64) error {
	if size <= bao.GroupSize {
		return nil
	}
	if w.count != groups(size)-1 {
		return fmt.Errorf("outboard: finish %s of %d bytes with %d nodes: %w", root, size, w.count, fs.ErrInvalid)
	}
	for p, err := range w.store.Scan(ctx, kv.Prefix(headersOf(root))) {
		if err != nil {
			return fmt.Errorf("outboard: finish %s: %w", root, err)
		}
		if old, err := decodeHeader(p.Value); err == nil && old == size {
			return w.Discard(ctx)
		}
	}
	for tier := range w.open {
		if w.open[tier].nodes > 0 {
			if err := w.close(ctx, uint8(tier)); err != nil {
				return err
			}
		}
	}
	if w.started {
		if _, err := w.store.Get(ctx, intentKey(w.id)); err != nil {
			return fmt.Errorf("outboard: finish %s, which may have been swept: %w", root, err)
		}
		w.batch = append(w.batch, kv.Delete(intentKey(w.id)))
	}
	w.batch = append(w.batch, kv.Put(headerKey(root, w.id), encodeHeader(size)))
	return w.flush(ctx)
}

// Discard removes what was stored.
func (w *Writer) Discard(ctx context.Context) error {
	w.batch, w.bytes, w.count, w.open = nil, 0, 0, [maxTiers]segment{}
	if !w.started {
		return nil
	}
	w.started = false
	if err := w.store.Batch(ctx, []kv.Op{kv.DeleteRange(kv.Prefix(segmentsOf(w.id))), kv.Delete(intentKey(w.id))}); err != nil {
		return fmt.Errorf("outboard: discard: %w", err)
	}
	return nil
}

// Write hashes all of r, stores its tree and returns its digest and size.
func Write(ctx context.Context, store kv.Store, r io.Reader, h *bao.Hasher) (digest.Digest, int64, error) {
	w := NewWriter(store)
	root, size, err := h.Sum(ctx, r, w.Put)
	return root, size, w.end(ctx, root, size, err)
}

// WriteAt is [Write] of the first size bytes of r, which are read from several
// goroutines.
func WriteAt(ctx context.Context, store kv.Store, r io.ReaderAt, size int64, h *bao.Hasher) (digest.Digest, error) {
	w := NewWriter(store)
	root, err := h.SumAt(ctx, r, size, w.Put)
	return root, w.end(ctx, root, size, err)
}

func (w *Writer) end(ctx context.Context, root digest.Digest, size int64, err error) error {
	if err == nil {
		err = w.Finish(ctx, root, size)
	}
	if err != nil {
		// What cannot be removed now, because the store is away, is left to Sweep.
		return errors.Join(err, w.Discard(context.WithoutCancel(ctx)))
	}
	return nil
}
