// Package registry keeps what a provider index knows of providers: addresses, publisher,
// the last advertisement, errors, and extended providers, those of the chain and those of
// single contexts. docs/formats/ipni.md gives the keys.
//
// Advertisements may be processed in any order. What one says is kept with its place in the chain, and
// nothing older replaces it. Extended providers are kept by context, one row each, so that an
// advertisement replaces those that it speaks of and no others.
//
// [Registry.Apply] writes nothing: it returns operations, which the caller puts into the batch
// that says that the advertisement was processed.
//
// # Errors
//
// What is not there matches [io/fs.ErrNotExist], malformed changes [io/fs.ErrInvalid], corrupt rows
// [digest.ErrMismatch].
//
// A Registry is safe for concurrent use, except that changes of one provider must follow
// each other: the operations of the first are to be written before the next is applied. Those of
// [NewShared] need not.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/kv"
)

// Provider is what is known of a provider.
type Provider struct {
	ID    peer.ID
	Addrs []multiaddr.Multiaddr // to retrieve from

	Publisher peer.AddrInfo // of its advertisements; the id is empty if there is none

	LastAdvertisement     cid.Cid // the newest that was processed, or cid.Undef
	LastAdvertisementTime time.Time
	Lag                   int // advertisements that are known and not processed

	LastError     string // of the last failure to process an advertisement; empty if the last one succeeded
	LastErrorTime time.Time

	FrozenAt     cid.Cid // the last advertisement before this node stopped to take entries
	FrozenAtTime time.Time
	Inactive     bool // no advertisements for long, and the publisher does not answer

	addrsOrder, adOrder uint64 // of the advertisements that addresses, and the last one, are from
}

// Extended is a further provider of what another one advertises.
type Extended struct {
	peer.AddrInfo
	Metadata []byte // empty: that of the context
}

// Set is extended providers: of a context, or of the chain if ContextID is empty.
type Set struct {
	ContextID string
	Override  bool // those of the chain are not added
	Providers []Extended

	order uint64 // of the advertisement that it is from
}

// empty reports whether s is what remains of a set that was removed.
func (s *Set) empty() bool { return len(s.Providers) == 0 && !s.Override }

// Registry reads and changes what is known. It is a view: the kv store is all its state.
type Registry struct {
	kv     kv.Store
	shared bool
}

// New returns the registry in store, which others may use for keys that do not begin with
// "Np" or "Ne".
func New(store kv.Store) *Registry { return &Registry{kv: store} }

// NewShared returns the registry in a store to which other processes write too. Two publishers may
// advertise for one provider, and two processes follow them; so [Registry.Apply] changes each row
// atomically by itself, and returns no operations.
func NewShared(store kv.Store) *Registry { return &Registry{kv: store, shared: true} }

// Provider returns what is known of a provider.
func (r *Registry) Provider(ctx context.Context, id peer.ID) (Provider, error) {
	p, err := r.provider(ctx, id)
	if err != nil {
		return Provider{}, fmt.Errorf("registry: provider %s: %w", id, err)
	}
	return p, nil
}

func (r *Registry) provider(ctx context.Context, id peer.ID) (Provider, error) {
	if err := checkID(id); err != nil {
		return Provider{}, err
	}
	b, err := r.kv.Get(ctx, providerKey(id))
	if err != nil {
		return Provider{}, err
	}
	return decodeProvider(id, b)
}

// Providers yields all providers in the order of their ids' bytes.
func (r *Registry) Providers(ctx context.Context) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		for p, err := range r.kv.Scan(ctx, kv.Prefix([]byte{keySpace, kindProvider})) {
			var v Provider
			if err == nil {
				v, err = parseProvider(p)
			}
			if err != nil {
				yield(Provider{}, fmt.Errorf("registry: providers: %w", err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Sets yields the extended providers of a provider: those of the chain first, then those
// of contexts in the order of their ids.
func (r *Registry) Sets(ctx context.Context, id peer.ID) iter.Seq2[Set, error] {
	return func(yield func(Set, error) bool) {
		err := checkID(id)
		if err != nil {
			yield(Set{}, fmt.Errorf("registry: extended providers: %w", err))
			return
		}
		for p, err := range r.kv.Scan(ctx, kv.Prefix(setKey(id, ""))) {
			var s Set
			if err == nil {
				s, err = parseSet(id, p)
			}
			if err != nil {
				yield(Set{}, fmt.Errorf("registry: extended providers of %s: %w", id, err))
				return
			}
			if !s.empty() && !yield(s, nil) {
				return
			}
		}
	}
}

// Extended returns the extended providers of a context and those of the chain. Either is
// nil if there are none. Both are the caller's to read only.
func (r *Registry) Extended(ctx context.Context, id peer.ID, contextID string) (contextual, chain *Set, err error) {
	if err = checkID(id); err == nil && contextID != "" {
		contextual, err = r.live(ctx, id, contextID)
	}
	if err == nil {
		chain, err = r.live(ctx, id, "")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("registry: extended providers of %s: %w", id, err)
	}
	return contextual, chain, nil
}

// live returns a set, or nil if there is none.
func (r *Registry) live(ctx context.Context, id peer.ID, contextID string) (*Set, error) {
	s, err := r.set(ctx, id, contextID)
	if err != nil || s.empty() {
		return nil, err
	}
	return &s, nil
}

// set returns a set, which is empty if there is none.
func (r *Registry) set(ctx context.Context, id peer.ID, contextID string) (Set, error) {
	key := setKey(id, contextID)
	b, err := r.kv.Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return Set{ContextID: contextID}, nil
	}
	if err != nil {
		return Set{}, err
	}
	return parseSet(id, kv.Pair{Key: key, Value: b})
}

// contextual reports whether a provider has extended providers of any context.
func (r *Registry) contextual(ctx context.Context, id peer.ID) (bool, error) {
	rows := kv.Prefix(setKey(id, ""))
	rows.From = append(rows.From, 0)
	for _, err := range r.kv.Scan(ctx, rows) {
		if err != nil {
			return false, fmt.Errorf("registry: extended providers of %s: %w", id, err)
		}
		return true, nil
	}
	return false, nil
}

// Remove returns the operations that remove all that is known of a provider.
func Remove(id peer.ID) ([]kv.Op, error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("registry: remove: %w", err)
	}
	return []kv.Op{kv.Delete(providerKey(id)), kv.DeleteRange(kv.Prefix(setKey(id, "")))}, nil
}
