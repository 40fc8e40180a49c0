package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// maxHintTries is how often a publisher is asked again whose head does not lead to what
// was announced: caches in front of publishers serve the head before for a while.
const maxHintTries = 3

// gapsPause is how long no head is asked for if there are too many gaps.
const gapsPause = 10 * time.Minute

// maxParked is how many gaps that can never be read are remembered, to be shown.
const maxParked = 16

// askHead asks the publisher for its head, and opens a gap if that is new.
func (tn *turn) askHead(ctx context.Context) error {
	in, t := tn.in, tn.t
	in.mu.Lock()
	announced, hint, resync, all := t.addrs, t.hint, t.resync, t.all
	in.mu.Unlock()
	if tn.open() >= in.o.MaxGaps {
		tn.asked(gapsPause)
		return nil // status shows the gaps with their causes
	}
	head, news, err := tn.headThrough(ctx, announced)
	if err != nil || !news { // what was announced is no better than what is known
		if known := parseAddrs(tn.row.Addrs); len(known) > 0 {
			h, n, err2 := tn.headThrough(ctx, known)
			if err == nil && err2 != nil {
				err2 = nil // the publisher answered
			} else {
				head, news = h, n
			}
			err = err2
		}
	}
	if err != nil {
		in.o.Trace.head(t.id, cid.Undef, err)
		if asSerious(err) {
			return err
		}
		return fmt.Errorf("ask for head: %w", err)
	}
	in.o.Trace.head(t.id, head, nil)
	if err := tn.accept(ctx, head, news, all, resync); err != nil {
		return err
	}
	pause := in.o.PollInterval
	if hint.Defined() && !news && hint != head && t.hintTries < maxHintTries {
		if a, err := in.state.Ad(ctx, hint); err != nil {
			return grave(err)
		} else if a.Status == state.Unknown {
			t.hintTries++
			pause = 5 * time.Second << (2 * (t.hintTries - 1))
		}
	}
	tn.asked(pause)
	return nil
}

func asSerious(err error) bool {
	var s serious
	return errors.As(err, &s)
}

// asked notes that the head was asked for, and when it will be again: soon, if it was
// announced meanwhile.
func (tn *turn) asked(pause time.Duration) {
	in, t := tn.in, tn.t
	in.mu.Lock()
	defer in.mu.Unlock()
	t.askedAt = time.Now()
	if t.wants != tn.wants {
		t.headAt = earlier(t.headAt, t.askedAt.Add(in.o.HeadInterval))
		return
	}
	t.headAt = t.askedAt.Add(pause)
	t.addrs, t.resync, t.all = nil, nil, false
}

// open returns how many gaps can still be worked on.
func (tn *turn) open() (n int) {
	for _, g := range tn.gaps {
		if !g.Parked {
			n++
		}
	}
	return n
}

// headThrough returns the head that is had through addrs, cid.Undef if the chain is
// empty, and whether it is new. If so, addrs are those of the publisher from now on.
func (tn *turn) headThrough(ctx context.Context, addrs []multiaddr.Multiaddr) (cid.Cid, bool, error) {
	if len(addrs) == 0 {
		return cid.Undef, false, errors.New("no address is known")
	}
	if err := tn.connect(ctx, addrs); err != nil {
		return cid.Undef, false, err
	}
	fetch, cancel := context.WithTimeout(ctx, tn.in.o.FetchTimeout)
	defer cancel()
	head, err := tn.t.chain.Head(fetch)
	if errors.Is(err, fs.ErrNotExist) {
		return cid.Undef, false, nil
	}
	if err != nil {
		return cid.Undef, false, err
	}
	a, err := tn.in.state.Ad(ctx, head)
	if err != nil {
		return cid.Undef, false, grave(err)
	}
	// Old heads are signed, too: who serves one has nothing new.
	news := a.Status == state.Unknown || a.Tag != tn.tag
	if news || len(tn.row.Addrs) == 0 {
		tn.row.Addrs = addrBytes(addrs)
	}
	return head, news, nil
}

// accept records a head, with a gap if it is new, and one for what is to be read again.
// If all is set, what could not be read is tried again now.
func (tn *turn) accept(ctx context.Context, head cid.Cid, news, all bool, resync *uint64) error {
	in, now := tn.in, time.Now()
	tn.row.ContactAt, tn.row.Inactive = now, false
	tn.row.Tries, tn.row.Error = 0, ""
	var ops []kv.Op
	if all || resync != nil {
		for _, g := range tn.gaps {
			g.RetryAt, g.Parked = time.Time{}, false
			ops = append(ops, state.PutGap(tn.t.id, g))
		}
	}
	if news {
		g := &state.Gap{From: head, Stop: tn.row.Head, Limit: in.o.Depth}
		if !tn.row.Head.Defined() {
			g.Limit = in.o.FirstDepth
		}
		if err := tn.openGap(ctx, g); err != nil {
			return err
		}
		ops = append(ops, state.PutGap(tn.t.id, g), state.PutAd(head, state.Ad{Status: state.Pending, Tag: tn.tag, Order: g.Top(), At: now}))
		tn.row.Head, tn.row.HeadAt = head, now
	}
	if resync != nil && tn.row.Head.Defined() {
		g := &state.Gap{From: tn.row.Head, Limit: in.o.Depth, Resync: true}
		if *resync > 0 {
			g.Limit = min(*resync, g.Limit)
		}
		if err := tn.openGap(ctx, g); err != nil {
			return err
		}
		ops = append(ops, state.PutGap(tn.t.id, g))
	}
	ops = append(ops, tn.prune()...)
	return grave(in.state.Batch(ctx, append(ops, state.PutPublisher(&tn.row))))
}

// openGap numbers a gap and adds it to those of the turn.
func (tn *turn) openGap(ctx context.Context, g *state.Gap) error {
	seq, err := tn.in.state.NextSeq(ctx)
	if err != nil {
		return grave(err)
	}
	g.Seq = seq
	tn.gaps = append([]*state.Gap{g}, tn.gaps...)
	return nil
}

// prune forgets the oldest of the gaps that can never be read, if they are many.
func (tn *turn) prune() (ops []kv.Op) {
	parked := 0
	tn.gaps = slices.DeleteFunc(tn.gaps, func(g *state.Gap) bool {
		if g.Parked {
			parked++
		}
		if !g.Parked || parked <= maxParked {
			return false
		}
		ops = append(ops, state.DropGap(tn.t.id, g.Seq)...)
		return true
	})
	return ops
}
