package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// Blocks records where single blocks are, without a plan. It belongs to one goroutine.
type Blocks struct{ b *Builder }

// NewBlocks returns a Blocks that writes to store what [Blocks.Put] is given.
func NewBlocks(store kv.Store) *Blocks { return &Blocks{NewBuilder(store, LevelSingle)} }

// Put records that the size bytes of d stand at offset in loc. Inline digests need no
// record. It writes now and then; the first failure comes from [Blocks.Flush].
func (x *Blocks) Put(ctx context.Context, d digest.Digest, loc Location, offset, size int64) {
	if _, inline := d.Inline(); !inline {
		x.b.put(ctx, kv.Put(blockKey(d, x.b.ref(ctx, loc)), place{offset, size}.encode()))
	}
}

// Flush writes the rest and returns when all is durable.
func (x *Blocks) Flush(ctx context.Context) error {
	x.b.flush(ctx)
	return x.b.err
}

// PutBlocks records the blocks of a pack that is durable, without a plan.
func PutBlocks(ctx context.Context, store kv.Store, level Level, pack digest.Digest, sections iter.Seq2[car.Section, error]) error {
	x := NewBlocks(store)
	loc := Location{Pack: pack}
	x.b.ref(ctx, loc)
	for s, err := range sections {
		if err != nil {
			return fmt.Errorf("index: blocks of %s: %w", pack, err)
		}
		d, err := digest.FromCID(s.CID)
		if err != nil {
			return fmt.Errorf("index: blocks of %s: %w", pack, err)
		}
		if level.blocks() {
			x.Put(ctx, d, loc, s.Offset, s.Size)
		}
	}
	return x.Flush(ctx)
}

// RemovePlan makes the plan with an id (see [Plan.ID]) invisible, in one write. What it
// left is removed by [Sweep].
func RemovePlan(ctx context.Context, store kv.Store, id [16]byte) error {
	return store.Batch(ctx, []kv.Op{kv.Delete(planKey(id)), kv.DeleteRange(kv.Prefix(segmentKey(id, 0)[:17]))})
}

// RemoveLocation makes everything that lies at loc unfindable, in one write.
// Records that point there stay behind until [Sweep].
func RemoveLocation(ctx context.Context, store kv.Store, loc Location) error {
	return store.Batch(ctx, []kv.Op{RemovalOf(loc)})
}

// RemovalOf is the write of [RemoveLocation], to be done together with others.
func RemovalOf(loc Location) kv.Op { return kv.Delete(locationKey(loc.ref())) }

// Locations yields every known location.
func (x *Index) Locations(ctx context.Context) iter.Seq2[Location, error] {
	return func(yield func(Location, error) bool) {
		for p, err := range x.store.Scan(ctx, kv.Prefix([]byte{keyLocation})) {
			var loc Location
			if err == nil {
				loc, err = ParseLocation(p.Value)
			}
			if !yield(loc, err) || err != nil {
				return
			}
		}
	}
}

// Quarantine marks a block's copy at loc as bad: it is never served again from
// there. cause is for people.
func Quarantine(ctx context.Context, store kv.Store, d digest.Digest, loc Location, cause string) error {
	value := binary.AppendUvarint(nil, uint64(time.Now().Unix()))
	return store.Batch(ctx, []kv.Op{kv.Put(quarantineKey(d, loc.ref()), append(value, cause...))})
}

// Release lifts the quarantine of a block's copy at loc, once it was found whole.
func Release(ctx context.Context, store kv.Store, d digest.Digest, loc Location) error {
	return store.Batch(ctx, []kv.Op{kv.Delete(quarantineKey(d, loc.ref()))})
}

