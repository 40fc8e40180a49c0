package state

import (
	"context"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/kv"
)

// The first bytes of keys of what was told, rather than read in a chain.
const (
	keySigned    = "Niq"
	keyContinued = "Nih"
)

func signedKey(id peer.ID) []byte    { return append([]byte(keySigned), id...) }
func continuedKey(id peer.ID) []byte { return append([]byte(keyContinued), id...) }

// Signed returns the sequence number of the last record of addresses that a provider has signed, 0 if
// there is none.
func (s *Store) Signed(ctx context.Context, provider peer.ID) (uint64, error) {
	return maybe(ctx, s, signedKey(provider), decodeNumber)
}

// PutSigned writes the sequence number of a record of addresses.
func PutSigned(provider peer.ID, seq uint64) kv.Op { return kv.Put(signedKey(provider), number(seq)) }

// Continued returns the node that worked on a publisher before it was handed to this one, or an empty
// id.
func (s *Store) Continued(ctx context.Context, publisher peer.ID) (peer.ID, error) {
	return maybe(ctx, s, continuedKey(publisher), DecodeContinued)
}

// PutContinued writes which node worked on a publisher before; an empty id removes it.
func PutContinued(publisher, before peer.ID) kv.Op {
	if before == "" {
		return kv.Delete(continuedKey(publisher))
	}
	w := begin()
	w.bytes([]byte(before))
	return kv.Put(continuedKey(publisher), w)
}

// DecodeContinued reads the node that worked on a publisher before.
func DecodeContinued(data []byte) (peer.ID, error) {
	r := read("continued", data)
	id := peer.ID(r.bytes(maxText))
	if id == "" {
		r.fail() // no node is written as no row
	}
	return id, r.end()
}
