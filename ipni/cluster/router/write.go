package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"time"

	"github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Put seals multihashes and adds them to a group. Those that are second hashes themselves
// are left out, because nobody can look them up in plain.
func (r *Router) Put(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) error {
	valueKey, err := sealable(g.Context)
	if err != nil {
		return err
	}
	perRecord := dhash.KeySize + 2 + len(valueKey) + dhash.Overhead
	var piece []multihash.Multihash
	flush := func() error {
		records := r.seal(valueKey, piece)
		piece = piece[:0]
		defer r.recycle(records)
		return r.spread(ctx, records, true, putTo(g.Seal()))
	}
	for mh, err := range mhs.All() {
		if err != nil {
			return err
		}
		if piece = append(piece, mh); len(piece)*perRecord >= r.opts.Batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// sealable returns the value key of c if records can hold it.
func sealable(c ipni.Context) ([]byte, error) {
	key := c.ValueKey()
	if _, _, err := dhash.SplitValueKey(key); err != nil || len(key)+dhash.Overhead > valuestore.MaxValue {
		return nil, fmt.Errorf("router: context of %s: %w: %w", c.Provider, fs.ErrInvalid, err)
	}
	return key, nil
}

// seal makes records of multihashes, a part of them on each processor.
func (r *Router) seal(valueKey []byte, mhs []multihash.Multihash) []valuestore.Records {
	workers := r.opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	const least = 64 // multihashes that are worth a goroutine
	size := max(least, (len(mhs)+workers-1)/workers)
	parts := make([]valuestore.Records, (len(mhs)+size-1)/size)
	var all sync.WaitGroup
	for i := range parts {
		some := mhs[i*size : min((i+1)*size, len(mhs))]
		all.Go(func() { parts[i] = sealAll(r.buffer(), valueKey, some) })
	}
	all.Wait()
	return parts
}

func sealAll(records valuestore.Records, valueKey []byte, mhs []multihash.Multihash) valuestore.Records {
	var value []byte
	for _, mh := range mhs {
		if _, err := dhash.ParseKey(mh); err == nil {
			continue
		}
		value = dhash.Seal(value[:0], valueKey, mh)
		records = records.Append(dhash.SecondHash(mh), value)
	}
	return records
}

// Remove removes the groups of c with an epoch below before.
func (r *Router) Remove(ctx context.Context, c ipni.Context, before uint64) error {
	g := ipni.Group{Context: c}.Seal()
	return r.RemoveSealed(ctx, g.Provider, &g.Context, before)
}

// PutMetadata seals and sets the metadata of a context; nil removes it.
func (r *Router) PutMetadata(ctx context.Context, c ipni.Context, metadata []byte) error {
	valueKey, err := sealable(c)
	if err != nil {
		return err
	}
	if len(metadata) > dhash.MaxMetadata {
		return fmt.Errorf("router: metadata of %d bytes: %w", len(metadata), fs.ErrInvalid)
	}
	var sealed []byte
	if metadata != nil {
		sealed = dhash.Seal(nil, metadata, valueKey)
	}
	return r.PutSealedMetadata(ctx, dhash.HashValueKey(valueKey), sealed)
}

// send is one write to one node. Records are those that belong there.
type send func(ctx context.Context, n cluster.Node, records valuestore.Records) error

func putTo(g ipni.SealedGroup) send {
	return func(ctx context.Context, n cluster.Node, records valuestore.Records) error {
		return n.PutSealed(ctx, g, records)
	}
}

// PutSealed adds records to a group.
func (r *Router) PutSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return r.cut(ctx, records, true, putTo(g))
}

// DeleteSealed deletes records of a group. Of a put and a delete of the same record, through the
// same router and at the same time, one is first on all replicas.
func (r *Router) DeleteSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return r.cut(ctx, records, false, func(ctx context.Context, n cluster.Node, records valuestore.Records) error {
		return n.DeleteSealed(ctx, g, records)
	})
}

// cut spreads records in pieces.
func (r *Router) cut(ctx context.Context, records valuestore.Records, put bool, f send) error {
	if _, err := records.Check(); err != nil {
		return err
	}
	piece := records[:0:0]
	for e := range records.All() {
		piece = piece.Append(e.Key, e.Value)
		if len(piece) >= r.opts.Batch {
			if err := r.spread(ctx, []valuestore.Records{piece}, put, f); err != nil {
				return err
			}
			piece = piece[:0]
		}
	}
	return r.spread(ctx, []valuestore.Records{piece}, put, f)
}

// spread sends records, which are well-formed, to all replicas of their partitions.
func (r *Router) spread(ctx context.Context, parts []valuestore.Records, put bool, f send) error {
	defer r.order(parts, put)()
	w, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer w.end()
	for _, records := range parts {
		for e, err := range records.All() {
			if err == nil {
				err = w.touch(e.Key[0])
			}
			if err != nil {
				return err
			}
			for _, s := range w.to[e.Key[0]] {
				s.records = s.records.Append(e.Key, e.Value)
			}
		}
	}
	return w.run(ctx, put, f)
}

// order holds back deletes from puts in the same partitions. It returns what ends that.
func (r *Router) order(parts []valuestore.Records, put bool) (end func()) {
	var touched [cluster.Partitions]bool
	for _, records := range parts {
		for e := range records.All() {
			touched[e.Key[0]] = true
		}
	}
	each := func(shared, alone func(*sync.RWMutex)) {
		for p, yes := range touched {
			switch {
			case yes && put:
				shared(&r.records[p])
			case yes:
				alone(&r.records[p])
			}
		}
	}
	each((*sync.RWMutex).RLock, (*sync.RWMutex).Lock)
	return func() { each((*sync.RWMutex).RUnlock, (*sync.RWMutex).Unlock) }
}

