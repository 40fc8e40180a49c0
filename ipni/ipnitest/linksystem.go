package ipnitest

import (
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/storage/memstore"
)

// LinkSystem returns a store with blocks as go-libipni wants it, for its publishers and clients.
func LinkSystem(blocks map[cid.Cid][]byte) (ipld.LinkSystem, *memstore.Store) {
	store := &memstore.Store{Bag: map[string][]byte{}}
	for c, b := range blocks {
		store.Bag[c.KeyString()] = b
	}
	system := cidlink.DefaultLinkSystem()
	system.SetReadStorage(store)
	system.SetWriteStorage(store)
	return system, store
}
