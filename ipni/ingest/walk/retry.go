package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// retriesTurn is how many retries one turn takes.
const retriesTurn = 64

// addRetry returns the write that has entries asked for later.
func (tn *turn) addRetry(it *item, res apply.Result) kv.Op {
	now := time.Now()
	r := state.Retry{Deferred: res.Deferred, CID: it.CID, Order: it.Order, First: now, Cause: res.Reason}
	if r.Deferred {
		tn.deferred = true
	} else {
		r.Due = now.Add(tn.w.o.EntryRetry)
		tn.retry = settings.Earlier(tn.retry, r.Due)
	}
	return state.PutRetry(tn.v.ID, r)
}

// loadRetries finds out when a retry is due, and whether there are deferred ones.
func (tn *turn) loadRetries(ctx context.Context) error {
	tn.retry, tn.deferred = settings.Never(), false
	for _, deferred := range []bool{false, true} {
		for r, err := range tn.w.state.Retries(ctx, tn.v.ID, deferred) {
			if err != nil {
				return apply.Grave(err)
			}
			if deferred {
				tn.deferred = true
			} else {
				tn.retry = r.Due
			}
			break // the others are due later
		}
	}
	return nil
}

// retries asks again for entries: those that are due, and if the node is not frozen
// those that it did not ask for when it was.
func (tn *turn) retries(ctx context.Context) error {
	var list []state.Retry
	now := time.Now()
	for _, deferred := range []bool{false, true} {
		if deferred && tn.w.frozen() {
			continue
		}
		for r, err := range tn.w.state.Retries(ctx, tn.v.ID, deferred) {
			if err != nil {
				return apply.Grave(err)
			}
			if r.Due.After(now) || len(list) >= retriesTurn {
				break
			}
			list = append(list, r)
		}
	}
	for i, r := range list {
		if i > 0 && tn.yields() {
			break
		}
		if err := tn.try(ctx, r); errors.Is(err, apply.ErrYield) {
			break
		} else if err != nil {
			return err
		}
	}
	return tn.loadRetries(ctx)
}

// try asks again for the entries of one advertisement. If something else fails than that
// they are missing, the publisher is to blame, and the retry stays for a while.
func (tn *turn) try(ctx context.Context, r state.Retry) error {
	began := time.Now()
	row, err := tn.w.state.AdOf(ctx, tn.tag, r.CID)
	if err != nil {
		return apply.Grave(err)
	}
	it, err := tn.fetchAd(ctx, r.CID, row)
	it.CID, it.Order = r.CID, r.Order
	if errors.Is(err, fs.ErrNotExist) { // the advertisement itself
		return tn.again(ctx, &it, apply.Result{Reason: err.Error(), Missing: true}, r, began, &begun{ad: r.CID})
	}
	if err != nil {
		return err
	}
	begun, err := tn.begun(ctx, r.CID, false)
	if err != nil {
		return err
	}
	src := tn.source(state.Floor(tn.gaps, r.Order, 0, 0))
	src.Progress = &begun.Progress
	res, err := tn.w.applier.Apply(ctx, &it.Item, src)
	if err != nil {
		if err := tn.keep(ctx, begun); err != nil {
			return err
		}
	}
	if err != nil && !apply.IsSerious(err) && !apply.IsDamage(err) && !errors.Is(err, apply.ErrYield) && ctx.Err() == nil && tn.answers(ctx) {
		res, err = apply.Result{Reason: err.Error(), Epoch: res.Epoch, Count: res.Count, Missing: true, Heeded: true}, nil
	}
	if err != nil {
		return err
	}
	return tn.again(ctx, &it, res, r, began, begun)
}

// again records what came of a retry.
func (tn *turn) again(ctx context.Context, it *item, res apply.Result, r state.Retry, began time.Time, put *begun) error {
	now := time.Now()
	ops := []kv.Op{state.DropRetry(tn.v.ID, r)}
	switch {
	case !res.Missing:
	case res.Deferred: // frozen again
		r.Deferred, r.Due = true, time.Time{}
		ops = append(ops, state.PutRetry(tn.v.ID, r))
	case !r.Deferred && now.Sub(r.First) >= tn.w.o.EntryGiveUp:
		res.Missing, res.Status = false, state.Skipped
		res.Reason = state.Cut(fmt.Sprintf("given up after %s: %s", tn.w.o.EntryGiveUp, res.Reason))
	default:
		if r.Deferred { // it was never asked for before
			r.Deferred, r.First, r.Tries = false, now, 0
		}
		r.Tries++
		r.Cause, r.Due = state.Cut(res.Reason), now.Add(settings.Backoff(r.Tries+1, tn.w.o.EntryRetry, 24*time.Hour))
		ops = append(ops, state.PutRetry(tn.v.ID, r))
	}
	ops = append(ops, put.end(tn.v.ID, res.Missing)...)
	if res.Missing {
		res.Status = state.Pending
	}
	tn.pay(1, 0)
	if err := tn.commit(ctx, it, tn.source(0), res, ops); err != nil {
		return err
	}
	tn.event(it, res, began)
	return nil
}
