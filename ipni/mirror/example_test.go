package mirror_test

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/mirror"
)

func Example() {
	ctx := context.Background()
	key, _, _ := crypto.GenerateEd25519Key(rand.Reader)
	id, _ := peer.IDFromPrivateKey(key)
	c, data, err := ad.New(ad.Ad{Provider: id, ContextID: []byte("a"), Metadata: []byte{0x80, 0x12}}, key)
	if err != nil {
		fmt.Println(err)
		return
	}

	store := memblob.New() // a directory or a bucket
	w, err := mirror.OpenWriter(ctx, store, nil)
	if err == nil {
		err = w.Store(ctx, c, data, func(func(block.Block, error) bool) {}) // an advertisement without entries
	}
	if err == nil {
		err = w.SetHead(ctx, id, c)
	}

	// The publisher is gone: its chain is read out of the mirror.
	m, err := mirror.Open(ctx, store, nil)
	chain := m.Chain(id, nil, mirror.Only)
	defer chain.Close()
	head, err := chain.Head(ctx)
	b, err := chain.Block(ctx, head, ipni.Advertisement)
	fmt.Println(head == c, len(b) == len(data), err)
	// Output: true true <nil>
}
