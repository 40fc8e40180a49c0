package copies

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/streamer/sections"
)

// Verify hashes every section of r on all cores and reports whether all are right.
func (c *Copies) Verify(ctx context.Context, version string, r *sections.Run) (bool, error) {
	var bad atomic.Bool
	var workers sync.WaitGroup
	defer workers.Wait()
	for entries := range r.Batches() {
		select {
		case c.hashing <- struct{}{}:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		workers.Go(func() {
			defer func() { <-c.hashing }()
			if !c.verifyBatch(ctx, version, r.Location, entries) {
				bad.Store(true)
			}
		})
	}
	workers.Wait()
	return !bad.Load(), ctx.Err()
}

// Buffers hold batches while they are hashed: few, for hashing is bounded by
// the number of cores.
type Buffers struct{ pool sync.Pool }

// Put gives back what Get returned.
func (p *Buffers) Put(b *[]byte) { p.pool.Put(b) }

// Get returns n bytes of any content.
func (p *Buffers) Get(n int64) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	if int64(cap(*b)) < n {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	return b
}

// verifyBatch hashes entries that stand together in a version of an object and
// reports whether all are right.
func (c *Copies) verifyBatch(ctx context.Context, version string, loc index.Location, entries []index.Entry) bool {
	from := entries[0].Start()
	n := entries[len(entries)-1].End() - from
	buf := c.Buffers.Get(n)
	defer c.Buffers.Put(buf)
	obj, err := c.Get(ctx, loc, from, n)
	if err != nil {
		return false
	}
	defer obj.Close()
	if obj.Info().Version != version { // what will be sent are other bytes
		return false
	}
	if _, err := io.ReadFull(obj, *buf); err != nil {
		return false
	}
	whole := true
	for _, e := range entries {
		if c.CheckEntry(ctx, loc, obj, e, (*buf)[e.Start()-from:e.End()-from]) != nil {
			whole = false
		}
	}
	return whole
}

// CheckEntry verifies the bytes that loc holds for e, and reports them if they are bad.
func (c *Copies) CheckEntry(ctx context.Context, loc index.Location, obj blob.Object, e index.Entry, section []byte) error {
	if c.o.Verify == VerifyNever && !c.suspects.has(ctx, c.index, loc) {
		return nil
	}
	d, err := checkSection(e, section)
	c.Hashed(1, e.Size, err)
	return c.Fault(ctx, d, loc, obj, err)
}

// checkSection verifies the frame, if there is one, and the block of an entry.
func checkSection(e index.Entry, section []byte) (digest.Digest, error) {
	c, err := e.CID()
	if err != nil {
		return digest.Digest{}, err
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return digest.Digest{}, err
	}
	head := int64(len(section)) - e.Size
	if err := d.Verify(section[head:]); err != nil {
		return d, err
	}
	var frame [64]byte
	if e.Framed && string(section[:head]) != string(car.AppendHead(frame[:0], c, e.Size)) {
		return d, ErrFrame
	}
	return d, nil
}

// ErrFrame reports a block that is right behind a frame that is wrong.
var ErrFrame = errors.New("damaged CAR frame")
