package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/kv"
)

// Put advertises multihashes under a context, and reports whether the chain grew: it does not
// if the same set is advertised there already, in whatever order. Another set replaces the one
// that was there: a removal is appended before it. No multihashes at all remove the context.
// metadata is that of the context; nil means [Options].Metadata.
//
// A multihash that is yielded twice makes another set than one that is yielded once. Memory is bounded by
// a chunk.
func (p *Publisher) Put(ctx context.Context, contextID []byte, mhs iter.Seq2[multihash.Multihash, error], metadata []byte) (bool, error) {
	grew, err := p.put(ctx, Item{ContextID: contextID, Entries: mhs, Metadata: metadata}, false)
	if err != nil {
		return false, fmt.Errorf("publish: put context %x: %w", contextID, err)
	}
	return grew, nil
}

func (p *Publisher) put(ctx context.Context, item Item, wanted bool) (bool, error) {
	if err := checkContext(item.ContextID); err != nil {
		return false, err
	}
	if len(item.Metadata) == 0 {
		item.Metadata = p.options.Metadata
	}
	if len(item.Metadata) > ad.MaxMetadata {
		return false, fmt.Errorf("metadata of %d bytes: %w", len(item.Metadata), fs.ErrInvalid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	former, err := p.context(ctx, item.ContextID)
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if known && len(item.Version) > 0 && former.Wanted == wanted &&
		bytes.Equal(item.Version, former.Version) && bytes.Equal(item.Metadata, former.Metadata) {
		return false, nil
	}
	e, err := p.readEntries(ctx, item.Entries)
	if err != nil {
		e.discard(ctx)
		return false, err
	}
	same := known && e.count == former.Count && bytes.Equal(e.set.bytes(), former.Set)
	if same || e.count == 0 {
		e.discard(ctx)
	}
	state := contextState{Set: e.set.bytes(), Count: e.count, Metadata: item.Metadata, Version: item.Version, Wanted: wanted}
	switch {
	case e.count == 0 && !known:
		return false, nil
	case e.count == 0:
		return true, p.remove(ctx, item.ContextID)
	case same:
		return p.refresh(ctx, item.ContextID, former, state)
	}
	return true, p.advertise(ctx, item.ContextID, known, e, state)
}

// refresh advertises new metadata, if it is new, for a set that is not.
func (p *Publisher) refresh(ctx context.Context, id []byte, former, state contextState) (bool, error) {
	state.Ad, state.Chunks = former.Ad, former.Chunks
	if bytes.Equal(state.Metadata, former.Metadata) {
		op, err := state.put(id)
		if err != nil || (bytes.Equal(state.Version, former.Version) && state.Wanted == former.Wanted) {
			return false, err
		}
		return false, p.kv.Batch(ctx, []kv.Op{op})
	}
	_, err := p.append(ctx, []ad.Ad{{ContextID: id, Metadata: state.Metadata}}, state.after(id, nil))
	return err == nil, err
}

// advertise appends a set, and before it the removal of what it replaces.
func (p *Publisher) advertise(ctx context.Context, id []byte, replaces bool, e *entries, state contextState) error {
	if err := e.flush(ctx); err != nil {
		return err
	}
	var ops []kv.Op
	var ads []ad.Ad
	if replaces {
		var err error
		if ops, err = p.forget(ctx, id); err != nil {
			return err
		}
		ads = append(ads, ad.Ad{ContextID: id, Remove: true})
	}
	ads = append(ads, ad.Ad{ContextID: id, Metadata: state.Metadata, Entries: e.root()})
	ops = append(ops, remember(id, e.chunks)...)
	state.Chunks = len(e.chunks)
	_, err := p.append(ctx, ads, state.after(id, ops))
	return err
}

// Remove takes a context back, and reports whether it was there. Its chunks stay for the time
// of [Options].Keep, until [Publisher.Sweep] removes them.
func (p *Publisher) Remove(ctx context.Context, contextID []byte) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.context(ctx, contextID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = p.remove(ctx, contextID)
	}
	if err != nil {
		return false, fmt.Errorf("publish: remove context %x: %w", contextID, err)
	}
	return true, nil
}

func (p *Publisher) remove(ctx context.Context, id []byte) error {
	ops, err := p.forget(ctx, id)
	if err != nil {
		return err
	}
	ops = append(ops, kv.Delete(contextKey(id)))
	_, err = p.append(ctx, []ad.Ad{{ContextID: id, Remove: true}}, func(cid.Cid) ([]kv.Op, error) { return ops, nil })
	return err
}

// Update changes the metadata of a context that is advertised, and nothing else of it. If it
// is not, the error matches [io/fs.ErrNotExist].
func (p *Publisher) Update(ctx context.Context, contextID, metadata []byte) error {
	if len(metadata) == 0 || len(metadata) > ad.MaxMetadata {
		return fmt.Errorf("publish: update context %x: metadata of %d bytes: %w", contextID, len(metadata), fs.ErrInvalid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	former, err := p.context(ctx, contextID)
	if err == nil {
		state := former
		state.Metadata = metadata
		_, err = p.refresh(ctx, contextID, former, state)
	}
	if err != nil {
		return fmt.Errorf("publish: update context %x: %w", contextID, err)
	}
	return nil
}

// SetAddrs advertises other addresses of the provider. It does nothing if they are the same.
func (p *Publisher) SetAddrs(ctx context.Context, addrs []multiaddr.Multiaddr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, err := p.head(ctx)
	if err != nil {
		return fmt.Errorf("publish: set addresses: %w", err)
	}
	p.addrs = slices.Clone(addrs)
	if h.cid.Defined() && slices.EqualFunc(h.addrs, addrs, multiaddr.Multiaddr.Equal) {
		return nil
	}
	if _, err := p.append(ctx, []ad.Ad{{}}, nil); err != nil {
		return fmt.Errorf("publish: set addresses: %w", err)
	}
	return nil
}

// Extend advertises further providers: of a context, or of everything if contextID is
// empty. Each of them signs with one of keys; this provider is added if it is not among them.
// No providers at all take back those that were there. It returns the advertisement.
func (p *Publisher) Extend(ctx context.Context, contextID []byte, x ad.Extended, keys ...crypto.PrivKey) (cid.Cid, error) {
	c, err := p.extendProviders(ctx, contextID, x, keys)
	if err != nil {
		return cid.Undef, fmt.Errorf("publish: extend context %x: %w", contextID, err)
	}
	return c, nil
}

func (p *Publisher) extendProviders(ctx context.Context, contextID []byte, x ad.Extended, keys []crypto.PrivKey) (cid.Cid, error) {
	if len(contextID) > ad.MaxContextID || x.Override && len(contextID) == 0 {
		return cid.Undef, fs.ErrInvalid
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := ad.Ad{Provider: p.id, ContextID: contextID, Extended: &x}
	state, err := p.context(ctx, contextID)
	switch {
	case err == nil:
		a.Metadata = state.Metadata // without it, the context would lose its own
	case len(contextID) > 0:
		return cid.Undef, err
	case !errors.Is(err, fs.ErrNotExist):
		return cid.Undef, err
	}
	own := func(e ad.ExtendedProvider) bool { return e.ID == p.id }
	if len(x.Providers) > 0 && !slices.ContainsFunc(x.Providers, own) {
		x.Providers = append(slices.Clone(x.Providers), ad.ExtendedProvider{ID: p.id})
	}
	return p.append(ctx, []ad.Ad{a}, nil, append(slices.Clone(keys), p.key)...)
}
