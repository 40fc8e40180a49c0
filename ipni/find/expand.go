package find

import (
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/registry"
)

// expand returns the results of a context: its provider, then the extended providers of the
// context and, unless these override them, those of the chain. An extended provider may be the
// provider itself; without metadata of its own it repeats the first result, and [Finder.Find] yields
// none twice.
func (f *Finder) expand(c ipni.Context, p registry.Provider, metadata []byte, contextual, chain *registry.Set) []ipni.Result {
	id := []byte(c.ID)
	results := []ipni.Result{{Provider: peer.AddrInfo{ID: c.Provider, Addrs: p.Addrs}, ContextID: id, Metadata: metadata}}
	for _, set := range []*registry.Set{contextual, chain} {
		if set == nil {
			continue
		}
		for _, x := range set.Providers {
			if f.o.Allowed(x.ID) {
				results = append(results, ipni.Result{Provider: x.AddrInfo, ContextID: id, Metadata: inherit(x.Metadata, metadata)})
			}
		}
		if set.Override {
			break
		}
	}
	return results
}

// inherit returns the metadata of an extended provider, or else that of the context.
func inherit(own, metadata []byte) []byte {
	if len(own) == 0 {
		return metadata
	}
	return own
}
