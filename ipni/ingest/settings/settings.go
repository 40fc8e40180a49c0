// Package settings is what can be chosen of ingestion, with the pauses and times that follow from it.
//
// # Errors
//
// There are none.
//
// Options are plain values; all functions are safe for concurrent use.
package settings

import (
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// Options of an ingester. A zero field means its default.
type Options struct {
	Policy *policy.Options // who is allowed; see there
	// Owns tells whether this node may work on a publisher now: whether it holds the
	// lease. The default is that it may work on all.
	Owns func(publisher peer.ID) bool
	// Unaddressed lets publishers have no address: their chains can be had without them, as
	// from a mirror.
	Unaddressed bool
	// Frozen tells whether no more multihashes can be stored, for instance because a disk
	// is full. The default is that they can.
	Frozen func() bool

	Workers        int   // publishers that are worked on at once; 4
	Writes         int   // blocks of multihashes of one advertisement that are written at once; 2
	Prefetch       int   // advertisements of a segment whose entries are fetched ahead; 8
	PrefetchMemory int64 // bytes for that, of all workers together; 256 MiB

	SegmentAds   int            // advertisements of a segment, which begins with 64 of them; 2,000
	SegmentBytes int            // bytes of a segment's advertisements; 16 MiB
	Depth        uint64         // advertisements below a head that are read; 33,554,432
	FirstDepth   uint64         // the same for the first head of a publisher; Depth
	Entries      entries.Limits // of one advertisement; 65,536 blocks, 2^30 multihashes, 64 GiB
	MaxGaps      int            // of one publisher; 256
	MaxUnknown   int            // publishers that never answered; 1,024

	Slice        time.Duration // of work on one publisher before it is another's turn; 10 s
	Patience     time.Duration // of a worker with a publisher that it waits for, before it turns to others; 1 s
	Aside        int           // turns that wait for such publishers without a worker; 8 for each worker
	FetchTimeout time.Duration // of one block or head; 1 min
	EntryTimeout time.Duration // of the entries of one advertisement in one turn; 2 h
	HeadInterval time.Duration // between two questions for the head of a publisher; 1 s
	AdRate       float64       // advertisements a second of one publisher; no limit
	EntryRate    float64       // multihashes a second of one publisher, which waits without a worker; no limit

	PollInterval  time.Duration // 24 h
	PollRetry     time.Duration // longest pause after failures; 5 h
	InactiveAfter time.Duration // without contact; 7 d
	StopAfter     time.Duration // without contact, polling stops; 14 d
	StartSpread   time.Duration // over which publishers are polled after a start, if they are many; 1 min
	Refresh       time.Duration // of policy and publishers, which other nodes may change; 1 min
	MaxPause      time.Duration // longest pause after the sink failed; 1 min

	EntryTries  int           // failures of the entries of one advertisement before the next one; 5
	EntryRetry  time.Duration // first pause before missing entries are asked for again, doubled each time; 10 min
	EntryGiveUp time.Duration // missing entries are asked for this long; 7 d

	Trace Trace
}

// Never returns a time that does not come.
func Never() time.Time { return time.Unix(1<<40, 0) }

// or returns v, or d if v is zero.
func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Defaults returns o, which may be nil, with the default of each field that is zero.
func (o *Options) Defaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	or(&d.Workers, 4)
	or(&d.Writes, 2)
	or(&d.Prefetch, 8)
	or(&d.PrefetchMemory, 256<<20)
	or(&d.SegmentAds, 2000)
	or(&d.SegmentBytes, 16<<20)
	or(&d.Depth, 1<<25)
	d.Depth = min(d.Depth, state.MaxDepth)
	or(&d.FirstDepth, d.Depth)
	or(&d.Entries.Blocks, 1<<16)
	or(&d.Entries.Multihashes, 1<<30)
	or(&d.Entries.Bytes, 64<<30)
	or(&d.MaxGaps, 256)
	or(&d.MaxUnknown, 1024)
	or(&d.Slice, 10*time.Second)
	or(&d.Patience, time.Second)
	or(&d.Aside, 8*d.Workers)
	or(&d.FetchTimeout, time.Minute)
	or(&d.EntryTimeout, 2*time.Hour)
	or(&d.HeadInterval, time.Second)
	const day = 24 * time.Hour
	or(&d.PollInterval, day)
	or(&d.PollRetry, 5*time.Hour)
	or(&d.InactiveAfter, 7*day)
	or(&d.StopAfter, 14*day)
	or(&d.StartSpread, time.Minute)
	or(&d.Refresh, time.Minute)
	or(&d.MaxPause, time.Minute)
	or(&d.EntryTries, 5)
	or(&d.EntryRetry, 10*time.Minute)
	or(&d.EntryGiveUp, 7*day)
	if d.Owns == nil {
		d.Owns = func(peer.ID) bool { return true }
	}
	if d.Frozen == nil {
		d.Frozen = func() bool { return false }
	}
	return d
}

// Trace is hooks for who observes. They must return soon. All may be nil.
type Trace struct {
	// Head is called when a publisher was asked for its head.
	Head func(publisher peer.ID, head cid.Cid, err error)
	// Segment is called when advertisements were fetched.
	Segment func(publisher peer.ID, ads int, took time.Duration, err error)
	// Ad is called when an advertisement was worked on.
	Ad func(AdEvent)
	// Failed is called when work on a publisher failed and will be tried again.
	Failed func(publisher peer.ID, err error)
	// Paused is called when the sink or the store failed, and everything waits.
	Paused func(err error)
}

// AdEvent is what became of an advertisement.
type AdEvent struct {
	Publisher   peer.ID
	Provider    peer.ID // empty if it could not be decoded
	CID         cid.Cid
	Status      state.Status
	Reason      string
	Multihashes uint64
	Took        time.Duration
	Lag         uint64 // advertisements of the publisher that are known to be left
}

// TellHead calls the hook, if there is one.
func (t Trace) TellHead(id peer.ID, c cid.Cid, err error) {
	if t.Head != nil {
		t.Head(id, c, err)
	}
}

// TellSegment calls the hook, if there is one.
func (t Trace) TellSegment(id peer.ID, ads int, took time.Duration, err error) {
	if t.Segment != nil {
		t.Segment(id, ads, took, err)
	}
}

// TellAd calls the hook, if there is one.
func (t Trace) TellAd(e AdEvent) {
	if t.Ad != nil {
		t.Ad(e)
	}
}

// TellFailed calls the hook, if there is one.
func (t Trace) TellFailed(id peer.ID, err error) {
	if t.Failed != nil {
		t.Failed(id, err)
	}
}

// Stopped reports whether a publisher was silent for so long that it is left alone.
func (o *Options) Stopped(p *state.Publisher, now time.Time) bool {
	return p.Tries > 0 && now.Sub(Later(p.ContactAt, p.WantedAt)) >= o.StopAfter
}
