// Package state is what ingestion remembers in ordered keys: publishers with the gaps
// of their chains, advertisements, contexts, and entries that are still to be had.
// docs/formats/ingest.md has the keys and values.
//
// # Order
//
// An advertisement has an order: the sequence number of the gap that it was met in
// (numbers are given out once, by a counter, so a later head has a greater one), then
// how far above the gap's end it may lie at most. Of two advertisements of a chain the
// newer one has the greater order, whichever is processed first.
//
// # Errors
//
// What is absent matches [io/fs.ErrNotExist], a malformed row [digest.ErrMismatch].
//
// A Store is safe for concurrent use; who changes the rows of a publisher must be alone.
package state

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"iter"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/kv"
)

// MaxDepth is how many advertisements one gap can hold.
const MaxDepth = 1<<32 - 1

// Order returns the order of an advertisement at a depth below the newest of a gap.
func Order(seq, depth uint64) uint64 { return seq<<32 | (MaxDepth - min(depth, MaxDepth)) }

// Status is what became of an advertisement. The texts are those of storetheindex.
type Status byte

// The statuses.
const (
	Unknown   Status = iota
	Pending          // known, not processed yet
	Indexed          // processed
	Skipped          // processed without effect: the reason says why
	Resyncing        // processed, and being processed again
)

// String returns the name of s.
func (s Status) String() string {
	return [...]string{"unknown", "pending", "indexed", "skipped", "resyncing"}[min(s, Resyncing)]
}

// Tag stands for a publisher in the rows of advertisements and contexts.
type Tag [8]byte

// Publisher is what is known of a publisher.
type Publisher struct {
	ID         peer.ID
	Addrs      [][]byte  // multiaddrs through which a head was had
	Head       cid.Cid   // the newest one that was verified
	HeadAt     time.Time // when Head became known
	ContactAt  time.Time // when it last answered with a head
	WantedAt   time.Time // when it was last announced
	FailedAt   time.Time
	Error      string // of the last failure, empty after a success
	Tries      uint64 // failures since the last success
	Inactive   bool
	Damaged    bool   // rows of its own are corrupt, as Error says
	Ads        uint64 // that were processed
	Multihash  uint64 // multihashes that were put
	Skips      uint64 // of Ads, those that were skipped
	LastAd     cid.Cid
	LastAdTime time.Time
}

// Count keeps the numbers that status shows, as an advertisement got a row.
func (p *Publisher) Count(c cid.Cid, row Ad) {
	p.Tries, p.Error = 0, ""
	if row.Status == Pending {
		return
	}
	p.Ads++
	p.Multihash += row.Count
	if row.Status == Skipped {
		p.Skips++
	}
	p.LastAd, p.LastAdTime = c, row.At
}

// Gap is a part of a chain that is to be processed: From and what is older, before Stop.
// Segments of it are processed from the newest to the oldest.
type Gap struct {
	Seq    uint64
	From   cid.Cid // the newest that is left
	Depth  uint64  // of From below the newest advertisement of the gap
	Stop   cid.Cid // the newest below the gap, cid.Undef if it reaches the first
	Limit  uint64  // depth at which it ends
	Resync bool    // processes again what was processed
	Parked bool    // can never be read on
	Anew   bool    // what was processed before the gap was opened does not count

	Segments uint64  // that are done
	Size     uint64  // advertisements of the current segment, 0 if there is none
	Done     uint64  // of them, the oldest, that are processed
	Next     cid.Cid // the one below the segment, cid.Undef if the gap ends with it
	Broken   string  // why Next could not be read when the segment was fetched

	Cause   string // of the last failure
	Tries   uint64 // failures since the last success
	RetryAt time.Time
	Since   time.Time // of the first failure
}

// Pick returns the gap to be worked on: the newest that does not wait, those that are read again last.
// It returns nil if all wait.
func Pick(gaps []*Gap, now time.Time) *Gap {
	var again *Gap
	for _, g := range gaps {
		switch {
		case g.Parked || g.RetryAt.After(now):
		case !g.Resync:
			return g
		case again == nil:
			again = g
		}
	}
	return again
}

// Top returns the order of the newest advertisement that is left.
func (g *Gap) Top() uint64 { return Order(g.Seq, g.Depth) }

// Ad is what became of an advertisement.
type Ad struct {
	Status Status
	Tag    Tag    // of the publisher in whose chain it was met
	Order  uint64 // 0 if it has none yet
	Epoch  uint64 // of the group that its multihashes went to, 0 if they did not
	Count  uint64 // multihashes that were put
	At     time.Time
	Reason string
}

// Done reports whether the advertisement was processed.
func (a Ad) Done() bool { return a.Status == Indexed || a.Status == Skipped || a.Status == Resyncing }

// Context is the state of a context id of a provider.
type Context struct {
	RemovedAt  uint64 // order of the newest removal
	MetadataAt uint64 // order of what the metadata is from
	Epoch      uint64 // of the group that was last added to, 0 if there is none
	EpochLast  uint64 // order of the newest advertisement in it
	Tag        Tag    // of the publisher that last added
}

// Progress is how far the entries of an advertisement are put.
type Progress struct {
	Left        []cid.Cid // blocks that are left, and what is below them, the next one first
	Epoch       uint64    // of the group that the others went to
	Blocks      uint64    // that are put
	Multihashes uint64    // in them
	Bytes       uint64    // of them
}

