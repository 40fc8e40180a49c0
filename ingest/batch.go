package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/unixfs"
)

const (
	// batchBytes is how much file content travels together: many small files, or
	// one chunk. No chunk is larger.
	batchBytes = unixfs.MaxChunkSize
	// batchOps bounds a batch of files without content.
	batchOps = 1024
	// spareBatches are in flight besides one for each goroutine that hashes, so
	// that neither reading nor writing waits for the other.
	spareBatches = 4
)

// batch is steps of the walk through the DAG, in pre-order, and the file content
// that they need.
type batch struct {
	buf  []byte // len is what is used
	ops  []op
	path string // of the last file
	done chan error
}

type opKind uint8

const (
	opOpen  opKind = iota // a parent: its children follow
	opLeaf                // a leaf, to be hashed from data
	opBlock               // a block without children that is hashed already
	opClose               // all children of the parent that was opened last were given
	opKnown               // a block of a file that was hashed before
)

// op is one step.
type op struct {
	kind   opKind
	size   int64          // opOpen: of the block
	cidLen int            // opOpen
	data   []byte         // opLeaf: file content, in the batch's buffer
	block  block.Block    // opBlock, and opLeaf once it is hashed
	known  *Known         // opLeaf: where it is stored already
	from   *shared        // opLeaf: has the content in place of data, which is no more than room
	stored StoredBlock    // opKnown
	file   unixfs.Subtree // opClose of a file's parent
	dir    *unixfs.DirNode
	entity *Entry // the block is the root of this; its CID comes later
}

// pipeline moves batches from one goroutine that fills them, through several that
// hash, to the caller, in order.
type pipeline struct {
	queue chan *batch // to the caller
	work  chan *batch // to be hashed
	free  chan *batch
}

// run calls fill on a goroutine of its own and take for every batch, in order. It
// returns the first error, when all goroutines have ended.
func (a *adder) run(outer context.Context, fill func(context.Context, *walker) error, take func(context.Context, *batch) error) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	n := a.o.Concurrency + spareBatches
	p := &pipeline{make(chan *batch, n), make(chan *batch, n), make(chan *batch, n)}
	for range n {
		p.free <- nil // allocated when first used
	}
	var running sync.WaitGroup
	running.Go(func() {
		defer close(p.queue)
		defer close(p.work)
		w := &walker{adder: a, pipe: p}
		err := fill(ctx, w)
		if err == nil {
			w.submit()
			return
		}
		cancel(err)
	})
	for range a.o.Concurrency {
		running.Go(func() {
			for b := range p.work {
				b.done <- a.hash(ctx, b)
			}
		})
	}
	for b := range p.queue {
		err := <-b.done
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = take(outer, b) // it starts work that outlives this run
		}
		if err != nil {
			cancel(err)
		}
		b.buf, b.ops = b.buf[:0], b.ops[:0]
		p.free <- b
	}
	running.Wait()
	return context.Cause(ctx)
}

// hash makes the leaves of b.
func (a *adder) hash(ctx context.Context, b *batch) error {
	defer b.release()
	for i := range b.ops {
		op := &b.ops[i]
		if op.kind != opLeaf {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var err error
		if op.from != nil {
			op.block, err = op.from.leaf(a.o.Profile, op.data, op.known.Offset)
		} else {
			op.block, err = a.o.Profile.Leaf(op.data)
		}
		if err != nil {
			return err
		}
		if !a.locating() {
			continue
		}
		known, err := a.dst.Locate(ctx, op.block.CID)
		if err == nil {
			op.known = &known
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for %s: %w", op.block.CID, err)
		}
	}
	return nil
}

func (a *adder) locating() bool { return a.o.Dedup && a.dst.Locate != nil && !a.dry }
