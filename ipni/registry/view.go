package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
)

// View is a registry as other indexers and clients see it: the answers to /providers.
type View struct {
	r       *Registry
	allowed func(peer.ID) bool
}

// NewView returns a view of the providers that allowed lets pass; nil lets all pass.
func NewView(r *Registry, allowed func(peer.ID) bool) *View {
	if allowed == nil {
		allowed = func(peer.ID) bool { return true }
	}
	return &View{r, allowed}
}

// Provider describes a provider. That it is unknown or not allowed matches fs.ErrNotExist.
func (v *View) Provider(ctx context.Context, id peer.ID) (*model.ProviderInfo, error) {
	p, err := v.r.Provider(ctx, id)
	if err == nil && !v.allowed(id) {
		err = fmt.Errorf("registry: provider %s is blocked: %w", id, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return v.describe(ctx, p)
}

// Providers describes all that are allowed. Of one whose row is corrupt it tells that as its last
// error: who asks for all does not have to do without the others.
func (v *View) Providers(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return func(yield func(*model.ProviderInfo, error) bool) {
		for p, err := range v.r.Providers(ctx) {
			if p.ID != "" && !v.allowed(p.ID) {
				continue
			}
			var info *model.ProviderInfo
			if err == nil {
				info, err = v.describe(ctx, p)
			}
			if p.ID.Validate() == nil && errors.Is(err, digest.ErrMismatch) {
				info, err = &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: p.ID, Addrs: p.Addrs}, LastError: err.Error()}, nil
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

func (v *View) describe(ctx context.Context, p Provider) (*model.ProviderInfo, error) {
	info := &model.ProviderInfo{
		AddrInfo:          peer.AddrInfo{ID: p.ID, Addrs: p.Addrs},
		LastAdvertisement: p.LastAdvertisement, LastAdvertisementTime: stamp(p.LastAdvertisementTime),
		Lag:      p.Lag,
		FrozenAt: p.FrozenAt, FrozenAtTime: stamp(p.FrozenAtTime),
		Inactive:  p.Inactive,
		LastError: p.LastError, LastErrorTime: stamp(p.LastErrorTime),
	}
	if p.Publisher.ID != "" {
		info.Publisher = &p.Publisher
	}
	for s, err := range v.r.Sets(ctx, p.ID) {
		if err != nil {
			return nil, err
		}
		if info.ExtendedProviders == nil {
			info.ExtendedProviders = &model.ExtendedProviders{}
		}
		x := info.ExtendedProviders
		infos, metadatas := split(s.Providers)
		if s.ContextID == "" {
			x.Providers, x.Metadatas = infos, metadatas
			continue
		}
		x.Contextual = append(x.Contextual, model.ContextualExtendedProviders{
			Override: s.Override, ContextID: s.ContextID, Providers: infos, Metadatas: metadatas,
		})
	}
	return info, nil
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func split(all []Extended) (infos []peer.AddrInfo, metadatas [][]byte) {
	for _, x := range all {
		infos = append(infos, x.AddrInfo)
		metadatas = append(metadatas, x.Metadata)
	}
	return infos, metadatas
}

// FromInfo returns the changes that make known what another indexer says of a provider. They have the
// order 0: any advertisement replaces them.
func FromInfo(info *model.ProviderInfo) []Change {
	c := Change{Provider: info.AddrInfo.ID, Addrs: info.AddrInfo.Addrs}
	switch {
	case info.Publisher != nil && info.Publisher.ID != "":
		c.Publisher = info.Publisher
	default: // it publishes itself
		c.Publisher = &info.AddrInfo
	}
	changes := []Change{c}
	if x := info.ExtendedProviders; x != nil {
		if len(x.Providers) > 0 {
			changes = append(changes, Change{Provider: c.Provider, Extended: &Set{Providers: join(x.Providers, x.Metadatas)}})
		}
		for _, s := range x.Contextual {
			changes = append(changes, Change{Provider: c.Provider, Extended: &Set{
				ContextID: s.ContextID, Override: s.Override, Providers: join(s.Providers, s.Metadatas),
			}})
		}
	}
	return changes
}

// join is the inverse of split. Others may send fewer metadatas than providers.
func join(infos []peer.AddrInfo, metadatas [][]byte) []Extended {
	all := make([]Extended, 0, len(infos))
	for i, info := range infos {
		x := Extended{AddrInfo: info}
		if len(metadatas) == len(infos) {
			x.Metadata = metadatas[i]
		}
		all = append(all, x)
	}
	return all
}