// PutSealedMetadata sets encrypted metadata; nil deletes it.
func (r *Router) PutSealedMetadata(ctx context.Context, key dhash.MetadataKey, sealed []byte) error {
	r.sealed[key[0]].Lock()
	defer r.sealed[key[0]].Unlock()
	w, err := r.begin(ctx)
	if err == nil {
		err = w.touch(key[0])
	}
	if err != nil {
		return err
	}
	return w.run(ctx, false, func(ctx context.Context, n cluster.Node, _ valuestore.Records) error {
		return n.PutSealedMetadata(ctx, key, sealed)
	})
}

// write is a write under way.
type write struct {
	r       *Router
	view    *view
	shares  map[string]*share
	touched [cluster.Partitions]bool
	to      [cluster.Partitions][]*share // of the partitions that are touched
}

// share is what one member gets of a write.
type share struct {
	id      string
	records valuestore.Records
	err     error
}

// begin starts a write with a young view.
func (r *Router) begin(ctx context.Context) (*write, error) {
	v, err := r.fresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("router: write: %w: %w", cluster.ErrUnavailable, err)
	}
	return &write{r: r, view: v, shares: map[string]*share{}}, nil
}

// end gives back the buffers.
func (w *write) end() {
	for _, s := range w.shares {
		w.r.recycle([]valuestore.Records{s.records})
	}
}

// touch makes a partition one that is written to.
func (w *write) touch(p byte) error {
	if w.touched[p] {
		return nil
	}
	row := &w.view.rows[p]
	if row.Count(cluster.Ready) == 0 {
		return unavailable(p, errors.New("no replica is in sync"))
	}
	w.touched[p] = true
	for _, x := range row.Replicas {
		if x.State == cluster.Behind {
			continue
		}
		s := w.shares[x.ID]
		if s == nil {
			s = &share{id: x.ID, records: w.r.buffer()}
			w.shares[x.ID] = s
		}
		w.to[p] = append(w.to[p], s)
	}
	return nil
}

// run sends all shares, and returns nil when the write counts: every replica
// has it or is marked. again allows a second attempt, which a delete must not have: what
// was put in between would be lost.
func (w *write) run(ctx context.Context, again bool, f send) error {
	limited, cancel := context.WithTimeout(ctx, w.r.timing.Write)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range w.shares {
		all.Go(func() { s.err = w.r.deliver(ctx, limited, w.view, s, again, f) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("router: write: %w", context.Cause(ctx))
	}
	if age := time.Since(w.view.at); age > w.r.timing.View+w.r.timing.Write {
		// This process stood still in between: a copy that became ready since does not have the write.
		return fmt.Errorf("router: write: %w: the table was %v old at the end", cluster.ErrUnavailable, age)
	}
	return w.settle(ctx)
}

// deliver sends a share. It returns when time is up even if the node does not.
func (r *Router) deliver(caller, ctx context.Context, v *view, s *share, again bool, f send) error {
	p, err := r.peer(v, s.id)
	if err != nil {
		return err
	}
	records := s.records
	for attempt := 0; ; attempt++ {
		done, err := p.breaker.Allow()
		if err == nil {
			ended := make(chan error, 1)
			go func() { ended <- f(ctx, p.node, records) }()
			select {
			case err = <-ended:
			case <-ctx.Done():
				err = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
			}
			done(verdict(caller, err))
		}
		if err == nil {
			return nil
		}
		s.records = nil // not to be used again: the node may still read them
		if attempt > 0 || !again || ctx.Err() != nil || refused(err) {
			return fmt.Errorf("router: write to %q: %w", s.id, err)
		}
	}
}

// refused reports whether err is one that a second attempt has too.
func refused(err error) bool {
	return errors.Is(err, fs.ErrInvalid) || errors.Is(err, breaker.ErrOpen) || errors.Is(err, errors.ErrUnsupported)
}

// verdict is what the end of a call says about its node.
func verdict(caller context.Context, err error) breaker.Verdict {
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, errors.ErrUnsupported):
		return breaker.Success
	case caller.Err() != nil:
		return breaker.None
	default:
		return breaker.Failure
	}
}

// settle marks the replicas that failed.
func (w *write) settle(ctx context.Context) error {
	var causes []error
	failed := map[string]bool{}
	for _, s := range w.shares {
		if s.err != nil {
			failed[s.id] = true
			causes = append(causes, s.err)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	w.view.old.Store(true)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for p, yes := range w.touched {
		has, missed := map[string]bool{}, false
		for _, s := range w.to[p] {
			has[s.id] = !failed[s.id]
			missed = missed || failed[s.id]
		}
		if yes && missed {
			g.Go(func() error { return w.r.table.Miss(ctx, byte(p), has) })
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("router: write: %w: %w: %w", cluster.ErrUnavailable, err, errors.Join(causes...))
	}
	return nil
}

// maxKept is the size of the largest buffer that is kept, in bytes.
const maxKept = 16 << 20

func (r *Router) buffer() valuestore.Records {
	if b, ok := r.buffers.Get().(*valuestore.Records); ok {
		return (*b)[:0]
	}
	return nil
}

func (r *Router) recycle(all []valuestore.Records) {
	for _, b := range all {
		if cap(b) > 0 && cap(b) <= maxKept {
			r.buffers.Put(&b)
		}
	}
}
