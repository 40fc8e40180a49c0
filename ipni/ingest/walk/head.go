package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
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
	w, v, wish := tn.w, tn.v, tn.wish
	if tn.open() >= w.o.MaxGaps {
		tn.out.Asked = gapsPause
		return nil // status shows the gaps with their causes
	}
	head, news, err := tn.headThrough(ctx, wish.Addrs)
	if err != nil || !news { // what was announced is no better than what is known
		if known := settings.ParseAddrs(tn.row.Addrs); len(known) > 0 {
			h, n, err2 := tn.headThrough(ctx, known)
			if err == nil && err2 != nil { // then it is where it answered
				tn.row.Addrs, err2 = settings.AddrBytes(wish.Addrs), nil
			} else {
				head, news = h, n
			}
			err = err2
		}
	}
	if err != nil {
		w.o.Trace.TellHead(tn.v.ID, cid.Undef, err)
		if apply.IsSerious(err) {
			return err
		}
		return fmt.Errorf("ask for head: %w", err)
	}
	w.o.Trace.TellHead(tn.v.ID, head, nil)
	if err := tn.accept(ctx, head, news); err != nil {
		return err
	}
	pause := w.o.PollInterval
	if wish.Hint != v.hint {
		v.hint, v.hintTries = wish.Hint, 0
	}
	if v.hint.Defined() && !news && v.hint != head && v.hintTries < maxHintTries {
		if a, err := w.state.AdOf(ctx, tn.tag, v.hint); err != nil {
			return apply.Grave(err)
		} else if a.Status == state.Unknown {
			v.hintTries++
			pause = 5 * time.Second << (2 * (v.hintTries - 1))
		}
	}
	tn.out.Asked = pause
	return nil
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

// stuck reports whether something of the chain could not be read when it was last tried.
func (tn *turn) stuck() bool {
	return slices.ContainsFunc(tn.gaps, func(g *state.Gap) bool { return !g.Parked && g.Tries > 0 })
}

// headThrough returns the head that is had through addrs, cid.Undef if the chain is
// empty, and whether it is new. If so, addrs are those of the publisher from now on.
func (tn *turn) headThrough(ctx context.Context, addrs []multiaddr.Multiaddr) (cid.Cid, bool, error) {
	if len(addrs) == 0 && !tn.w.o.Unaddressed {
		return cid.Undef, false, errors.New("no address is known")
	}
	if err := tn.connect(ctx, addrs); err != nil {
		return cid.Undef, false, err
	}
	head, err := tn.askChain(ctx, tn.v.chain)
	if errors.Is(err, fs.ErrNotExist) {
		return cid.Undef, false, nil
	}
	if err != nil {
		return cid.Undef, false, err
	}
	a, err := tn.w.state.AdOf(ctx, tn.tag, head)
	if err != nil {
		return cid.Undef, false, apply.Grave(err)
	}
	// Old heads are signed, too: who serves one has nothing new.
	news := a.Status == state.Unknown
	if news || len(tn.row.Addrs) == 0 {
		tn.row.Addrs = settings.AddrBytes(addrs)
	}
	return head, news, nil
}

// askChain asks the publisher for its head.
func (tn *turn) askChain(ctx context.Context, chain ipni.Chain) (cid.Cid, error) {
	ctx, cancel := context.WithTimeout(ctx, tn.w.o.FetchTimeout)
	defer cancel()
	defer tn.v.Wait()()
	return chain.Head(ctx)
}

// accept records a head, with a gap if it is new, and one for what is to be read again.
func (tn *turn) accept(ctx context.Context, head cid.Cid, news bool) error {
	w, now := tn.w, time.Now()
	tn.row.ContactAt, tn.row.Inactive, tn.row.Error = now, false, ""
	if !tn.stuck() { // else only progress shows that it does what it should
		tn.row.Tries = 0
	}
	var ops []kv.Op
	if tn.wish.All || tn.wish.Resync != nil {
		for _, g := range tn.gaps {
			g.RetryAt, g.Parked = time.Time{}, false
			ops = append(ops, state.PutGap(tn.v.ID, g))
		}
	}
	if news || tn.anew && head.Defined() {
		g := &state.Gap{From: head, Stop: tn.row.Head, Limit: w.o.Depth, Anew: tn.anew}
		if !tn.row.Head.Defined() {
			g.Limit = w.o.FirstDepth
		}
		if err := tn.openGap(ctx, g); err != nil {
			return err
		}
		ops = append(ops, state.PutGap(tn.v.ID, g), state.PutAd(head, state.Ad{Status: state.Pending, Tag: tn.tag, Order: g.Top(), At: now}))
		tn.row.Head, tn.row.HeadAt = head, now
	}
	if tn.anew {
		tn.row.Damaged = false
	}
	if tn.wish.Resync != nil && !tn.anew && tn.row.Head.Defined() {
		g := &state.Gap{From: tn.row.Head, Limit: w.o.Depth, Resync: true}
		if *tn.wish.Resync > 0 {
			g.Limit = min(*tn.wish.Resync, g.Limit)
		}
		if err := tn.openGap(ctx, g); err != nil {
			return err
		}
		ops = append(ops, state.PutGap(tn.v.ID, g))
	}
	ops = append(ops, tn.prune()...)
	return apply.Grave(w.applier.SetInactive(ctx, tn.v.ID, false, append(ops, state.PutPublisher(&tn.row))))
}

// openGap numbers a gap and adds it to those of the turn.
func (tn *turn) openGap(ctx context.Context, g *state.Gap) error {
	seq, err := tn.w.state.NextSeq(ctx)
	if err != nil {
		return apply.Grave(err)
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
		ops = append(ops, state.DropGap(tn.v.ID, g.Seq)...)
		return true
	})
	return ops
}
