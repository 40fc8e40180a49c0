package rebalance

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Importer is a node that puts and deletes records of many groups at once, durably. A
// node that is none gets one write for each group.
type Importer interface {
	ImportSealed(ctx context.Context, put, del []cluster.Record) error
}

// pull makes a partition here like that of another node.
type pull struct {
	to      *Replica
	fill    *fill
	from    cluster.Node
	limit   *rate.Limiter // of bytes
	window  int           // records that are read as of one moment
	batch   int           // bytes that are written at once
	stall   time.Duration // until a source that yields nothing has failed
	put     []cluster.Record
	del     []cluster.Record
	pending int // bytes of both
}

// records compares the records of r until the window is full or r is done. next is where to
// go on; more tells that there is more.
func (p *pull) records(ctx context.Context, r valuestore.Range) (next dhash.Key, more bool, err error) {
	export := watched(ctx, p.stall, func(ctx context.Context) iter.Seq2[cluster.Record, error] { return p.from.ExportSealed(ctx, r) })
	theirs, stop := iter.Pull2(byKey(export, r))
	defer stop()
	ours, stopOurs := iter.Pull2(byKey(p.to.node.ExportSealed(ctx, r), r))
	defer stopOurs()
	a, errA, okA := theirs()
	b, errB, okB := ours()
	for n := 0; okA || okB; {
		if err := cmp.Or(errA, errB); err != nil {
			return next, false, err
		}
		var key dhash.Key
		if okA {
			key = a[0].Key
		}
		if okB && (!okA || bytes.Compare(b[0].Key[:], key[:]) < 0) {
			key = b[0].Key
		}
		if n >= p.window {
			return key, true, p.flush(ctx)
		}
		var there, here []cluster.Record
		if okA && a[0].Key == key {
			there = a
			a, errA, okA = theirs()
		}
		if okB && b[0].Key == key {
			here = b
			b, errB, okB = ours()
		}
		n += len(there) + len(here)
		if err := p.compare(ctx, there, here); err != nil {
			return next, false, err
		}
	}
	return next, false, p.flush(ctx)
}

// errStalled is a source that yields nothing.
var errStalled = fmt.Errorf("rebalance: export stalled: %w", context.DeadlineExceeded)

// watched yields what get does, which it cancels when nothing comes for too long.
func watched[T any](ctx context.Context, limit time.Duration, get func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		timer := time.AfterFunc(limit, func() { cancel(errStalled) })
		defer timer.Stop()
		for x, err := range get(ctx) {
			timer.Stop()
			if !yield(x, err) || err != nil {
				return
			}
			timer.Reset(limit)
		}
	}
}

