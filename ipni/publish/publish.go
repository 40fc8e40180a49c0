// Package publish advertises what this node holds: a chain of signed advertisements of its
// own ([IPNI]), whose blocks lie in a blob store and whose state lies in a kv store.
//
// A context is a set of multihashes that is advertised and removed together. [Publisher.Put]
// advertises one, [Publisher.Remove] takes it back, and [Publisher.Reconcile] makes the chain
// say what is wanted: [Roots] wants what an index holds. A [Publisher] is a [ipni.Chain], which
// package ipnisync serves.
//
// An advertisement of a context adds multihashes to it, and none can be taken from it one by
// one. So where the set of a context changed, a removal is followed by the whole set. They
// become the chain's end together.
//
// Blocks are durable before the one write to the kv that moves the head and says what is
// advertised, so that a crash between them leaves nothing but blocks that [Publisher.Sweep]
// removes. One Publisher may write a chain at a time; any number may read it.
// docs/formats/publish.md gives the keys.
//
// # Errors
//
// Absence matches [io/fs.ErrNotExist], what cannot be advertised [io/fs.ErrInvalid],
// a removal of too much [ErrMass], damaged state and blocks [digest.ErrMismatch].
//
// A Publisher is safe for concurrent use.
//
// [IPNI]: https://github.com/ipni/specs/blob/main/IPNI.md
package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/kv"
)

// ErrMass reports that a reconciliation would remove more than was allowed.
var ErrMass = errors.New("too many contexts would be removed at once")

// Defaults.
const (
	defaultChunk = 16384
	defaultKeep  = 24 * time.Hour
	// maxChunks is how many chunks a context may have: as far as indexers follow.
	maxChunks = 1 << 16
)

// Options tunes a [Publisher]. A nil Options or a zero field means the default.
type Options struct {
	// Prefix begins the keys of blocks in the blob store. Default "ipni/".
	Prefix string
	// Addrs are the addresses of the provider: where content is to be had. Default: those that
	// were advertised last. [Publisher.SetAddrs] changes them.
	Addrs []multiaddr.Multiaddr
	// Metadata says how content is to be had where a context says nothing else. Default: the
	// trustless gateway over HTTP.
	Metadata []byte
	// Chunk is the number of multihashes in a chunk. Default 16,384. Chunks that would be
	// larger than what indexers take end before.
	Chunk int
	// Keep is how long chunks stay that no context has any more, for indexers that have
	// not seen so yet. Default 24 hours.
	Keep time.Duration
	// Announce tells indexers of a new head. It is called by [Publisher.Run] and
	// [Publisher.Announce], again and again until it succeeds. Default: nobody is told.
	Announce func(ctx context.Context, head cid.Cid) error
	// Log is told of announcements that fail. Default: nobody is.
	Log *slog.Logger
	// Now is the clock. Default [time.Now].
	Now func() time.Time
}

// Publisher is a chain that this node publishes.
type Publisher struct {
	kv      kv.Store
	blobs   blob.Store
	key     crypto.PrivKey
	id      peer.ID
	options Options

	mu    sync.Mutex // held while the chain is changed
	addrs []multiaddr.Multiaddr
	moved chan struct{} // filled when there is something to announce
	turn  chan struct{} // filled while the chain is reconciled
}

var _ ipni.Chain = (*Publisher)(nil)