// Retry is an advertisement whose entries are still to be had.
type Retry struct {
	Deferred bool // not asked for because the node was frozen
	CID      cid.Cid
	Order    uint64
	Tries    uint64
	First    time.Time
	Due      time.Time // zero if Deferred
	Cause    string
}

// Store reads and writes rows.
type Store struct{ kv kv.Store }

// New returns the rows in store.
func New(store kv.Store) *Store { return &Store{store} }

// Batch applies ops, all or none.
func (s *Store) Batch(ctx context.Context, ops []kv.Op) error { return s.kv.Batch(ctx, ops) }

// NextSeq returns a number greater than all before, and that of every other node on
// the same store.
func (s *Store) NextSeq(ctx context.Context) (uint64, error) {
	var n uint64
	err := s.kv.Update(ctx, []byte(keyCounter), func(old []byte) ([]byte, error) {
		n = 1
		if old != nil {
			if len(old) != 8 {
				return nil, malformed("counter", len(old))
			}
			n = binary.BigEndian.Uint64(old) + 1
		}
		if n > MaxDepth {
			return nil, errors.New("the numbers of gaps are used up")
		}
		return binary.BigEndian.AppendUint64(nil, n), nil
	})
	return n, err
}

// find decodes the row of a key.
func find[T any](ctx context.Context, s *Store, key []byte, decode func([]byte) (T, error)) (T, error) {
	value, err := s.kv.Get(ctx, key)
	if err != nil {
		var none T
		return none, err
	}
	return decode(value)
}

// maybe is find that returns a zero row for an absent one.
func maybe[T any](ctx context.Context, s *Store, key []byte, decode func([]byte) (T, error)) (T, error) {
	row, err := find(ctx, s, key, decode)
	if errors.Is(err, fs.ErrNotExist) {
		return row, nil
	}
	return row, err
}

// Publisher returns the row of a publisher.
func (s *Store) Publisher(ctx context.Context, id peer.ID) (Publisher, error) {
	p, err := find(ctx, s, publisherKey(id), DecodePublisher)
	p.ID = id
	return p, err
}

// Publishers yields all publishers. One whose row is corrupt comes with its id and an error that
// matches [digest.ErrMismatch], and others follow; any other error is the last.
func (s *Store) Publishers(ctx context.Context) iter.Seq2[Publisher, error] {
	return func(yield func(Publisher, error) bool) {
		for pair, err := range s.kv.Scan(ctx, kv.Prefix([]byte(keyPublisher))) {
			if err != nil {
				yield(Publisher{}, err)
				return
			}
			p, err := DecodePublisher(pair.Value)
			p.ID = peer.ID(pair.Key[len(keyPublisher):])
			if !yield(p, err) {
				return
			}
		}
	}
}

// Gaps returns the gaps of a publisher, newest first.
func (s *Store) Gaps(ctx context.Context, id peer.ID) ([]*Gap, error) {
	var gaps []*Gap
	for pair, err := range s.kv.Scan(ctx, kv.Prefix(gapPrefix(id))) {
		if err != nil {
			return nil, err
		}
		g, err := DecodeGap(pair.Value)
		if err != nil {
			return nil, err
		}
		gaps = append(gaps, &g)
	}
	return gaps, nil
}

// Segment returns the advertisements of the current segment of a gap, oldest first.
func (s *Store) Segment(ctx context.Context, id peer.ID, seq uint64) ([]cid.Cid, error) {
	return find(ctx, s, segmentKey(id, seq), DecodeSegment)
}

// Progress returns how far the entries of an advertisement are put, a zero one if not at all.
func (s *Store) Progress(ctx context.Context, id peer.ID, ad cid.Cid) (Progress, error) {
	return maybe(ctx, s, progressKey(id, ad), DecodeProgress)
}

// Context returns the state of a context, a zero one if there is none.
func (s *Store) Context(ctx context.Context, c ipni.Context) (Context, error) {
	return maybe(ctx, s, contextKey(c), DecodeContext)
}

// Contexts yields the contexts of a provider.
func (s *Store) Contexts(ctx context.Context, provider peer.ID) iter.Seq2[ipni.Context, error] {
	return func(yield func(ipni.Context, error) bool) {
		prefix := contextKey(ipni.Context{Provider: provider})
		for pair, err := range s.kv.Scan(ctx, kv.Prefix(prefix)) {
			c := ipni.Context{Provider: provider}
			if err == nil {
				c.ID = string(pair.Key[len(prefix):])
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// Removed returns the order below which all of a provider is removed.
func (s *Store) Removed(ctx context.Context, provider peer.ID) (uint64, error) {
	return maybe(ctx, s, removedKey(provider), decodeNumber)
}

// Retries yields retries of a publisher, those that are due first, or the deferred
// ones, newest first.
func (s *Store) Retries(ctx context.Context, id peer.ID, deferred bool) iter.Seq2[Retry, error] {
	return func(yield func(Retry, error) bool) {
		for pair, err := range s.kv.Scan(ctx, kv.Prefix(retryPrefix(id, deferred))) {
			var r Retry
			if err == nil {
				r, err = DecodeRetry(pair.Value)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Frozen reports whether the node was frozen by hand.
func (s *Store) Frozen(ctx context.Context) (bool, error) {
	n, err := maybe(ctx, s, []byte(keyFrozen), decodeNumber)
	return n != 0, err
}
