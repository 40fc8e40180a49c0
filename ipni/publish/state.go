package publish

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/kv"
)

// keyspace begins every key of this package, in a kv that others use too.
const keyspace = "Nu"

// The kinds of keys.
const (
	kindHead     = 'h' // the end of the chain
	kindContext  = 'c' // context id → what is advertised under it
	kindList     = 'l' // context id, number → a chunk of its entries
	kindRef      = 'r' // chunk, context id → nothing: the context has the chunk
	kindAd       = 'a' // advertisement → nothing: it is in the chain
	kindDropped  = 'd' // chunk → when a context that had it was removed
	kindAnnounce = 'n' // the head that is to be announced
	kindMark     = 'm' // context id → nothing: the reconciliation under way wants it
)

func key(kind byte, parts ...[]byte) []byte {
	k := append([]byte(keyspace), kind)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

// sized is b behind its length, so that no other's key begins with it.
func sized(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

func headKey() []byte                  { return key(kindHead) }
func announceKey() []byte              { return key(kindAnnounce) }
func contextKey(context []byte) []byte { return key(kindContext, context) }
func markKey(context []byte) []byte    { return key(kindMark, context) }
func adStateKey(c cid.Cid) []byte      { return key(kindAd, c.Bytes()) }
func droppedKey(c cid.Cid) []byte      { return key(kindDropped, c.Bytes()) }
func listPrefix(context []byte) []byte { return key(kindList, sized(context)) }
func refPrefix(c cid.Cid) []byte       { return key(kindRef, sized(c.Bytes())) }

func listKey(context []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(listPrefix(context), uint32(n))
}

func refKey(c cid.Cid, context []byte) []byte { return append(refPrefix(c), context...) }

// headState is the end of the chain.
type headState struct {
	Provider string   `json:"provider"`
	Head     string   `json:"head"`
	Length   int64    `json:"length"` // of the chain, in advertisements
	Addrs    []string `json:"addrs,omitempty"`

	cid   cid.Cid
	addrs []multiaddr.Multiaddr
}

func (h headState) encode() ([]byte, error) {
	h.Head, h.Addrs = h.cid.String(), nil
	for _, a := range h.addrs {
		h.Addrs = append(h.Addrs, a.String())
	}
	return json.Marshal(h)
}

// head returns the end of the chain. Before the first advertisement it is of no chain.
func (p *Publisher) head(ctx context.Context) (headState, error) {
	b, err := p.kv.Get(ctx, headKey())
	if errors.Is(err, fs.ErrNotExist) {
		return headState{}, nil
	}
	if err != nil {
		return headState{}, err
	}
	var h headState
	err = json.Unmarshal(b, &h)
	if err == nil {
		h.cid, err = cid.Decode(h.Head)
	}
	for _, text := range h.Addrs {
		var a multiaddr.Multiaddr
		if err == nil {
			a, err = multiaddr.NewMultiaddr(text)
			h.addrs = append(h.addrs, a)
		}
	}
	if err != nil {
		return headState{}, fmt.Errorf("head: %w: %w", digest.ErrMismatch, err)
	}
	return h, nil
}

// contextState is what is advertised under a context.
type contextState struct {
	Ad       string `json:"ad"`              // the last advertisement of the context
	Set      []byte `json:"set"`             // the digest of the set
	Count    int64  `json:"count"`           // of its multihashes
	Chunks   int    `json:"chunks"`          // of its entries
	Metadata []byte `json:"metadata"`        // that was advertised
	Version  []byte `json:"version"`         // of the item that it came from, see Item
	Wanted   bool   `json:"wanted,omitzero"` // it came from a reconciliation, which may remove it
}

// context returns the state of a context, or an error that matches fs.ErrNotExist.
func (p *Publisher) context(ctx context.Context, id []byte) (contextState, error) {
	b, err := p.kv.Get(ctx, contextKey(id))
	if err != nil {
		return contextState{}, err
	}
	return decodeContext(b)
}

func decodeContext(b []byte) (contextState, error) {
	var s contextState
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("state of a context: %w: %w", digest.ErrMismatch, err)
	}
	return s, nil
}

// put returns the write of the state of a context.
func (s contextState) put(id []byte) (kv.Op, error) {
	b, err := json.Marshal(s)
	return kv.Put(contextKey(id), b), err
}

// after returns the writes of the state and of ops, when the advertisement is known.
func (s contextState) after(id []byte, ops []kv.Op) func(cid.Cid) ([]kv.Op, error) {
	return func(c cid.Cid) ([]kv.Op, error) {
		s.Ad = c.String()
		op, err := s.put(id)
		return append(ops, op), err
	}
}

// Advertised is a context of the chain.
type Advertised struct {
	ContextID []byte
	Ad        cid.Cid // its last advertisement
	Count     int64   // of its multihashes
	Metadata  []byte
}

// Contexts yields what is advertised, in the order of the context ids.
func (p *Publisher) Contexts(ctx context.Context) iter.Seq2[Advertised, error] {
	return func(yield func(Advertised, error) bool) {
		prefix := key(kindContext)
		for pair, err := range p.kv.Scan(ctx, kv.Prefix(prefix)) {
			var s contextState
			var a Advertised
			if err == nil {
				s, err = decodeContext(pair.Value)
			}
			if err == nil {
				a = Advertised{ContextID: pair.Key[len(prefix):], Count: s.Count, Metadata: s.Metadata}
				a.Ad, err = cid.Decode(s.Ad)
			}
			if err != nil {
				err = fmt.Errorf("publish: contexts: %w", err)
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

// forget returns the writes that take its chunks from a context.
func (p *Publisher) forget(ctx context.Context, id []byte) ([]kv.Op, error) {
	now := binary.BigEndian.AppendUint64(nil, uint64(p.options.Now().Unix()))
	var ops []kv.Op
	for pair, err := range p.kv.Scan(ctx, kv.Prefix(listPrefix(id))) {
		if err != nil {
			return nil, err
		}
		c, err := cid.Cast(pair.Value)
		if err != nil {
			return nil, fmt.Errorf("list of chunks: %w: %w", digest.ErrMismatch, err)
		}
		ops = append(ops, kv.Delete(pair.Key), kv.Delete(refKey(c, id)), kv.Put(droppedKey(c), now))
	}
	return ops, nil
}

// remember returns the writes that give a context its chunks.
func remember(id []byte, chunks []cid.Cid) []kv.Op {
	var ops []kv.Op
	for n, c := range chunks {
		ops = append(ops, kv.Put(listKey(id, n), c.Bytes()), kv.Put(refKey(c, id), nil), kv.Delete(droppedKey(c)))
	}
	return ops
}

// checkContext wants an id that an advertisement can have.
func checkContext(id []byte) error {
	if len(id) == 0 || len(id) > ad.MaxContextID {
		return fmt.Errorf("context id of %d bytes: %w", len(id), fs.ErrInvalid)
	}
	return nil
}
