package state

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/kv"
)

// The first bytes of keys. A peer id is a multihash, which tells its own end.
const (
	keyCounter   = "Nic"
	keyPublisher = "Nip"
	keyGap       = "Nig"
	keySegment   = "Nis"
	keyAd        = "Nia"
	keyContext   = "Nix"
	keyRemoved   = "Nir"
	keyRetry     = "Nit"
	keyFrozen    = "Nif"
	keyProgress  = "Nib"
)

// TagOf returns the tag of a publisher: the first 8 bytes of the sha2-256 of its id.
func TagOf(id peer.ID) Tag {
	sum := sha256.Sum256([]byte(id))
	return Tag(sum[:8])
}

func publisherKey(id peer.ID) []byte { return append([]byte(keyPublisher), id...) }
func gapPrefix(id peer.ID) []byte    { return append([]byte(keyGap), id...) }
func adPrefix(c cid.Cid) []byte      { return append([]byte(keyAd), c.Bytes()...) }
func adKey(c cid.Cid, t Tag) []byte  { return append(adPrefix(c), t[:]...) }
func removedKey(id peer.ID) []byte   { return append([]byte(keyRemoved), id...) }

func contextKey(c ipni.Context) []byte {
	return append(append([]byte(keyContext), c.Provider...), c.ID...)
}

// Numbers whose greatest comes first are written as their complement.
func gapKey(id peer.ID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(gapPrefix(id), ^seq)
}

func segmentKey(id peer.ID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(keySegment), id...), ^seq)
}

func progressKey(id peer.ID, ad cid.Cid) []byte {
	return append(append([]byte(keyProgress), id...), ad.Bytes()...)
}

func retryPrefix(id peer.ID, deferred bool) []byte {
	kind := byte('m')
	if deferred {
		kind = 'd'
	}
	return append(append([]byte(keyRetry), id...), kind)
}

func retryKey(id peer.ID, r Retry) []byte {
	key := binary.BigEndian.AppendUint64(retryPrefix(id, r.Deferred), uint64(seconds(r.Due)))
	return binary.BigEndian.AppendUint64(key, ^r.Order)
}

// seconds returns t in seconds of Unix time, 0 for the zero time.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.Unix(), 0)
}

// PutPublisher writes the row of a publisher.
func PutPublisher(p *Publisher) kv.Op { return kv.Put(publisherKey(p.ID), p.Encode()) }

// DropPublisher deletes a publisher with its gaps, retries and progress.
func DropPublisher(id peer.ID) []kv.Op {
	return []kv.Op{
		kv.Delete(publisherKey(id)), kv.DeleteRange(kv.Prefix(gapPrefix(id))),
		kv.DeleteRange(kv.Prefix(append([]byte(keySegment), id...))), kv.DeleteRange(kv.Prefix(append([]byte(keyRetry), id...))),
		kv.DeleteRange(kv.Prefix(append([]byte(keyProgress), id...))),
	}
}

// PutGap writes a gap.
func PutGap(id peer.ID, g *Gap) kv.Op { return kv.Put(gapKey(id, g.Seq), g.Encode()) }

// DropGap deletes a gap with its segment.
func DropGap(id peer.ID, seq uint64) []kv.Op {
	return []kv.Op{kv.Delete(gapKey(id, seq)), kv.Delete(segmentKey(id, seq))}
}

// PutSegment writes the advertisements of a segment, oldest first.
func PutSegment(id peer.ID, seq uint64, ads []cid.Cid) kv.Op {
	return kv.Put(segmentKey(id, seq), EncodeSegment(ads))
}

// DropSegment deletes the list of a segment.
func DropSegment(id peer.ID, seq uint64) kv.Op { return kv.Delete(segmentKey(id, seq)) }

// PutProgress writes how far the entries of an advertisement are put. That is not written
// which is too large; then they are put again.
func PutProgress(id peer.ID, ad cid.Cid, p *Progress) kv.Op {
	if len(p.Left) == 0 || len(p.Left) > maxLeft {
		return DropProgress(id, ad)
	}
	return kv.Put(progressKey(id, ad), p.Encode())
}

// DropProgress forgets how far the entries of an advertisement are put.
func DropProgress(id peer.ID, ad cid.Cid) kv.Op { return kv.Delete(progressKey(id, ad)) }

// PutAd writes the row of an advertisement in the chain of the publisher of its tag.
func PutAd(c cid.Cid, a Ad) kv.Op { return kv.Put(adKey(c, a.Tag), a.Encode()) }

// PutContext writes the state of a context.
func PutContext(c ipni.Context, row Context) kv.Op { return kv.Put(contextKey(c), row.Encode()) }

// DropContext deletes the state of a context.
func DropContext(c ipni.Context) kv.Op { return kv.Delete(contextKey(c)) }

// PutRetry writes a retry.
func PutRetry(id peer.ID, r Retry) kv.Op { return kv.Put(retryKey(id, r), r.Encode()) }

// DropRetry deletes a retry.
func DropRetry(id peer.ID, r Retry) kv.Op { return kv.Delete(retryKey(id, r)) }

// DropRemoved forgets that a provider was removed.
func DropRemoved(id peer.ID) kv.Op { return kv.Delete(removedKey(id)) }

// SetRemoved raises the order below which all of a provider is removed.
func (s *Store) SetRemoved(ctx context.Context, id peer.ID, order uint64) error {
	return s.kv.Update(ctx, removedKey(id), func(old []byte) ([]byte, error) {
		if old != nil {
			// A row that is corrupt says less than this call, which is the way out.
			if was, err := decodeNumber(old); err == nil {
				order = max(order, was)
			}
		}
		return number(order), nil
	})
}

// PutFrozen says whether the node is frozen by hand.
func PutFrozen(frozen bool) kv.Op {
	if frozen {
		return kv.Put([]byte(keyFrozen), number(1))
	}
	return kv.Delete([]byte(keyFrozen))
}
