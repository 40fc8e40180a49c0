package verify

import (
	"bytes"
	"context"
	"errors"
	"io/fs"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// span is how many multihashes are checked at a time.
const span = 1024

// claim is what the store must hold of an advertisement.
type claim struct {
	group    ipni.Group
	entries  bool
	metadata bool
	count    uint64 // multihashes, as ingestion counted them
	gone     bool   // it was removed later
	row      state.Ad
}

// claim reads what ingestion remembers of an advertisement.
func (w *walker) claim(ctx context.Context, it item) (claim, error) {
	row, err := w.state.Ad(ctx, it.cid)
	if err != nil || it.ad == nil || row.Order == 0 {
		return claim{row: row}, err
	}
	c := claim{row: row, count: row.Count}
	c.group = ipni.Group{Context: ipni.Context{Provider: it.ad.Provider, ID: string(it.ad.ContextID)}, Epoch: row.Epoch}
	st, err := w.state.Context(ctx, c.group.Context)
	if err != nil {
		return c, err
	}
	removed, err := w.state.Removed(ctx, it.ad.Provider)
	if err != nil {
		return c, err
	}
	c.gone = row.Order <= removed || row.Order < st.RemovedAt
	c.metadata = !c.gone && !it.ad.Remove && row.Order == st.MetadataAt
	c.entries = !c.gone && !it.ad.Remove && row.Done() && row.Status != state.Skipped && row.Epoch != 0 && it.ad.Entries.Defined()
	return c, nil
}

// check compares the store with an advertisement.
func (w *walker) check(ctx context.Context, it item) error {
	c, err := w.claim(ctx, it)
	if err != nil {
		return err
	}
	r := &w.report
	switch {
	case it.ad == nil || c.row.Status == state.Skipped:
		r.Skipped++
	case !c.row.Done():
		r.Pending++
	case c.gone:
		r.Removed++
	}
	f := Finding{Ad: it.cid}
	if c.metadata {
		if err := w.checkMetadata(ctx, it, &f); err != nil {
			return err
		}
	}
	if c.entries {
		if err := w.checkEntries(ctx, it, c, &f); err != nil {
			return err
		}
	}
	if f.Missing == 0 && f.Metadata == "" && f.Cause == "" {
		return nil
	}
	f.Provider, f.ContextID = it.ad.Provider, it.ad.ContextID
	if f.Repaired {
		r.Repaired++
	}
	w.o.Found(f)
	return nil
}

// repair calls put with what the store must hold of an advertisement now, while nobody
// changes its context. It reports whether that is still anything that need asks for: what was
// removed in the meantime is not missing.
func (w *walker) repair(ctx context.Context, it item, need func(claim) bool, put func(claim) error) (bool, error) {
	release, err := w.o.Hold(ctx, ipni.Context{Provider: it.ad.Provider, ID: string(it.ad.ContextID)})
	if err != nil {
		return false, err
	}
	defer release()
	c, err := w.claim(ctx, it)
	if err != nil || !need(c) {
		return false, err
	}
	if w.o.Repair == nil {
		return true, nil
	}
	return true, put(c)
}

func (w *walker) checkMetadata(ctx context.Context, it item, f *Finding) error {
	c := ipni.Context{Provider: it.ad.Provider, ID: string(it.ad.ContextID)}
	w.report.Metadata++
	what := ""
	switch got, err := w.store.Metadata(ctx, c); {
	case errors.Is(err, fs.ErrNotExist):
		what = "missing"
	case errors.Is(err, digest.ErrMismatch): // it does not open
		what = "other"
	case err != nil:
		return err
	case !bytes.Equal(got, it.ad.Metadata):
		what = "other"
	default:
		return nil
	}
	still, err := w.repair(ctx, it, func(c claim) bool { return c.metadata }, func(c claim) error {
		f.Repaired = true
		return w.o.Repair.PutMetadata(ctx, c.group.Context, it.ad.Metadata)
	})
	if still {
		w.report.MetadataMissing++
		f.Metadata = what
	}
	return err
}

// checkEntries looks for the multihashes of an advertisement, or a sample of them.
func (w *walker) checkEntries(ctx context.Context, it item, c claim, f *Finding) error {
	w.report.Held++
	w.report.Multihashes += int64(c.count)
	if w.skip >= float64(c.count) {
		w.skip -= float64(c.count)
		return nil
	}
	s := entries.Start(ctx, []cid.Cid{it.ad.Entries}, entries.Count{}, w.o.Limits, func(ctx context.Context, id cid.Cid) ([]byte, error) {
		return w.block(ctx, id, ipni.EntryChunk)
	})
	defer s.Close()
	for b, err := range s.All(nil) {
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			w.report.Unread++
			f.Cause = err.Error()
			return nil
		}
		if err := w.checkBlock(ctx, it, c, b.Multihashes, f); err != nil {
			return err
		}
		if left := float64(c.count) - float64(b.Count.Multihashes); left > 0 && w.skip >= left {
			w.skip -= left
			return nil
		}
	}
	return nil
}

// sample returns those of mhs that are in the sample.
func (w *walker) sample(mhs ipni.Multihashes) (ipni.Multihashes, int64, error) {
	var some ipni.Multihashes
	n := int64(0)
	for mh, err := range mhs.All() {
		if err != nil {
			return nil, 0, err
		}
		if w.skip >= 1 {
			w.skip--
			continue
		}
		w.skip = w.gap()
		n++
		some = append(some, mh...)
	}
	return some, n, nil
}

func (w *walker) checkBlock(ctx context.Context, it item, c claim, mhs ipni.Multihashes, f *Finding) error {
	some, n, err := w.sample(mhs)
	if err != nil {
		return err
	}
	missing, err := w.missing(ctx, c.group, some)
	if err != nil {
		return err
	}
	w.report.Checked += n
	f.Checked += n
	if len(missing) == 0 {
		return nil
	}
	again := mhs
	if w.o.Sample == 1 {
		again = nil
		for _, mh := range missing {
			again = append(again, mh...)
		}
	}
	still, err := w.repair(ctx, it, func(now claim) bool { return now.entries }, func(now claim) error {
		f.Repaired = true
		return w.o.Repair.Put(ctx, now.group, again)
	})
	if !still {
		return err
	}
	w.report.Missing += int64(len(missing))
	f.Missing += int64(len(missing))
	for _, mh := range missing[:min(len(missing), examples-len(f.Examples))] {
		f.Examples = append(f.Examples, mh.B58String())
	}
	return err
}

// missing returns those of mhs that the store does not have, which are parts of mhs.
func (w *walker) missing(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) ([]multihash.Multihash, error) {
	spans, err := split(mhs)
	if err != nil {
		return nil, err
	}
	found := make([][]multihash.Multihash, len(spans))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(w.o.Workers)
	for i, part := range spans {
		work.Go(func() error {
			for mh, err := range w.store.Check(ctx, g, part) {
				if err != nil {
					return err
				}
				found[i] = append(found[i], mh)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	var all []multihash.Multihash
	for _, part := range found {
		all = append(all, part...)
	}
	return all, nil
}

// split cuts mhs into spans.
func split(mhs ipni.Multihashes) ([]ipni.Multihashes, error) {
	var spans []ipni.Multihashes
	at, n := 0, 0
	for mh, err := range mhs.All() {
		if err != nil {
			return nil, err
		}
		at += len(mh)
		if n++; n%span == 0 {
			spans = append(spans, mhs[:at])
			mhs, at = mhs[at:], 0
		}
	}
	if at > 0 {
		spans = append(spans, mhs[:at])
	}
	return spans, nil
}
