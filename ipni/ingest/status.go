package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// Status is how far the chain of a publisher is read.
type Status struct {
	Publisher peer.AddrInfo
	Head      cid.Cid   // the newest that the publisher signed, cid.Undef if none is known
	HeadAt    time.Time // when it became known
	ContactAt time.Time // when the publisher last answered, zero if it never did
	LastAd    cid.Cid   // that was processed last
	LastAdAt  time.Time

	Ads         uint64 // that were processed
	Skipped     uint64 // of them
	Multihashes uint64 // that were put
	Lag         uint64 // advertisements that are known to be left, at least
	Gaps        []Gap  // what is left, newest first
	Missing     bool   // entries are asked for again
	Deferred    bool   // entries wait for the node not to be frozen

	Error    string // of the last failure to read, empty if there was none since
	ErrorAt  time.Time
	Damaged  bool // rows of its own are corrupt, or were since it was last read anew
	Inactive bool
	Active   bool      // it is worked on now
	Next     time.Time // turn, or zero if none is planned
	Blocked  bool      // by the policy
}

// Gap is a part of a chain that is still to be read.
type Gap struct {
	From    cid.Cid // and what is older
	Depth   uint64  // of From below the head by which the gap was found
	Resync  bool    // it is read again
	Left    uint64  // advertisements that are fetched and not processed
	Cause   string  // why it could not be read on, empty if it could
	RetryAt time.Time
	Broken  bool // it can never be read on
}

// Status returns how far the chain of a publisher is read.
func (in *Ingester) Status(ctx context.Context, publisher peer.ID) (Status, error) {
	p, err := in.state.Publisher(ctx, publisher)
	if errors.Is(err, digest.ErrMismatch) {
		return in.damaged(p.ID, err), nil
	}
	if err != nil {
		return Status{}, fmt.Errorf("ingest: status of %s: %w", publisher, err)
	}
	return in.status(ctx, p)
}

// Statuses returns that of all publishers.
func (in *Ingester) Statuses(ctx context.Context) ([]Status, error) {
	var rows []state.Publisher
	damage := map[peer.ID]error{}
	for p, err := range in.state.Publishers(ctx) {
		if p.ID != "" && errors.Is(err, digest.ErrMismatch) {
			damage[p.ID], err = err, nil
		}
		if err != nil {
			return nil, fmt.Errorf("ingest: status: %w", err)
		}
		rows = append(rows, p)
	}
	all := make([]Status, len(rows))
	for i, p := range rows {
		if err := damage[p.ID]; err != nil {
			all[i] = in.damaged(p.ID, err)
			continue
		}
		var err error
		if all[i], err = in.status(ctx, p); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (in *Ingester) status(ctx context.Context, p state.Publisher) (Status, error) {
	gaps, missing, deferred, err := in.walker.Gaps(ctx, p.ID)
	if errors.Is(err, digest.ErrMismatch) { // what there is of it says so
		p.Damaged, p.Error, err = true, err.Error(), nil
	}
	if err != nil {
		return Status{}, fmt.Errorf("ingest: status of %s: %w", p.ID, err)
	}
	s := Status{
		Publisher: peer.AddrInfo{ID: p.ID, Addrs: settings.ParseAddrs(p.Addrs)}, Head: p.Head, HeadAt: p.HeadAt, ContactAt: p.ContactAt,
		LastAd: p.LastAd, LastAdAt: p.LastAdTime, Ads: p.Ads, Skipped: p.Skips, Multihashes: p.Multihash, Lag: state.Lag(gaps),
		Missing: missing, Deferred: deferred, Damaged: p.Damaged, Error: p.Error, Inactive: p.Inactive, Blocked: in.lists.Check(p.ID) != nil,
	}
	if p.Damaged && p.Error != "" {
		s.Error += "; " + wayOut
	}
	if p.Error != "" {
		s.ErrorAt = p.FailedAt
	}
	for _, g := range gaps {
		s.Gaps = append(s.Gaps, Gap{
			From: g.From, Depth: g.Depth, Resync: g.Resync, Left: g.Size - g.Done,
			Cause: g.Cause, RetryAt: g.RetryAt, Broken: g.Parked,
		})
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if t, ok := in.tasks[p.ID]; ok {
		s.Active = t.busy
		if t.due.Before(settings.Never()) {
			s.Next = t.due
		}
	}
	return s, nil
}

// wayOut is what an operator can do about a corrupt row.
const wayOut = "to read all of the chain anew, sync with the publisher with the option resync"

// damaged returns the status of a publisher whose row is corrupt.
func (in *Ingester) damaged(id peer.ID, cause error) Status {
	return Status{
		Publisher: peer.AddrInfo{ID: id}, Damaged: true, Error: fmt.Sprintf("%v; %s", cause, wayOut),
		ErrorAt: time.Now(), Blocked: in.lists.Check(id) != nil,
	}
}

// AdStatus is what became of an advertisement.
type AdStatus struct {
	CID    cid.Cid
	Status state.Status
	Reason string    // of Skipped, and what Pending waits for, if known
	At     time.Time // of the last change
	Count  uint64    // multihashes that were put
	Frozen bool      // the node takes no entries now
}

// AdStatus returns what became of an advertisement. One that is announced and not yet
// seen is pending. One of which nothing is known is no error.
func (in *Ingester) AdStatus(ctx context.Context, c cid.Cid) (AdStatus, error) {
	s := AdStatus{CID: c, Frozen: in.Frozen()}
	if !c.Defined() {
		return s, fmt.Errorf("ingest: status of no advertisement: %w", fs.ErrInvalid)
	}
	a, err := in.state.Ad(ctx, c)
	if err != nil {
		return s, fmt.Errorf("ingest: status of %s: %w", c, err)
	}
	s.Status, s.Reason, s.At, s.Count = a.Status, a.Reason, a.At, a.Count
	if a.Status != state.Unknown {
		return s, nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, t := range in.tasks {
		if t.wish.Hint == c {
			s.Status, s.Reason = state.Pending, "announced"
		}
	}
	return s, nil
}

// Paused returns why everything waits, and until when it does: the sink or the store
// failed. It returns nil if nothing waits.
func (in *Ingester) Paused() (time.Time, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.paused.until, in.paused.cause
}
