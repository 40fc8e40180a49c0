package streamer

import (
	"context"
	"fmt"
	"io"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
)

// memoryBody is bytes at hand.
type memoryBody struct{ data []byte }

func (b *memoryBody) Size() (int64, bool) { return int64(len(b.data)), true }
func (b *memoryBody) Variant() string     { return variant }

func (b *memoryBody) Send(_ context.Context, w io.Writer) (int64, error) {
	n, err := w.Write(b.data)
	return int64(n), err
}

// prefixedBody is a block behind its CAR frame.
type prefixedBody struct {
	block.Ranger
	prefix []byte
}

func (b *prefixedBody) Size() (int64, bool) {
	n, exact := b.Ranger.Size()
	return int64(len(b.prefix)) + n, exact
}

func (b *prefixedBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	out := &prefixWriter{w: w, prefix: b.prefix}
	_, err := b.Ranger.Send(ctx, out)
	if err == nil {
		err = out.flush()
	}
	return out.sent, err
}

// walkBody is a traversal that nothing is known of beforehand.
type walkBody struct {
	src    block.Source
	sel    block.Selection
	prefix []byte
	limit  int64 // of blocks, if they may repeat
}

func (b *walkBody) Size() (int64, bool) { return 0, false }
func (b *walkBody) Variant() string     { return variant }

func (b *walkBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	out := &prefixWriter{w: w, prefix: b.prefix}
	var section []byte
	var blocks int64
	for blk, err := range dag.Walk(ctx, b.src, b.sel) {
		if err != nil {
			return out.sent, err
		}
		if blocks++; b.sel.Dups && blocks > b.limit {
			return out.sent, fmt.Errorf("streamer: walk %s: more than %d blocks with repeats: %w", b.sel.Root, b.limit, dag.ErrLimit)
		}
		section = appendSection(section[:0], blk.CID, blk.Data)
		if _, err := out.Write(section); err != nil {
			return out.sent, err
		}
	}
	err := out.flush()
	return out.sent, err
}

// prefixWriter puts bytes before the first write, so that nothing is written
// before something is known to be good.
type prefixWriter struct {
	w      io.Writer
	prefix []byte
	sent   int64 // with the prefix
}

// flush writes the prefix if nothing else did.
func (p *prefixWriter) flush() error {
	if len(p.prefix) == 0 {
		return nil
	}
	n, err := p.w.Write(p.prefix)
	p.sent += int64(n)
	p.prefix = p.prefix[n:]
	return err
}

func (p *prefixWriter) Write(b []byte) (int, error) {
	if err := p.flush(); err != nil {
		return 0, err
	}
	n, err := p.w.Write(b)
	p.sent += int64(n)
	return n, err
}
