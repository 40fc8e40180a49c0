package find

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/ipni/registry/aging"
)

const cachedInfos = 1 << 12 // providers that [Infos] holds

// InfoSource describes providers, as another indexer does at /providers.
type InfoSource interface {
	// Provider describes a provider. If it is unknown, the error matches fs.ErrNotExist.
	Provider(ctx context.Context, id peer.ID) (*model.ProviderInfo, error)
}

// Infos is the providers that a source describes. It remembers them, also that
// one is unknown, but no failures. It has nothing to close.
type Infos struct {
	source InfoSource
	known  *aging.Cache[peer.ID, *info]
}

// info is a provider as it was at a time.
type info struct {
	provider   registry.Provider
	absent     bool
	chain      *registry.Set
	contextual map[string]*registry.Set
}

// NewInfos returns the providers of source. What it says is asked again after maxAge.
func NewInfos(source InfoSource, maxAge time.Duration) *Infos {
	s := &Infos{source: source}
	s.known = aging.New(cachedInfos, maxAge, s.ask)
	return s
}

// Provider returns what is known of a provider.
func (s *Infos) Provider(ctx context.Context, id peer.ID) (registry.Provider, error) {
	i, err := s.load(ctx, id)
	if err != nil {
		return registry.Provider{}, err
	}
	return i.provider, nil
}

// Extended returns the extended providers of a context and those of the chain.
func (s *Infos) Extended(ctx context.Context, id peer.ID, contextID string) (contextual, chain *registry.Set, err error) {
	i, err := s.load(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return i.contextual[contextID], i.chain, nil
}

func (s *Infos) load(ctx context.Context, id peer.ID) (*info, error) {
	i, err := s.known.Value(ctx, id)
	if err == nil && i.absent {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("find: provider %s: %w", id, err)
	}
	return i, nil
}

// ask asks the source.
func (s *Infos) ask(ctx context.Context, id peer.ID) (*info, error) {
	m, err := s.source.Provider(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return &info{absent: true}, nil
	}
	if err != nil {
		return nil, err
	}
	if m.AddrInfo.ID != id {
		return nil, fmt.Errorf("the answer is of %s", m.AddrInfo.ID)
	}
	i := &info{
		provider:   registry.Provider{ID: id, Addrs: m.AddrInfo.Addrs, Inactive: m.Inactive},
		contextual: map[string]*registry.Set{},
	}
	for _, c := range registry.FromInfo(m) {
		switch set := c.Extended; {
		case set == nil:
		case set.ContextID == "":
			i.chain = set
		default:
			i.contextual[set.ContextID] = set
		}
	}
	return i, nil
}
