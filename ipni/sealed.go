package ipni

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// ProviderTag is the first half of the sha2-256 of a peer id: what a store
// that sees only ciphertext knows a provider by, so that it can remove one.
type ProviderTag [16]byte

// TagProvider returns the tag of a provider.
func TagProvider(id peer.ID) ProviderTag {
	sum := sha256.Sum256([]byte(id))
	return ProviderTag(sum[:16])
}

// SealedGroup is a [Group] as a store of ciphertext sees it. The zero value is no
// group: records that are deleted one by one, as those of a foreign writer.
type SealedGroup struct {
	Provider ProviderTag
	Context  dhash.MetadataKey
	Epoch    uint64
}

// Seal returns g without what names the provider and the context.
func (g Group) Seal() SealedGroup {
	return SealedGroup{TagProvider(g.Provider), dhash.HashValueKey(g.ValueKey()), g.Epoch}
}

// ValueKey returns the value key of c.
func (c Context) ValueKey() []byte { return dhash.ValueKey(c.Provider, []byte(c.ID)) }

// SealedReader answers those who hash what they look for.
type SealedReader interface {
	// ValueKeys yields the encrypted value keys of key, each once. None is no error.
	// The bytes are valid until the next ones are yielded.
	ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error]
	// SealedMetadata returns encrypted metadata, or an error that matches fs.ErrNotExist.
	SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error)
}

// ErrUnfinished tells that a removal was ended by its context, or by a limit of the store, after a
// part of it was done: the same call goes on with the rest.
var ErrUnfinished = errors.New("ipni: the removal is not finished")

// SealedStore is a store that sees only ciphertext, whose records others may write.
// Writes are idempotent and durable when they return.
type SealedStore interface {
	SealedReader
	// PutSealed adds records, each an encrypted value key under its key, to a group.
	PutSealed(ctx context.Context, g SealedGroup, records valuestore.Records) error
	// DeleteSealed deletes records of a group.
	DeleteSealed(ctx context.Context, g SealedGroup, records valuestore.Records) error
	// RemoveSealed removes the groups of a context, or of all of a provider if context is
	// nil, with an epoch below before. That takes a while if they are many: see [ErrUnfinished].
	RemoveSealed(ctx context.Context, provider ProviderTag, context *dhash.MetadataKey, before uint64) error
	// PutSealedMetadata sets encrypted metadata; nil deletes it.
	PutSealedMetadata(ctx context.Context, key dhash.MetadataKey, sealed []byte) error
}
