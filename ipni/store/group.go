package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/maypok86/otter/v2"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

const (
	tagRange    = 256  // tags that are reserved at a time; what is left of a range is lost at the end of the process
	removeChunk = 512  // groups that are removed at a time
	stripeCount = 1024 // locks of groups
)

// groups tells groups and tags apart. A group may have several tags, one for each process
// that used it first; so its rows are written without reading.
type groups struct {
	kv     kv.Store
	tags   *otter.Cache[ipni.SealedGroup, valuestore.Tag]
	owners *otter.Cache[valuestore.Tag, *owner]

	mu        sync.Mutex
	next, end valuestore.Tag // reserved and not given out

	stripes [stripeCount]stripe
}

// stripe keeps the removal of its groups apart from writes to them: a tag must not be
// written to once it is removed.
type stripe struct {
	use    sync.RWMutex
	create sync.Mutex // one tag for concurrent first uses
}

// stripeOf returns the number of the stripe of a context.
func stripeOf(key dhash.MetadataKey) int {
	return int(binary.BigEndian.Uint16(key[:]) % stripeCount)
}

// use calls f with the tag of a group, which is not removed until f returns. The value key goes
// to the row of a new tag.
func (g *groups) use(ctx context.Context, group ipni.SealedGroup, valueKey []byte, f func(valuestore.Tag) error) error {
	if group == (ipni.SealedGroup{}) {
		return f(0)
	}
	s := &g.stripes[stripeOf(group.Context)]
	s.use.RLock()
	defer s.use.RUnlock()
	tag, ok := g.tags.GetIfPresent(group)
	if !ok {
		var err error
		if tag, err = g.resolve(ctx, s, group, valueKey); err != nil {
			return err
		}
	}
	return f(tag)
}

// resolve finds the tag of a group, or gives it one.
func (g *groups) resolve(ctx context.Context, s *stripe, group ipni.SealedGroup, valueKey []byte) (valuestore.Tag, error) {
	s.create.Lock()
	defer s.create.Unlock()
	if tag, ok := g.tags.GetIfPresent(group); ok {
		return tag, nil
	}
	known, err := g.of(ctx, group, 1)
	if err != nil {
		return 0, err
	}
	if len(known) > 0 {
		g.tags.Set(group, known[0])
		return known[0], nil
	}
	tag, err := g.reserve(ctx)
	if err != nil {
		return 0, err
	}
	err = g.kv.Batch(ctx, []kv.Op{
		kv.Put(groupKey(group, tag), []byte{}),
		kv.Put(tagKey(tag), ownerValue(group, valueKey)),
	})
	if err != nil {
		return 0, err
	}
	g.tags.Set(group, tag)
	return tag, nil
}

// of returns the tags of a group that are not being removed, no more than limit.
func (g *groups) of(ctx context.Context, group ipni.SealedGroup, limit int) ([]valuestore.Tag, error) {
	if group == (ipni.SealedGroup{}) {
		return []valuestore.Tag{0}, nil
	}
	var tags []valuestore.Tag
	for p, err := range g.kv.Scan(ctx, groupRows(group)) {
		if err != nil {
			return nil, err
		}
		t, err := parseGroupKey(p.Key)
		if err != nil {
			return nil, err
		}
		if len(p.Value) > 0 {
			continue
		}
		if tags = append(tags, t.tag); len(tags) == limit {
			break
		}
	}
	return tags, nil
}

// reserve returns a tag that was never used.
func (g *groups) reserve(ctx context.Context) (valuestore.Tag, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == g.end {
		var next valuestore.Tag
		err := g.kv.Update(ctx, counterKey(), func(old []byte) (_ []byte, err error) {
			if next, err = parseCounter(old); err != nil {
				return nil, err
			}
			if next+tagRange > valuestore.MaxTag {
				return nil, fmt.Errorf("all of the %d tags were given out", uint64(valuestore.MaxTag))
			}
			return binary.BigEndian.AppendUint64(nil, uint64(next+tagRange)), nil
		})
		if err != nil {
			return 0, err
		}
		g.next, g.end = next, next+tagRange
	}
	g.next++
	return g.next - 1, nil
}