// Quarantined reports whether the copy of d at loc is known to be bad.
func (x *Index) Quarantined(ctx context.Context, d digest.Digest, loc Location) (bool, error) {
	_, err := x.store.Get(ctx, quarantineKey(d, loc.ref()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Bad is a copy in quarantine.
type Bad struct {
	Digest   digest.Digest
	Location Location // zero if nothing is there any more
	Since    time.Time
	Cause    string
}

// Quarantines yields every copy in quarantine.
func (x *Index) Quarantines(ctx context.Context) iter.Seq2[Bad, error] {
	return func(yield func(Bad, error) bool) {
		for p, err := range x.store.Scan(ctx, kv.Prefix([]byte{keyQuarantine})) {
			var bad Bad
			if err == nil {
				bad, err = x.bad(ctx, p)
			}
			if !yield(bad, err) || err != nil {
				return
			}
		}
	}
}

func (x *Index) bad(ctx context.Context, p kv.Pair) (Bad, error) {
	if len(p.Key) < 1+len(ref{}) {
		return Bad{}, fmt.Errorf("%w: key of %d bytes", ErrCorrupt, len(p.Key))
	}
	d, err := digest.FromBytes(p.Key[1 : len(p.Key)-len(ref{})])
	if err != nil {
		return Bad{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	value := decoder{b: string(p.Value)}
	bad := Bad{Digest: d, Since: time.Unix(value.int(), 0), Cause: value.b}
	if value.err != nil {
		return Bad{}, value.err
	}
	bad.Location, err = x.location(ctx, suffix(p.Key))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return bad, err
}

// Stats counts what an index holds.
type Stats struct {
	Blocks      int64 `json:"blocks"` // records of blocks, one per location
	Containings int64 `json:"containings"`
	Plans       int64 `json:"plans"`
	Segments    int64 `json:"segments"`
	Locations   int64 `json:"locations"`
	Quarantined int64 `json:"quarantined"`
}

// Stats counts every key of the index.
func (x *Index) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	for _, c := range []struct {
		key   byte
		count *int64
	}{{keyBlock, &s.Blocks}, {keyContaining, &s.Containings}, {keyPlan, &s.Plans}, {keySegment, &s.Segments}, {keyLocation, &s.Locations}, {keyQuarantine, &s.Quarantined}} {
		for _, err := range x.store.Scan(ctx, kv.Prefix([]byte{c.key})) {
			if err != nil {
				return Stats{}, fmt.Errorf("index: stats: %w", err)
			}
			*c.count++
		}
	}
	return s, nil
}

// Clear removes every record.
func Clear(ctx context.Context, store kv.Store) error {
	var ops []kv.Op
	for _, k := range []byte{keyPlan, keyLocation, keyContaining, keyBlock, keySegment, keyIntent, keyQuarantine} {
		ops = append(ops, kv.DeleteRange(kv.Prefix([]byte{k})))
	}
	if err := store.Batch(ctx, ops); err != nil {
		return fmt.Errorf("index: clear: %w", err)
	}
	return nil
}

// Sweep removes what nothing can reach: plans that were abandoned before the
// time given, and records whose location or plan is gone. It returns how many
// keys it removed.
func Sweep(ctx context.Context, store kv.Store, before time.Time) (int64, error) {
	w := sweeper{store: store, x: New(store, nil)}
	w.intents(ctx, before)
	w.flush(ctx, true) // what they left is not alive any more
	// Finish turns an intent into a plan: asked in this order, one of them is there.
	w.orphans(ctx, keyContaining, func(k [16]byte) bool { return w.exists(ctx, intentKey(k)) || w.exists(ctx, planKey(k)) })
	w.orphans(ctx, keyBlock, func(k [16]byte) bool { return w.exists(ctx, locationKey(k)) })
	w.flush(ctx, true)
	if w.err != nil {
		return w.removed, fmt.Errorf("index: sweep: %w", w.err)
	}
	return w.removed, nil
}

type sweeper struct {
	store   kv.Store
	x       *Index
	ops     []kv.Op
	removed int64
	err     error
}

func (w *sweeper) intents(ctx context.Context, before time.Time) {
	for p, err := range w.store.Scan(ctx, kv.Prefix([]byte{keyIntent})) {
		if err != nil {
			w.err = err
			return
		}
		value := decoder{b: string(p.Value)}
		if time.Unix(value.int(), 0).After(before) || len(p.Key) != 17 {
			continue
		}
		id := planID(suffix(p.Key))
		w.remove(ctx, kv.DeleteRange(kv.Prefix(segmentKey(id, 0)[:17])), kv.Delete(p.Key))
	}
}

// orphans removes the keys of a kind whose last 16 bytes name something that is gone.
func (w *sweeper) orphans(ctx context.Context, kind byte, exists func([16]byte) bool) {
	if w.err != nil {
		return
	}
	known := map[[16]byte]bool{}
	for p, err := range w.store.Scan(ctx, kv.Prefix([]byte{kind})) {
		if err != nil {
			w.err = err
			return
		}
		id := suffix(p.Key)
		alive, seen := known[id]
		if !seen {
			alive = exists(id)
			if len(known) > 1<<16 {
				clear(known)
			}
			known[id] = alive
		}
		if !alive {
			w.remove(ctx, kv.Delete(p.Key))
		}
	}
}

// exists is true on failure: what cannot be looked up is not removed.
func (w *sweeper) exists(ctx context.Context, key []byte) bool {
	_, err := w.store.Get(ctx, key)
	return !errors.Is(err, fs.ErrNotExist)
}

func (w *sweeper) remove(ctx context.Context, ops ...kv.Op) {
	w.ops = append(w.ops, ops...)
	w.removed++
	w.flush(ctx, false)
}

func (w *sweeper) flush(ctx context.Context, all bool) {
	if w.err != nil || len(w.ops) == 0 || !all && len(w.ops) < 1024 {
		return
	}
	w.err = w.store.Batch(ctx, w.ops)
	w.ops = w.ops[:0]
}
