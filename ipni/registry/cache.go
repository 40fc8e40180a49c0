package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/maypok86/otter/v2"
)

const (
	cachedProviders = 1 << 14
	cachedSets      = 1 << 14
	loadTimeout     = 30 * time.Second
)

// Cache remembers for a while what a [Registry] says: other nodes write to the same store. It has
// nothing to close.
type Cache struct {
	r         *Registry
	maxAge    time.Duration
	providers *otter.Cache[peer.ID, *cachedProvider]
	sets      *otter.Cache[setID, *cachedSet]
}

// cachedProvider is what was known at a time, also that nothing was.
type cachedProvider struct {
	at         time.Time
	provider   Provider
	known      bool
	chain      *Set
	contextual bool // there are sets of contexts
}

type cachedSet struct {
	at  time.Time
	set *Set
}

// NewCache returns a cache whose answers are no older than maxAge. Concurrent questions
// for one provider are asked once.
func NewCache(r *Registry, maxAge time.Duration) *Cache {
	return &Cache{
		r: r, maxAge: maxAge,
		providers: otter.Must(&otter.Options[peer.ID, *cachedProvider]{MaximumSize: cachedProviders}),
		sets:      otter.Must(&otter.Options[setID, *cachedSet]{MaximumSize: cachedSets}),
	}
}

// Provider returns what is known of a provider.
func (c *Cache) Provider(ctx context.Context, id peer.ID) (Provider, error) {
	p, err := c.load(ctx, id)
	if err == nil && !p.known {
		err = fmt.Errorf("registry: provider %s: %w", id, fs.ErrNotExist)
	}
	if err != nil {
		return Provider{}, err
	}
	return p.provider, nil
}

// Extended returns the extended providers of a context and those of the chain, as that
// of [Registry].
func (c *Cache) Extended(ctx context.Context, id peer.ID, contextID string) (contextual, chain *Set, err error) {
	p, err := c.load(ctx, id)
	if err != nil || !p.contextual || contextID == "" {
		return nil, p.chain, err
	}
	s, err := cached(ctx, c, c.sets, setID{id, contextID}, func(s *cachedSet) time.Time { return s.at },
		func(ctx context.Context, key setID) (*cachedSet, error) {
			set, err := c.r.live(ctx, id, contextID)
			if err != nil {
				return nil, fmt.Errorf("registry: extended providers of %s: %w", id, err)
			}
			return &cachedSet{time.Now(), set}, nil
		})
	if err != nil {
		return nil, nil, err
	}
	return s.set, p.chain, nil
}

// load returns what is known of a provider, which is never nil.
func (c *Cache) load(ctx context.Context, id peer.ID) (*cachedProvider, error) {
	p, err := cached(ctx, c, c.providers, id, func(p *cachedProvider) time.Time { return p.at }, c.read)
	if err != nil {
		return &cachedProvider{}, err
	}
	return p, nil
}

// read asks the registry.
func (c *Cache) read(ctx context.Context, id peer.ID) (*cachedProvider, error) {
	p := &cachedProvider{at: time.Now(), known: true}
	var err error
	if p.provider, err = c.r.Provider(ctx, id); errors.Is(err, fs.ErrNotExist) {
		p.known, err = false, nil
	}
	if err == nil && p.known {
		if p.contextual, err = c.r.contextual(ctx, id); err == nil {
			p.chain, err = c.r.live(ctx, id, "")
		}
		if err != nil {
			err = fmt.Errorf("registry: extended providers of %s: %w", id, err)
		}
	}
	return p, err
}

// cached returns what the cache has of key, if it is young enough, or else loads it. The load goes on if
// the caller that began it gives up, because others may wait for it.
func cached[K comparable, V any](ctx context.Context, c *Cache, in *otter.Cache[K, V], key K, at func(V) time.Time, load func(context.Context, K) (V, error)) (V, error) {
	if v, ok := in.GetIfPresent(key); ok {
		if time.Since(at(v)) < c.maxAge {
			return v, nil
		}
		in.Invalidate(key)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	return in.Get(ctx, key, otter.LoaderFunc[K, V](load))
}
