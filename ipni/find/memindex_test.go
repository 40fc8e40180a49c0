package find

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/registry"
)

// memIndex is an index of what was put, as it is seen in plain and by second hashes.
type memIndex struct {
	contexts map[string][]ipni.Context
	sealed   map[dhash.Key][][]byte
	metadata map[dhash.MetadataKey][]byte

	listed   error                               // ends a list of contexts
	metaHook func(context.Context, []byte) error // before metadata, if it is not nil
	mu       sync.Mutex
	yielded  int // contexts
}

func newMemIndex() *memIndex {
	return &memIndex{contexts: map[string][]ipni.Context{}, sealed: map[dhash.Key][][]byte{}, metadata: map[dhash.MetadataKey][]byte{}}
}

func (m *memIndex) put(mh multihash.Multihash, c ipni.Context, metadata []byte) {
	m.contexts[string(mh)] = append(m.contexts[string(mh)], c)
	key := dhash.SecondHash(mh)
	m.sealed[key] = append(m.sealed[key], dhash.Seal(nil, c.ValueKey(), mh))
	if metadata != nil {
		m.metadata[dhash.HashValueKey(c.ValueKey())] = dhash.Seal(nil, metadata, c.ValueKey())
	}
}

func (m *memIndex) Contexts(_ context.Context, mh multihash.Multihash) iter.Seq2[ipni.Context, error] {
	return func(yield func(ipni.Context, error) bool) {
		for _, c := range m.contexts[string(mh)] {
			m.mu.Lock()
			m.yielded++
			m.mu.Unlock()
			if !yield(c, nil) {
				return
			}
		}
		if m.listed != nil {
			yield(ipni.Context{}, m.listed)
		}
	}
}

func (m *memIndex) Metadata(ctx context.Context, c ipni.Context) ([]byte, error) {
	sealed, err := m.SealedMetadata(ctx, dhash.HashValueKey(c.ValueKey()))
	if err != nil {
		return nil, err
	}
	return dhash.Open(nil, sealed, c.ValueKey())
}

func (m *memIndex) ValueKeys(_ context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte // valid until the next one
		for _, s := range m.sealed[key] {
			buf = append(buf[:0], s...)
			if !yield(buf, nil) {
				return
			}
			clear(buf)
		}
		if m.listed != nil {
			yield(nil, m.listed)
		}
	}
}

func (m *memIndex) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	if m.metaHook != nil {
		if err := m.metaHook(ctx, key[:]); err != nil {
			return nil, err
		}
	}
	if sealed, ok := m.metadata[key]; ok {
		return sealed, nil
	}
	return nil, fs.ErrNotExist
}

// everybody is a registry that knows every provider.
type everybody struct{ fails map[peer.ID]error }

func (e everybody) Provider(_ context.Context, id peer.ID) (registry.Provider, error) {
	return registry.Provider{ID: id, Addrs: []multiaddr.Multiaddr{addr(80)}}, e.fails[id]
}

func (e everybody) Extended(context.Context, peer.ID, string) (contextual, chain *registry.Set, err error) {
	return nil, nil, nil
}

func testContext(provider byte, id string) ipni.Context {
	return ipni.Context{Provider: ipnitest.ID(provider), ID: id}
}

func addr(n int) multiaddr.Multiaddr {
	return multiaddr.StringCast(fmt.Sprintf("/ip4/192.0.2.1/tcp/%d/http", n))
}

func hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}