// Open returns the publisher whose state is in store, which may be empty. key signs, and its
// peer is the provider.
func Open(ctx context.Context, store kv.Store, blobs blob.Store, key crypto.PrivKey, o *Options) (*Publisher, error) {
	p := &Publisher{kv: store, blobs: blobs, key: key, moved: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	if o != nil {
		p.options = *o
	}
	if err := p.fill(); err != nil {
		return nil, fmt.Errorf("publish: open: %w", err)
	}
	h, err := p.head(ctx)
	if err != nil {
		return nil, fmt.Errorf("publish: open: %w", err)
	}
	if h.Provider != "" && h.Provider != p.id.String() {
		return nil, fmt.Errorf("publish: open: the chain is that of %s, the key that of %s: %w", h.Provider, p.id, fs.ErrInvalid)
	}
	return p, nil
}

func (p *Publisher) fill() (err error) {
	o := &p.options
	p.addrs = o.Addrs
	if p.id, err = peer.IDFromPrivateKey(p.key); err != nil {
		return err
	}
	if o.Prefix == "" {
		o.Prefix = "ipni/"
	}
	if len(o.Metadata) == 0 {
		if o.Metadata, err = ad.Metadata(ad.Protocol{Code: ad.GatewayHTTP}); err != nil {
			return err
		}
	}
	if o.Chunk <= 0 || o.Chunk > ad.MaxEntries {
		o.Chunk = defaultChunk
	}
	if o.Keep <= 0 {
		o.Keep = defaultKeep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// ID returns the provider.
func (p *Publisher) ID() peer.ID { return p.id }

// Head returns the newest advertisement.
func (p *Publisher) Head(ctx context.Context) (cid.Cid, error) {
	h, err := p.head(ctx)
	if err == nil && !h.cid.Defined() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return cid.Undef, fmt.Errorf("publish: head: %w", err)
	}
	return h.cid, nil
}

// Block returns a block of the chain. kind says where it is looked for first.
func (p *Publisher) Block(ctx context.Context, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	keys := [2]string{p.adKey(c), p.chunkKey(c)}
	if kind == ipni.EntryChunk {
		keys[0], keys[1] = keys[1], keys[0]
	}
	b, err := p.read(ctx, keys[0], c)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = p.read(ctx, keys[1], c)
	}
	if err != nil {
		return nil, fmt.Errorf("publish: block %s: %w", c, err)
	}
	return b, nil
}

// Names of blocks.
const (
	adsDir    = "ads/"
	chunksDir = "entries/"
)

func (p *Publisher) adKey(c cid.Cid) string    { return p.options.Prefix + adsDir + c.String() }
func (p *Publisher) chunkKey(c cid.Cid) string { return p.options.Prefix + chunksDir + c.String() }

// parseKey returns the CID that a key in dir ends in.
func (p *Publisher) parseKey(dir, key string) (cid.Cid, bool) {
	name, ok := strings.CutPrefix(key, p.options.Prefix+dir)
	c, err := cid.Decode(name)
	return c, ok && err == nil && c.String() == name
}

func (p *Publisher) read(ctx context.Context, key string, c cid.Cid) ([]byte, error) {
	obj, err := p.blobs.Get(ctx, key, 0, ipni.MaxBlock+1)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	b, err := io.ReadAll(io.LimitReader(obj, ipni.MaxBlock+1))
	if err != nil {
		return nil, err
	}
	d, err := digest.FromCID(c)
	if err == nil {
		err = d.Verify(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return b, nil
}

// append makes ads the end of the chain, in this order, together with what more says when the
// last one is known. Nothing is seen before all is durable. keys sign for extended
// providers. The caller holds the lock.
func (p *Publisher) append(ctx context.Context, ads []ad.Ad, more func(cid.Cid) ([]kv.Op, error), keys ...crypto.PrivKey) (cid.Cid, error) {
	h, err := p.head(ctx)
	if err != nil {
		return cid.Undef, err
	}
	if len(p.addrs) > 0 {
		h.addrs = p.addrs
	}
	var ops []kv.Op
	for _, a := range ads {
		a.Previous, a.Provider, a.Addrs = h.cid, p.id, h.addrs
		c, data, err := ad.New(a, p.key, keys...)
		if err == nil {
			err = p.blobs.Put(ctx, p.adKey(c), bytes.NewReader(data))
		}
		if err != nil {
			return cid.Undef, err
		}
		h.cid = c
		h.Length++
		ops = append(ops, kv.Put(adStateKey(c), nil))
	}
	if more != nil {
		others, err := more(h.cid)
		if err != nil {
			return cid.Undef, err
		}
		ops = append(ops, others...)
	}
	return h.cid, p.commit(ctx, h, ops)
}

// commit moves the head.
func (p *Publisher) commit(ctx context.Context, h headState, ops []kv.Op) error {
	h.Provider = p.id.String()
	value, err := h.encode()
	if err != nil {
		return err
	}
	ops = append(ops, kv.Put(headKey(), value), kv.Put(announceKey(), h.cid.Bytes()))
	if err := p.kv.Batch(ctx, ops); err != nil {
		return err
	}
	select {
	case p.moved <- struct{}{}:
	default:
	}
	return nil
}
