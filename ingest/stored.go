package ingest

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/unixfs"
)

// stored goes through the blocks of a file that was hashed before.
func (w *walker) stored(ctx context.Context, name string, e *entry) error {
	entity := &Entry{Path: name, Type: unixfs.File, Size: e.size, DAGSize: w.o.Profile.Tsize(w.o.Profile.FileRoot(e.size))}
	for b, err := range w.o.Stored(ctx, name) {
		if err == nil {
			err = w.emit(ctx, op{kind: opKnown, stored: b, entity: entity})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		entity = nil
	}
	return nil
}

// known takes a block of a file that was hashed before, which is over when the next
// one does not lie below it.
func (b *builder) known(o *op) {
	s := o.stored
	b.settle(s.Depth)
	entry := b.record(index.Node{Location: s.Location, Offset: s.Offset, Size: s.Size, FileBytes: s.FileBytes,
		Entity: o.entity != nil, Unframed: !s.Framed, Recorded: true})
	b.stack = append(b.stack, parent{entry: entry, entity: o.entity, cids: len(b.cids), known: &s})
}

// settle ends the known blocks that are open, down to a depth.
func (b *builder) settle(depth int) {
	for len(b.stack) > 0 {
		p := b.stack[len(b.stack)-1]
		if p.known == nil || p.known.Depth < depth {
			return
		}
		b.stack = b.stack[:len(b.stack)-1]
		b.cids = b.cids[:p.cids]
		b.res.Duplicates++
		b.close(p.entry, p.known.CID, b.occurred(p.known.CID, p.entry), p.entity)
	}
}

// occurred returns the entry where a block occurred first, or -1 after remembering
// that it does here.
func (b *builder) occurred(c cid.Cid, entry int) int {
	first, dup := b.seen.lookup(c)
	if !dup {
		b.remember(c, entry)
		return -1
	}
	return first
}
