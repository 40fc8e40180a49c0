// Package ipnitest makes publishers for tests of the provider index: keys that are the same in
// every run, and chains in memory of real blocks with real signatures.
//
// # Errors
//
// A chain answers absence with an error that matches [io/fs.ErrNotExist], and anything
// that it is told by [Chain.Fail].
//
// Everything is safe for concurrent use.
package ipnitest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// Key returns the n-th key, of ed25519, with its peer id.
func Key(n byte) (crypto.PrivKey, peer.ID) {
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(bytes.Repeat([]byte{n}, 64)))
	if err != nil {
		panic(err) // the bytes are enough
	}
	return key, idOf(key)
}

func idOf(key crypto.PrivKey) peer.ID {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		panic(err) // a key has a public one
	}
	return id
}

// ID returns the peer id of the ed25519 key whose bytes are all n, which is that of the vectors of the
// formats. Nobody can sign for it.
func ID(n byte) peer.ID {
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, bytes.Repeat([]byte{n}, 32)...))
}

// Hash returns the n-th multihash, of sha2-256.
func Hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)), multihash.SHA2_256, -1)
	if err != nil {
		panic(err) // the function is known
	}
	return mh
}

// Hashes returns the multihashes of numbers from a up to b.
func Hashes(a, b int) (all ipni.Multihashes) {
	for n := a; n < b; n++ {
		all = append(all, Hash(n)...)
	}
	return all
}

// Chain is the chain of a publisher. It remembers what it was asked for.
type Chain struct {
	Key crypto.PrivKey
	ID  peer.ID

	mu     sync.Mutex
	head   cid.Cid
	blocks map[cid.Cid][]byte
	asked  []Asked
	err    error
}

// Asked is a question for a block.
type Asked struct {
	CID  cid.Cid
	Kind ipni.Kind
}

var _ ipni.Chain = (*Chain)(nil)

// NewChain returns an empty chain whose advertisements key signs.
func NewChain(key crypto.PrivKey) *Chain {
	return &Chain{Key: key, ID: idOf(key), blocks: map[cid.Cid][]byte{}}
}

// Head implements [ipni.Chain].
func (c *Chain) Head(context.Context) (cid.Cid, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return cid.Undef, c.err
	case !c.head.Defined():
		return cid.Undef, fmt.Errorf("ipnitest: head: %w", fs.ErrNotExist)
	}
	return c.head, nil
}

// Block implements [ipni.Chain].
func (c *Chain) Block(_ context.Context, id cid.Cid, kind ipni.Kind) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, Asked{id, kind})
	b, ok := c.blocks[id]
	switch {
	case c.err != nil:
		return nil, c.err
	case !ok:
		return nil, fmt.Errorf("ipnitest: block %s: %w", id, fs.ErrNotExist)
	}
	return b, nil
}

// Tip returns the newest advertisement, [cid.Undef] if there is none.
func (c *Chain) Tip() cid.Cid {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head
}

// SetTip makes id the newest advertisement, whether it is there or not.
func (c *Chain) SetTip(id cid.Cid) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head = id
}

// Blocks returns all blocks by their CIDs.
func (c *Chain) Blocks() map[cid.Cid][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.blocks)
}

// Put adds a block, whatever it is.
func (c *Chain) Put(id cid.Cid, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks[id] = data
}

// Lose removes a block.
func (c *Chain) Lose(id cid.Cid) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.blocks, id)
}

// Fail answers everything with err from now on, until err is nil.
func (c *Chain) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Asked returns the questions for blocks so far, in their order.
func (c *Chain) Asked() []Asked {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Asked(nil), c.asked...)
}

// Add signs an advertisement and makes it the newest. The one before is set, and the provider, if
// there is none, is the publisher. keys sign for extended providers.
func (c *Chain) Add(tb testing.TB, a ad.Ad, keys ...crypto.PrivKey) cid.Cid {
	tb.Helper()
	a.Previous = c.Tip()
	if a.Provider == "" {
		a.Provider = c.ID
	}
	id, block, err := ad.New(a, c.Key, keys...)
	if err != nil {
		tb.Fatal(err)
	}
	c.Put(id, block)
	c.SetTip(id)
	return id
}

// Entries adds chunks of at most size multihashes, and returns the first: that which was made
// last. Without multihashes it is [cid.Undef].
func (c *Chain) Entries(tb testing.TB, size int, mhs ...multihash.Multihash) cid.Cid {
	tb.Helper()
	next := cid.Undef
	for len(mhs) > 0 {
		n := min(size, len(mhs))
		var chunk ipni.Multihashes
		for _, mh := range mhs[:n] {
			chunk = append(chunk, mh...)
		}
		id, block, err := ad.EncodeChunk(chunk, next)
		if err != nil {
			tb.Fatal(err)
		}
		c.Put(id, block)
		next, mhs = id, mhs[n:]
	}
	return next
}

// Grow adds n advertisements, each of a context of its own with two multihashes of its own in one
// chunk, and of bitswap. It returns c.
func (c *Chain) Grow(tb testing.TB, n int) *Chain {
	tb.Helper()
	for range n {
		i := 2 * len(c.Blocks())
		entries := c.Entries(tb, 2, Hash(i), Hash(i+1))
		c.Add(tb, ad.Ad{Entries: entries, ContextID: fmt.Append(nil, i), Metadata: []byte{0x80, 0x12}})
	}
	return c
}
