package index

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashstream/hashstream/kv"
)

// put adds op to the batch, which is written when it is large.
func (b *Builder) put(ctx context.Context, op kv.Op) {
	if b.err != nil {
		return
	}
	b.batch = append(b.batch, op)
	b.bytes += len(op.Key) + len(op.Value)
	if b.bytes > maxBatch {
		b.flush(ctx)
	}
}

func (b *Builder) flush(ctx context.Context) {
	if b.err != nil || len(b.batch) == 0 {
		return
	}
	if err := b.store.Batch(ctx, b.batch); err != nil {
		b.fail(fmt.Errorf("index: store records: %w", err))
	}
	b.batch, b.bytes = b.batch[:0], 0
}

func (b *Builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Finish makes the root and every file and directory below it visible. Every
// node must be closed and every pack named.
func (b *Builder) Finish(ctx context.Context) error {
	if err := b.save(ctx); err != nil {
		return err
	}
	if len(b.open) > 0 || len(b.segments) > 0 {
		return errors.New("index: plan finished with open nodes or packs without a name")
	}
	if b.count == 0 || !b.level.plans() {
		return nil
	}
	if _, err := b.store.Get(ctx, intentKey(b.id)); err != nil {
		return fmt.Errorf("index: finish plan of %s, which may have been swept: %w", b.root, err)
	}
	b.put(ctx, kv.Put(planKey(b.id), b.root.Bytes()))
	b.put(ctx, kv.Delete(intentKey(b.id)))
	b.flush(ctx)
	return b.err
}

// Discard removes what was stored of the plan. Records of blocks in durable
// packs stay, for the packs stay too.
func (b *Builder) Discard(ctx context.Context) error {
	if !b.started {
		return nil
	}
	b.batch = b.batch[:0]
	b.err = errors.New("index: plan was discarded")
	return b.store.Batch(ctx, []kv.Op{
		kv.DeleteRange(kv.Prefix(segmentKey(b.id, 0)[:17])),
		kv.Delete(intentKey(b.id)),
	})
}
