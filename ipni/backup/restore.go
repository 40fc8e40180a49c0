package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

const (
	writers  = 32      // groups that are written at the same time: they share a sync
	rowBytes = 1 << 20 // of rows in one batch
	// epochSlack is how far the sequence number of an epoch may be above what ingestion had given
	// out when the rows were read: more than come about while a backup is written. Epochs of
	// foreign writers are not numbered that way.
	epochSlack = 1 << 24
)

// Options set up a restore. Nil means defaults.
type Options struct {
	// Merge restores into an index that is not empty, such as one that was restored in
	// part. Rows that are there are replaced. Default: that is refused.
	Merge bool
	// Memory is how many bytes of records are gathered, so that those of a group are written
	// at once; default 16 MiB.
	Memory int
}

// Restore puts what a backup holds into s and rows, which may be nil if there are none in it.
// It reads all of r first, so that a damaged backup changes nothing. The rows are written
// last: an index that was restored in part does not believe that it has what it lacks.
// No node may run on s or rows.
func Restore(ctx context.Context, s *store.Store, rows kv.Store, r io.ReadSeeker, o *Options) (Totals, error) {
	if o == nil {
		o = &Options{}
	}
	t, err := restore(ctx, s, rows, r, *o)
	if err != nil && !errors.Is(err, ErrNotEmpty) {
		err = fmt.Errorf("backup: restore: %w", err)
	}
	return t, err
}

func restore(ctx context.Context, s *store.Store, rows kv.Store, r io.ReadSeeker, o Options) (Totals, error) {
	seq, t, err := survey(r, s.Compact())
	switch {
	case err != nil:
		return t, err
	case t.Rows > 0 && rows == nil:
		return t, fmt.Errorf("there are %d rows and no place for them: %w", t.Rows, errors.ErrUnsupported)
	}
	if !o.Merge {
		empty, err := isEmpty(ctx, s, rows)
		if err != nil {
			return t, err
		}
		if !empty {
			return t, ErrNotEmpty
		}
	}
	if err := restoreRecords(ctx, s, r, o.Memory); err != nil {
		return t, err
	}
	if t.Rows == 0 {
		return t, nil
	}
	if err := restoreRows(ctx, rows, r); err != nil {
		return t, err
	}
	if seq > 0 {
		return t, state.New(rows).RaiseSeq(ctx, seq)
	}
	return t, nil
}

// survey checks all of a backup, and returns the greatest number that ingestion gave out
// until its end, or 0.
func survey(r io.Reader, compact bool) (seq uint64, t Totals, err error) {
	var given uint64
	see := func(epoch uint64) {
		if n := epoch >> 32; given > 0 && n <= given+epochSlack {
			seq = max(seq, n)
		}
	}
	for it, err := range Read(r) {
		switch {
		case err != nil:
			return 0, t, err
		case it.Header != nil && compact && !it.Header.Compact:
			return 0, t, fmt.Errorf("the backup is of a sealed store, and this one is compact: ciphertext cannot be opened without the multihashes. "+
				"Restore it into a store of mode sealed, or ingest again: %w", errors.ErrUnsupported)
		case it.Row != nil:
			if n, ok := state.Seq(*it.Row); ok {
				given, seq = n, n
			}
		case it.Sealed != nil:
			see(it.Sealed.Epoch)
		case it.Plain != nil:
			see(it.Plain.Epoch)
		case it.Totals != nil:
			t = *it.Totals
		}
	}
	return seq, t, nil
}

// isEmpty reports whether an index has nothing that a backup would hold.
func isEmpty(ctx context.Context, s *store.Store, rows kv.Store) (bool, error) {
	parts := []iter.Seq2[Item, error]{recordItems(ctx, s), metadataItems(ctx, s)}
	if rows != nil {
		parts = append(parts, rowItems(ctx, rows))
	}
	for _, items := range parts {
		for _, err := range items {
			return false, err
		}
	}
	return true, nil
}

// gathered is records by their group, of which only one kind comes.
type gathered struct {
	s      *store.Store
	sealed map[ipni.SealedGroup]valuestore.Records
	plain  map[ipni.Group]ipni.Multihashes
	size   int
}

// restoreRecords puts records and metadata.
func restoreRecords(ctx context.Context, s *store.Store, r io.ReadSeeker, memory int) error {
	if memory <= 0 {
		memory = 16 << 20
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	g := gathered{s, map[ipni.SealedGroup]valuestore.Records{}, map[ipni.Group]ipni.Multihashes{}, 0}
	metadata, mctx := errgroup.WithContext(ctx)
	metadata.SetLimit(writers)
	for it, err := range Read(r) {
		if err == nil {
			err = mctx.Err() // a write of metadata failed, or all of it is to end
		}
		switch {
		case err != nil:
		case it.Sealed != nil:
			g.sealed[it.Sealed.SealedGroup] = append(g.sealed[it.Sealed.SealedGroup], it.Sealed.Records...)
			g.size += len(it.Sealed.Records)
		case it.Plain != nil:
			g.plain[it.Plain.Group] = append(g.plain[it.Plain.Group], it.Plain.Multihashes...)
			g.size += len(it.Plain.Multihashes)
		case it.Metadata != nil:
			metadata.Go(func() error { return s.PutSealedMetadata(mctx, it.Metadata.Key, it.Metadata.Sealed) })
		}
		if err == nil && g.size >= memory {
			err = g.put(ctx)
		}
		if err != nil {
			return errors.Join(metadata.Wait(), err)
		}
	}
	if err := metadata.Wait(); err != nil {
		return err
	}
	return g.put(ctx)
}

// put writes what was gathered.
func (g *gathered) put(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(writers)
	for group, records := range g.sealed {
		work.Go(func() error { return g.s.PutSealed(ctx, group, records) })
	}
	for group, mhs := range g.plain {
		work.Go(func() error { return g.s.Put(ctx, group, mhs) })
	}
	err := work.Wait()
	clear(g.sealed)
	clear(g.plain)
	g.size = 0
	return err
}

// restoreRows puts the rows, but for those that a backup does not hold.
func restoreRows(ctx context.Context, rows kv.Store, r io.ReadSeeker) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var ops []kv.Op
	size := 0
	for it, err := range Read(r) {
		if err != nil {
			return err
		}
		if it.Header != nil || it.Row != nil && isLive(it.Row.Key) {
			continue
		}
		if it.Row == nil {
			break // there are no others
		}
		ops = append(ops, kv.Put(it.Row.Key, it.Row.Value))
		if size += len(it.Row.Key) + len(it.Row.Value); size < rowBytes {
			continue
		}
		if err := rows.Batch(ctx, ops); err != nil {
			return err
		}
		ops, size = ops[:0], 0
	}
	if len(ops) == 0 {
		return nil
	}
	return rows.Batch(ctx, ops)
}
