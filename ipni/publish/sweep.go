package publish

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// Sweep removes the blocks that nothing needs: chunks of contexts that were removed longer
// ago than [Options].Keep, and what a crash left that is as old. It returns how many.
// Advertisements of the chain stay for ever, for indexers that come later.
func (p *Publisher) Sweep(ctx context.Context) (int, error) {
	before := p.options.Now().Add(-p.options.Keep)
	n, err := p.sweepDropped(ctx, before)
	for _, dir := range []string{chunksDir, adsDir} {
		if err == nil {
			var more int
			more, err = p.sweepOrphans(ctx, dir, before)
			n += more
		}
	}
	if err != nil {
		return n, fmt.Errorf("publish: sweep: %w", err)
	}
	return n, nil
}

// used reports whether a context has a chunk.
func (p *Publisher) used(ctx context.Context, c cid.Cid) (bool, error) {
	for _, err := range p.kv.Scan(ctx, kv.Prefix(refPrefix(c))) {
		return err == nil, err
	}
	return false, nil
}

// sweepDropped removes chunks of removed contexts.
func (p *Publisher) sweepDropped(ctx context.Context, before time.Time) (n int, err error) {
	prefix := key(kindDropped)
	for pair, err := range p.kv.Scan(ctx, kv.Prefix(prefix)) {
		if err != nil {
			return n, err
		}
		c, err := cid.Cast(pair.Key[len(prefix):])
		if err != nil || len(pair.Value) != 8 {
			return n, fmt.Errorf("chunk of a removed context: %w", errors.Join(digest.ErrMismatch, err))
		}
		if int64(binary.BigEndian.Uint64(pair.Value)) > before.Unix() {
			continue
		}
		removed, err := p.drop(ctx, c)
		if err != nil {
			return n, err
		}
		if removed {
			n++
		}
	}
	return n, nil
}

// drop removes a chunk of a removed context, unless another has it.
func (p *Publisher) drop(ctx context.Context, c cid.Cid) (removed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.kv.Get(ctx, droppedKey(c)); errors.Is(err, fs.ErrNotExist) {
		return false, nil // a context took it up again
	}
	used, err := p.used(ctx, c)
	if err == nil && !used {
		err = p.blobs.Delete(ctx, p.chunkKey(c))
	}
	if err == nil {
		err = p.kv.Batch(ctx, []kv.Op{kv.Delete(droppedKey(c))})
	}
	return err == nil && !used, err
}

// sweepOrphans removes blocks in dir of which the kv knows nothing.
func (p *Publisher) sweepOrphans(ctx context.Context, dir string, before time.Time) (n int, err error) {
	for info, err := range p.blobs.List(ctx, p.options.Prefix+dir) {
		if err != nil {
			return n, err
		}
		c, ok := p.parseKey(dir, info.Key)
		if !ok || info.ModTime.IsZero() || info.ModTime.After(before) {
			continue // not ours, or perhaps just being written
		}
		removed, err := p.removeOrphan(ctx, dir, info.Key, c)
		if err != nil {
			return n, err
		}
		if removed {
			n++
		}
	}
	return n, nil
}

func (p *Publisher) removeOrphan(ctx context.Context, dir, name string, c cid.Cid) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := adStateKey(c)
	if dir == chunksDir {
		if used, err := p.used(ctx, c); used || err != nil {
			return false, err
		}
		known = droppedKey(c)
	}
	_, err := p.kv.Get(ctx, known)
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, p.blobs.Delete(ctx, name)
}
