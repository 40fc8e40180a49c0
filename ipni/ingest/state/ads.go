package state

import (
	"context"
	"errors"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/kv"
)

// AdOf returns the row of an advertisement in the chain of the publisher with a tag, a zero one if there
// is none. Whoever has the same advertisement in another chain has another row.
func (s *Store) AdOf(ctx context.Context, t Tag, c cid.Cid) (Ad, error) {
	a, err := find(ctx, s, adKey(c, t), DecodeAd)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	// Once there was one row of each, of who met it last.
	a, err = maybe(ctx, s, adPrefix(c), DecodeAd)
	if err == nil && a.Tag != t {
		return Ad{}, nil
	}
	return a, err
}

// Ad returns the row of an advertisement, a zero one if there is none. If it was met in several chains,
// as anybody may have it in his own, the row is of one in which it was heeded, or will be.
func (s *Store) Ad(ctx context.Context, c cid.Cid) (Ad, error) {
	prefix := adPrefix(c)
	var best, old Ad
	var damage error
	for pair, err := range s.kv.Scan(ctx, kv.Prefix(prefix)) {
		if err != nil {
			return Ad{}, err
		}
		a, err := DecodeAd(pair.Value)
		switch {
		case err != nil: // another may tell
			damage = err
			continue
		case len(pair.Key) == len(prefix):
			old = a
			continue
		case a.Tag == old.Tag:
			old = Ad{}
		}
		if a.before(best) {
			best = a
		}
	}
	if old.before(best) {
		best = old
	}
	if best.Status != Unknown {
		damage = nil
	}
	return best, damage
}

// before reports whether a says more than b of what became of the same advertisement.
func (a Ad) before(b Ad) bool {
	rank := [...]int{Indexed: 4, Resyncing: 3, Pending: 2, Skipped: 1, Unknown: 0}
	if a.Status != b.Status {
		return rank[a.Status] > rank[b.Status]
	}
	return a.Order < b.Order // who had it first
}
