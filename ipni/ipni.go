// Package ipni is the vocabulary of a provider index: which providers have a
// multihash, and what takes and answers that. It speaks of providers and contexts in
// the terms of [IPNI]; the parts that do the work stand beside it:
//
//   - dhash: double hashing and encryption
//   - valuestore: the seam to where values are kept
//   - ad: advertisements and their entries
//   - store: groups, metadata and values of one node
//   - registry: what is known of providers
//   - find: lookups, local, over shards and over foreign indexers
//   - ingest: advertisement chains become records
//   - cluster: partitions, replicas and leases over many nodes
//   - mirror: advertisements as CARs in a blob store
//   - publish: the chain of what this node holds
//   - ipnihttp, ipnisync: the protocols, both ends of each
//
// # Errors
//
// What is not there matches [io/fs.ErrNotExist]. What may be there but could not be
// asked for is any other error: absence is told only by who knows.
//
// [IPNI]: https://github.com/ipni/specs/blob/main/IPNI.md
package ipni

import (
	"context"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
)

// Multihashes are multihashes one after the other, each of which knows its own end.
type Multihashes []byte

// All yields the multihashes, which are parts of m. Malformed bytes are an error.
func (m Multihashes) All() iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) {
		for rest := m; len(rest) > 0; {
			n, mh, err := multihash.MHFromBytes(rest)
			if err != nil {
				yield(nil, fmt.Errorf("ipni: multihash at byte %d: %w: %w", len(m)-len(rest), digest.ErrMismatch, err))
				return
			}
			if !yield(mh, nil) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Context is what a provider advertises together: a context id of at most 64 bytes,
// and the multihashes and metadata under it.
type Context struct {
	Provider peer.ID
	ID       string // the bytes of the context id
}

// Group is the multihashes of a context that came in one epoch. Who removes a
// context removes the epochs before a moment; what was added again later is of a later one.
type Group struct {
	Context
	Epoch uint64
}

// Sink takes what advertisements say. Writes are idempotent and durable when they return.
type Sink interface {
	// Put adds multihashes to a group.
	Put(ctx context.Context, g Group, mhs Multihashes) error
	// Remove removes the groups of c with an epoch below before.
	Remove(ctx context.Context, c Context, before uint64) error
	// PutMetadata sets the metadata of a context; nil removes it.
	PutMetadata(ctx context.Context, c Context, metadata []byte) error
}

// Lookup tells which contexts hold a multihash.
type Lookup interface {
	// Contexts yields the contexts of mh. None is no error.
	Contexts(ctx context.Context, mh multihash.Multihash) iter.Seq2[Context, error]
	// Metadata returns the metadata of a context, or an error that matches fs.ErrNotExist.
	Metadata(ctx context.Context, c Context) ([]byte, error)
}

// Result is one provider of a multihash, with what is needed to retrieve from it.
type Result struct {
	Provider  peer.AddrInfo
	ContextID []byte
	Metadata  []byte // protocols, see package ad
}

// Finder finds providers.
type Finder interface {
	// Find yields the providers of mh. None is no error.
	Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[Result, error]
}

// Kind is what a block of a chain holds. Some publishers make blocks when they are
// asked for, and want to be told.
type Kind string

// The kinds, as the header Ipni-Cid-Schema-Type names them.
const (
	Advertisement Kind = "Advertisement"
	EntryChunk    Kind = "EntryChunk" // or a node of a HAMT of entries
)

// Chain is the advertisements of a publisher, newest first, with their entries.
type Chain interface {
	// Head returns the newest advertisement. If there is none, the error matches fs.ErrNotExist.
	Head(ctx context.Context) (cid.Cid, error)
	// Block returns a block, whose bytes hash to c and are no more than [MaxBlock].
	// That the publisher says it has none matches fs.ErrNotExist.
	Block(ctx context.Context, c cid.Cid, kind Kind) ([]byte, error)
}

// Limits of a chain, in bytes.
const (
	MaxBlock = 4 << 20 // of its largest block
	MaxCID   = 128     // of the longest CID, which its readers keep
)

// CheckCID refuses a CID that is longer than [MaxCID]: one with an identity multihash may be of
// any length.
func CheckCID(c cid.Cid) error {
	if n := c.ByteLen(); n > MaxCID {
		return fmt.Errorf("a CID of %d bytes, at most %d are allowed", n, MaxCID)
	}
	return nil
}
