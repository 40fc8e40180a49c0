package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/registry/aging"
)

// Entries that a [Cache] holds.
const (
	cachedProviders = 1 << 14
	cachedSets      = 1 << 14
)

// Cache remembers for a while what a [Registry] says: other nodes write to the same store. It has
// nothing to close.
type Cache struct {
	r         *Registry
	providers *aging.Cache[peer.ID, *cachedProvider]
	sets      *aging.Cache[setID, *Set]
}

// cachedProvider is what was known at a time, also that nothing was.
type cachedProvider struct {
	provider   Provider
	known      bool
	chain      *Set
	contextual bool // there are sets of contexts
}

// NewCache returns a cache whose answers are no older than maxAge. Concurrent questions
// for one provider are asked once.
func NewCache(r *Registry, maxAge time.Duration) *Cache {
	c := &Cache{r: r}
	c.providers = aging.New(cachedProviders, maxAge, c.read)
	c.sets = aging.New(cachedSets, maxAge, c.readSet)
	return c
}

// Provider returns what is known of a provider.
func (c *Cache) Provider(ctx context.Context, id peer.ID) (Provider, error) {
	p, err := c.providers.Value(ctx, id)
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
	p, err := c.providers.Value(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if p.contextual && contextID != "" {
		contextual, err = c.sets.Value(ctx, setID{id, contextID})
	}
	return contextual, p.chain, err
}

// read asks the registry for a provider.
func (c *Cache) read(ctx context.Context, id peer.ID) (*cachedProvider, error) {
	provider, err := c.r.Provider(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return &cachedProvider{}, nil
	}
	p := &cachedProvider{provider: provider, known: true}
	if err == nil {
		p.contextual, err = c.r.contextual(ctx, id)
	}
	if err == nil {
		p.chain, err = c.readSet(ctx, setID{id, ""})
	}
	return p, err
}

// readSet asks the registry for a set.
func (c *Cache) readSet(ctx context.Context, id setID) (*Set, error) {
	s, err := c.r.live(ctx, id.provider, id.contextID)
	if err != nil {
		return nil, fmt.Errorf("registry: extended providers of %s: %w", id.provider, err)
	}
	return s, nil
}
