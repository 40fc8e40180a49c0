package scatter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Find yields what the plain backends have.
func (s *Scatter) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return s.find(ctx, s.of(Plain, ""), mh)
}

// Cascade returns a finder over the backends with a label. An unknown label has nothing.
func (s *Scatter) Cascade(label string) ipni.Finder { return cascade{s, label} }

type cascade struct {
	s     *Scatter
	label string
}

// Find yields what the backends of the label have.
func (c cascade) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return c.s.find(ctx, c.s.of(Cascade, c.label), mh)
}

func (s *Scatter) find(ctx context.Context, targets []*target, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	ask := func(ctx context.Context, t *target) iter.Seq2[ipni.Result, error] { return t.Finder.Find(ctx, mh) }
	return gather(ctx, s, targets, ask, identity)
}

// identity is the sha2-256 of what makes a result: provider, context id and metadata. Addresses
// do not: of two answers that differ in them, the first counts.
func identity(r ipni.Result) [sha256.Size]byte {
	var b []byte
	for _, part := range [][]byte{[]byte(r.Provider.ID), r.ContextID, r.Metadata} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}

// ValueKeys yields what the encrypted backends have, in any order.
func (s *Scatter) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	ask := func(ctx context.Context, t *target) iter.Seq2[[]byte, error] {
		return copies(t.Sealed.ValueKeys(ctx, key))
	}
	return gather(ctx, s, s.of(Encrypted, ""), ask, func(v []byte) string { return string(v) })
}

// copies yields values that stay valid, and refuses those that no store has.
func copies(all iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for v, err := range all {
			if err == nil && (len(v) == 0 || len(v) > valuestore.MaxValue) {
				err = fmt.Errorf("scatter: value of %d bytes: %w", len(v), digest.ErrMismatch)
			}
			if !yield(bytes.Clone(v), err) || err != nil {
				return
			}
		}
	}
}

// SealedMetadata returns the first metadata that an encrypted backend has.
func (s *Scatter) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	ask := func(ctx context.Context, t *target) iter.Seq2[[]byte, error] {
		return single(t.Sealed.SealedMetadata(ctx, key))
	}
	for v, err := range gather(ctx, s, s.of(Encrypted, ""), ask, func(v []byte) string { return string(v) }) {
		return v, err
	}
	return nil, fmt.Errorf("scatter: metadata %x: %w", key, fs.ErrNotExist)
}

// single yields a value, or nothing if it is not there.
func single[T any](value T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if !errors.Is(err, fs.ErrNotExist) {
			yield(value, err)
		}
	}
}

// Provider returns the youngest that the backends say of a provider. It is an answer also if
// not all of them gave one.
func (s *Scatter) Provider(ctx context.Context, id peer.ID) (*model.ProviderInfo, error) {
	ask := func(ctx context.Context, t *target) iter.Seq2[*model.ProviderInfo, error] {
		info, err := t.Directory.Provider(ctx, id)
		if err == nil && (info == nil || info.AddrInfo.ID != id) {
			err = fmt.Errorf("scatter: asked for %s, got another one: %w", id, digest.ErrMismatch)
		}
		return single(info, err)
	}
	all, err := s.youngest(ctx, ask)
	if info, ok := all[id]; ok {
		return info, nil
	}
	if err == nil {
		err = fs.ErrNotExist
	}
	return nil, fmt.Errorf("scatter: provider %s: %w", id, err)
}

// All yields what the backends say of all providers, of each the youngest, when all have
// answered or the wait is over.
func (s *Scatter) All(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return func(yield func(*model.ProviderInfo, error) bool) {
		ask := func(ctx context.Context, t *target) iter.Seq2[*model.ProviderInfo, error] {
			return t.Directory.All(ctx)
		}
		all, err := s.youngest(ctx, ask)
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// youngest returns of each provider what has the latest time of an advertisement.
func (s *Scatter) youngest(ctx context.Context, ask func(context.Context, *target) iter.Seq2[*model.ProviderInfo, error]) (map[peer.ID]*model.ProviderInfo, error) {
	type identity struct {
		peer.ID
		time string
	}
	all := map[peer.ID]*model.ProviderInfo{}
	key := func(i *model.ProviderInfo) identity { return identity{i.AddrInfo.ID, i.LastAdvertisementTime} }
	for info, err := range gather(ctx, s, s.of(Providers, ""), ask, key) {
		if err != nil {
			return all, err
		}
		if old, ok := all[info.AddrInfo.ID]; !ok || when(old).Before(when(info)) {
			all[info.AddrInfo.ID] = info
		}
	}
	return all, nil
}

// when returns the time of an advertisement; one that cannot be read is long ago.
func when(i *model.ProviderInfo) time.Time {
	t, err := time.Parse(time.RFC3339, i.LastAdvertisementTime)
	if err != nil {
		return time.Time{}
	}
	return t
}