// byKey yields the records of an export, copied, together for each key, which must come
// in order and lie in r.
func byKey(all iter.Seq2[cluster.Record, error], r valuestore.Range) iter.Seq2[[]cluster.Record, error] {
	return func(yield func([]cluster.Record, error) bool) {
		var group []cluster.Record
		for x, err := range all {
			if err == nil && (!r.Contains(x.Key) || len(x.Value) > valuestore.MaxValue ||
				len(group) > 0 && bytes.Compare(x.Key[:], group[0].Key[:]) < 0) {
				err = fmt.Errorf("rebalance: export out of order: %w", digest.ErrMismatch)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if len(group) > 0 && group[0].Key != x.Key {
				if !yield(group, nil) {
					return
				}
				group = nil
			}
			x.Value = bytes.Clone(x.Value)
			group = append(group, x)
		}
		if len(group) > 0 {
			yield(group, nil)
		}
	}
}

// compare takes what differs between the records of a key.
func (p *pull) compare(ctx context.Context, there, here []cluster.Record) error {
	type id struct {
		group ipni.SealedGroup
		value string
	}
	known := make(map[id]bool, len(here))
	for _, x := range here {
		known[id{x.Group, string(x.Value)}] = true
	}
	for _, x := range there {
		k := id{x.Group, string(x.Value)}
		if !known[k] {
			p.put = append(p.put, x)
			p.pending += dhash.KeySize + len(x.Value)
		}
		delete(known, k)
	}
	for _, x := range here {
		if known[id{x.Group, string(x.Value)}] {
			p.del = append(p.del, x)
			p.pending += dhash.KeySize + len(x.Value)
		}
	}
	if p.pending >= p.batch {
		return p.flush(ctx)
	}
	return nil
}

// flush writes what differs, except what was written here in the meantime.
func (p *pull) flush(ctx context.Context) error {
	if err := p.pay(ctx, p.pending); err != nil {
		return err
	}
	p.fill.order.Lock()
	defer p.fill.order.Unlock()
	newer := func(x cluster.Record) bool { return p.fill.newer(noteOf(x.Group, x.Key, x.Value), &x.Group) }
	put, del := slices.DeleteFunc(p.put, newer), slices.DeleteFunc(p.del, newer)
	p.put, p.del, p.pending = nil, nil, 0
	if p.fill.lost() {
		return errOverflow
	}
	return write(ctx, p.to.node, put, del)
}

// pay waits until so many bytes may be written.
func (p *pull) pay(ctx context.Context, n int) error {
	for n > 0 {
		some := min(n, p.limit.Burst())
		if err := p.limit.WaitN(ctx, some); err != nil {
			return err
		}
		n -= some
	}
	return nil
}

// write puts and deletes records.
func write(ctx context.Context, n cluster.Node, put, del []cluster.Record) error {
	if len(put)+len(del) == 0 {
		return nil
	}
	if i, ok := n.(Importer); ok {
		return i.ImportSealed(ctx, put, del)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for group, records := range byGroup(put) {
		g.Go(func() error { return n.PutSealed(ctx, group, records) })
	}
	for group, records := range byGroup(del) {
		g.Go(func() error { return n.DeleteSealed(ctx, group, records) })
	}
	return g.Wait()
}

func byGroup(all []cluster.Record) map[ipni.SealedGroup]valuestore.Records {
	groups := map[ipni.SealedGroup]valuestore.Records{}
	for _, x := range all {
		groups[x.Group] = groups[x.Group].Append(x.Key, x.Value)
	}
	return groups
}

// metadata makes the metadata of r here like that of the other node.
func (p *pull) metadata(ctx context.Context, r valuestore.Range) error {
	const batch = 1024
	here := map[dhash.MetadataKey]string{}
	for m, err := range p.to.node.ExportMetadata(ctx, r) {
		if err != nil {
			return err
		}
		here[m.Key] = string(m.Sealed)
	}
	var changed []cluster.Metadata
	export := watched(ctx, p.stall, func(ctx context.Context) iter.Seq2[cluster.Metadata, error] { return p.from.ExportMetadata(ctx, r) })
	for m, err := range export {
		if err == nil && (!r.Contains(dhash.Key(m.Key)) || len(m.Sealed) == 0 || len(m.Sealed) > dhash.MaxMetadata+dhash.Overhead) {
			err = fmt.Errorf("rebalance: export of metadata: %w", digest.ErrMismatch)
		}
		if err != nil {
			return err
		}
		if old, ok := here[m.Key]; !ok || old != string(m.Sealed) {
			changed = append(changed, cluster.Metadata{Key: m.Key, Sealed: bytes.Clone(m.Sealed)})
		}
		delete(here, m.Key)
		if len(changed) >= batch {
			if err := p.setMetadata(ctx, changed); err != nil {
				return err
			}
			changed = nil
		}
	}
	for key := range here {
		changed = append(changed, cluster.Metadata{Key: key})
	}
	return p.setMetadata(ctx, changed)
}

func (p *pull) setMetadata(ctx context.Context, all []cluster.Metadata) error {
	size := 0
	for _, m := range all {
		size += dhash.KeySize + len(m.Sealed)
	}
	if err := p.pay(ctx, size); err != nil {
		return err
	}
	p.fill.order.Lock()
	defer p.fill.order.Unlock()
	all = slices.DeleteFunc(all, func(m cluster.Metadata) bool {
		return p.fill.newer(noteOfMetadata(m.Key), nil)
	})
	if p.fill.lost() {
		return errOverflow
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, m := range all {
		g.Go(func() error { return p.to.node.PutSealedMetadata(ctx, m.Key, m.Sealed) })
	}
	return g.Wait()
}
