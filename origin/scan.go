package origin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/origin/catalog"
	"github.com/hashstream/hashstream/pipeline"
)

// errStopped ends a listing whose tasks nobody takes.
var errStopped = errors.New("stopped")

// Scanned is what came of a scan.
type Scanned struct {
	Report
	Result ingest.Result // of the root; Stored tells whether it is another than before
}

// ScanOptions tunes a scan. Zero values mean the defaults.
type ScanOptions struct {
	// Wrap is a name under which the root is put into a directory. Default: it is in none.
	Wrap string
	// AllowEmpty permits that all files of a source have gone. Default: that is
	// [ErrEmptied].
	AllowEmpty bool
}

// Scan brings the index up to date with a source, whose tree the opener gives: it lists
// the source, has what is new hashed by whoever works on the pipeline, and assembles the
// directories. It waits for workers; some must run, here or elsewhere.
func (x *Indexer) Scan(ctx context.Context, src Source, o *ScanOptions) (Scanned, error) {
	if o == nil {
		o = &ScanOptions{}
	}
	s, err := x.scan(ctx, src, *o)
	if err != nil {
		return s, fmt.Errorf("origin: scan %s: %w", src.URL, err)
	}
	return s, nil
}

func (x *Indexer) scan(ctx context.Context, src Source, o ScanOptions) (Scanned, error) {
	if !src.Profile.RawLeaves && !src.Blob {
		return Scanned{}, ingest.ErrWrapped
	}
	tree, closer, err := x.open(ctx, src.URL)
	if err != nil {
		return Scanned{}, err
	}
	defer closer.Close()
	if src.Blob && (tree.Name == "." || o.Wrap != "") {
		return Scanned{}, ErrDirectory
	}
	st, err := x.status(ctx, src)
	if err != nil {
		return Scanned{}, err
	}
	began := time.Now().UTC().Truncate(time.Second)
	l := &lister{x: x, src: src, id: src.id(), tree: tree, status: st}
	if st.Files > 0 && !o.AllowEmpty {
		if err := l.checkFiles(); err != nil {
			return Scanned{}, err
		}
	}
	if err := x.list(ctx, l); err != nil {
		return Scanned{Report: l.report}, err
	}
	s := Scanned{Report: l.report}
	if st.Root.Defined() && !l.status.dirty && st.Name == o.Wrap {
		s.Result = ingest.Result{Root: st.Root, Size: st.Bytes, DAGSize: st.DAGSize, Blocks: st.Blocks, Duplicates: st.Duplicates}
		st.Scanned = began
		return s, x.save(ctx, st)
	}
	next := Status{Source: src, Name: o.Wrap, Scanned: began, Files: s.Files, Bytes: s.Bytes}
	made, err := x.assemble(ctx, src, tree.Name, o.Wrap)
	if err != nil {
		return s, err
	}
	s.Result, next.plan, next.packs = made.Result, made.plan, made.packs
	s.Result.Stored = made.Root != st.Root
	next.Root, next.DAGSize, next.Blocks, next.Duplicates = s.Result.Root, s.Result.DAGSize, s.Result.Blocks, s.Result.Duplicates
	if err := x.save(ctx, next); err != nil {
		return s, err
	}
	return s, errors.Join(x.drop(ctx, st), l.tidy(ctx))
}

// list lists the source into tasks and waits until they are done.
func (x *Indexer) list(ctx context.Context, l *lister) error {
	var listing error
	tasks := func(yield func([]byte, error) bool) {
		listing = l.tasks(ctx, yield)
		if listing != nil && !errors.Is(listing, errStopped) {
			yield(nil, listing)
		}
	}
	next, stop := iter.Pull2(iter.Seq2[[]byte, error](tasks))
	defer stop()
	first, err, more := next()
	if err != nil {
		return err
	}
	if !more { // nothing is to be hashed
		return x.settle(ctx, l.src.Job())
	}
	err = x.pipeline.Submit(ctx, pipeline.Job{ID: l.src.Job(), About: l.src.URL}, func(yield func([]byte, error) bool) {
		for body, err := first, error(nil); more; body, err, more = next() {
			if !yield(body, err) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	status, err := x.pipeline.Wait(ctx, l.src.Job())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another scan found everything done
	}
	if err != nil {
		return err
	}
	if status.Dead > 0 {
		return x.incomplete(ctx, l.src)
	}
	return x.pipeline.Forget(ctx, l.src.Job())
}

// settle forgets a job that was left, by a scan that failed or died, where everything is
// done now. One that somebody may still wait for stays.
func (x *Indexer) settle(ctx context.Context, job string) error {
	st, err := x.pipeline.Status(ctx, job)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || st.State != pipeline.StateDone && time.Since(st.Updated) < abandoned {
		return err
	}
	return x.pipeline.Forget(ctx, job)
}

// abandoned is for how long a job makes no progress until it is taken for one that
// nobody lists any more.
const abandoned = 10 * time.Minute

// incomplete tells the first causes of tasks that failed.
func (x *Indexer) incomplete(ctx context.Context, src Source) error {
	for dead, err := range x.pipeline.Dead(ctx, src.Job()) {
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: %s", ErrIncomplete, dead.Cause)
	}
	return ErrIncomplete
}

// tasks lists the source and yields what is to be hashed, in tasks.
func (l *lister) tasks(ctx context.Context, yield func([]byte, error) bool) error {
	t := task{Source: l.src}
	var bytes int64
	var names int
	submit := func() bool {
		body, err := json.Marshal(t)
		t.Files, bytes, names = nil, 0, 0
		return yield(body, err)
	}
	l.take = func(file string, size int64) bool {
		t.Files = append(t.Files, file)
		bytes += size
		names += len(file)
		if len(t.Files) < taskFiles && bytes < taskBytes && names < taskNames {
			return true
		}
		return submit()
	}
	if err := l.run(ctx); err != nil {
		return err
	}
	if len(t.Files) > 0 && !submit() {
		return errStopped
	}
	return nil
}

func (x *Indexer) save(ctx context.Context, st Status) error {
	w := catalog.NewWriter(x.stores.KV)
	if err := w.Put(ctx, putSource(st)); err != nil {
		return err
	}
	return w.Flush(ctx)
}

// drop removes what was assembled for a root that was replaced. Sources with the same
// directories keep them.
func (x *Indexer) drop(ctx context.Context, st Status) error {
	if id, err := hex.DecodeString(st.plan); err == nil && len(id) == 16 {
		if err := index.RemovePlan(ctx, x.stores.KV, [16]byte(id)); err != nil {
			return err
		}
	}
	needed := map[string]bool{}
	for other, err := range x.Sources(ctx) {
		if err != nil {
			return err
		}
		if other.plan == st.plan {
			continue
		}
		for _, pack := range other.packs {
			needed[pack] = true
		}
	}
	for _, pack := range st.packs {
		if needed[pack] {
			continue
		}
		if err := x.stores.RemovePack(ctx, pack); err != nil {
			return err
		}
	}
	return nil
}
