package origin

import (
	"context"
	"encoding/hex"
	"iter"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/origin/catalog"
)

// assembled is the DAG of a source, and what belongs to it alone.
type assembled struct {
	ingest.Result
	plan  string // in hex
	packs []string
}

// assemble builds the DAG of a source from the catalog.
func (x *Indexer) assemble(ctx context.Context, src Source, name, wrap string) (a assembled, err error) {
	if src.Blob {
		e, err := catalog.NewFS(ctx, x.stores.KV, src.id()).Entry(name)
		return assembled{Result: ingest.Result{Root: e.CID, Size: e.Size, DAGSize: uint64(e.Size), Blocks: 1, Stored: true}}, err
	}
	dst, err := x.stores.Destination(src.Level)
	if err != nil {
		return a, err
	}
	record := dst.Record
	dst.Record = func() ingest.Recorder {
		rec := record()
		if p, ok := rec.(interface{ Plan() [16]byte }); ok {
			id := p.Plan()
			a.plan = hex.EncodeToString(id[:])
		}
		return rec
	}
	dst.Has, dst.Complete = nil, nil
	known := catalog.NewFS(ctx, x.stores.KV, src.id())
	o := &ingest.Options{Profile: src.Profile, Hidden: true, Wrap: wrap, PackSize: x.o.PackSize, Concurrency: x.o.Concurrency}
	o.Trace.Packed = func(_ int, d digest.Digest, _ int64) { a.packs = append(a.packs, d.String()) }
	o.Stored = func(ctx context.Context, file string) iter.Seq2[ingest.StoredBlock, error] {
		e, err := known.Entry(file)
		if err != nil {
			return func(yield func(ingest.StoredBlock, error) bool) { yield(ingest.StoredBlock{}, err) }
		}
		return x.blocks(ctx, e.CID, e.Size, e.Location)
	}
	a.Result, err = ingest.Add(ctx, known, name, dst, o)
	return a, err
}