// owner returns what a tag belongs to. The error matches fs.ErrNotExist if that was removed.
func (g *groups) owner(ctx context.Context, tag valuestore.Tag, compact bool) (*owner, error) {
	if o, ok := g.owners.GetIfPresent(tag); ok {
		return o, nil
	}
	if tag == 0 && !compact {
		return &owner{}, nil
	}
	b, err := g.kv.Get(ctx, tagKey(tag))
	if err != nil {
		return nil, err
	}
	o, err := parseOwner(b, compact)
	if err != nil {
		return nil, fmt.Errorf("tag %d: %w", tag, err)
	}
	g.owners.Set(tag, o)
	return o, nil
}

// RemoveSealed removes the groups of a context, or of all of a provider, with an epoch
// below before. If it fails, what is left is found by another call; if ctx ended it after a
// part of it was done, the error matches [ipni.ErrUnfinished]. Metadata stays, except
// that removing all of a provider (no context, and the largest epoch) removes that of the
// contexts which have groups here.
func (s *Store) RemoveSealed(ctx context.Context, provider ipni.ProviderTag, context *dhash.MetadataKey, before uint64) error {
	r := kv.Prefix(append([]byte{keySpace, kindGroup}, provider[:]...))
	if context != nil {
		from := ipni.SealedGroup{Provider: provider, Context: *context}
		to := from
		to.Epoch = before
		r = kv.Range{From: appendGroup([]byte{keySpace, kindGroup}, from), To: appendGroup([]byte{keySpace, kindGroup}, to)}
	}
	metadata := context == nil && before == math.MaxUint64
	for some := false; ; some = true {
		chunk, next, err := s.groups.scan(ctx, r, before)
		if err == nil && len(chunk) > 0 {
			err = s.removeChunk(ctx, chunk, metadata)
		}
		if err != nil && some && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ipni.ErrUnfinished, err)
		}
		if err != nil {
			return fmt.Errorf("store: remove: %w", err)
		}
		if next == nil {
			return nil
		}
		r.From = next
	}
}

// scan returns some groups of r with an epoch below before, and where to go on. A nil next
// means that there are no others.
func (g *groups) scan(ctx context.Context, r kv.Range, before uint64) (chunk []tagged, next []byte, err error) {
	for p, err := range g.kv.Scan(ctx, r) {
		if err != nil {
			return nil, nil, err
		}
		t, err := parseGroupKey(p.Key)
		if err != nil {
			return nil, nil, err
		}
		if t.Epoch >= before {
			continue
		}
		if chunk = append(chunk, t); len(chunk) == removeChunk {
			return chunk, append(p.Key, 0), nil
		}
	}
	return chunk, nil, nil
}

// removeChunk removes the records of groups. It marks their tags first, because a tag that may
// be removed must not be used again, and deletes what tells of them last, because it is found by that
// when it ends in between.
func (s *Store) removeChunk(ctx context.Context, chunk []tagged, metadata bool) error {
	defer s.groups.lock(chunk)()
	tags := make([]valuestore.Tag, 0, len(chunk))
	var mark, del []kv.Op
	for _, t := range chunk {
		tags = append(tags, t.tag)
		mark = append(mark, kv.Put(groupKey(t.SealedGroup, t.tag), []byte{removing}))
		del = append(del, kv.Delete(groupKey(t.SealedGroup, t.tag)), kv.Delete(tagKey(t.tag)))
		if metadata {
			del = append(del, kv.Delete(metadataKey(t.Context)))
		}
		s.groups.tags.Invalidate(t.SealedGroup)
		s.groups.owners.Invalidate(t.tag)
	}
	if err := s.kv.Batch(ctx, mark); err != nil {
		return err
	}
	if err := s.values.Remove(ctx, tags...); err != nil {
		return err
	}
	return s.kv.Batch(ctx, del)
}

// lock keeps writers away from groups.
func (g *groups) lock(chunk []tagged) (unlock func()) {
	var held []int
	for _, t := range chunk {
		held = append(held, stripeOf(t.Context))
	}
	slices.Sort(held)
	held = slices.Compact(held)
	for _, n := range held {
		g.stripes[n].use.Lock()
	}
	return func() {
		for _, n := range held {
			g.stripes[n].use.Unlock()
		}
	}
}
