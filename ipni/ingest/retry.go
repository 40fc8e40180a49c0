package ingest

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"errors"

	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// retriesTurn is how many retries one turn takes.
const retriesTurn = 64

// addRetry returns the write that has entries asked for later.
func (tn *turn) addRetry(it *item, res result) kv.Op {
	now := time.Now()
	r := state.Retry{Deferred: res.deferred, CID: it.cid, Order: it.order, First: now, Cause: res.reason}
	if r.Deferred {
		tn.deferred = true
	} else {
		r.Due = now.Add(tn.in.o.EntryRetry)
		tn.retry = earlier(tn.retry, r.Due)
	}
	return state.PutRetry(tn.t.id, r)
}

// loadRetries finds out when a retry is due, and whether there are deferred ones.
func (tn *turn) loadRetries(ctx context.Context) error {
	tn.retry, tn.deferred = never, false
	for _, deferred := range []bool{false, true} {
		for r, err := range tn.in.state.Retries(ctx, tn.t.id, deferred) {
			if err != nil {
				return grave(err)
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
		if deferred && tn.in.isFrozen() {
			continue
		}
		for r, err := range tn.in.state.Retries(ctx, tn.t.id, deferred) {
			if err != nil {
				return grave(err)
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
		if err := tn.try(ctx, r); err != nil {
			return err
		}
	}
	return tn.loadRetries(ctx)
}

// try asks again for the entries of one advertisement. If something else fails than that
// they are missing, the publisher is to blame, and the retry stays for a while.
func (tn *turn) try(ctx context.Context, r state.Retry) error {
	began := time.Now()
	row, err := tn.in.state.Ad(ctx, r.CID)
	if err != nil {
		return grave(err)
	}
	it, err := tn.fetchAd(ctx, r.CID, row)
	it.cid, it.order = r.CID, r.Order
	if errors.Is(err, fs.ErrNotExist) { // the advertisement itself
		return tn.again(ctx, &it, result{reason: err.Error(), missing: true}, r, began)
	}
	if err != nil {
		return err
	}
	res, err := tn.apply(ctx, &it, state.Floor(tn.gaps, r.Order, 0, 0), source{})
	if err != nil && !asSerious(err) && ctx.Err() == nil && tn.answers(ctx) {
		res, err = result{reason: err.Error(), missing: true, heeded: true}, nil
	}
	if err != nil {
		return err
	}
	return tn.again(ctx, &it, res, r, began)
}

// again records what came of a retry.
func (tn *turn) again(ctx context.Context, it *item, res result, r state.Retry, began time.Time) error {
	now := time.Now()
	ops := []kv.Op{state.DropRetry(tn.t.id, r)}
	switch {
	case !res.missing:
	case res.deferred: // frozen again
		r.Deferred, r.Due = true, time.Time{}
		ops = append(ops, state.PutRetry(tn.t.id, r))
	case !r.Deferred && now.Sub(r.First) >= tn.in.o.EntryGiveUp:
		res.missing, res.status = false, state.Skipped
		res.reason = state.Cut(fmt.Sprintf("given up after %s: %s", tn.in.o.EntryGiveUp, res.reason))
	default:
		if r.Deferred { // it was never asked for before
			r.Deferred, r.First, r.Tries = false, now, 0
		}
		r.Tries++
		r.Cause, r.Due = state.Cut(res.reason), now.Add(backoff(r.Tries+1, tn.in.o.EntryRetry, 24*time.Hour))
		ops = append(ops, state.PutRetry(tn.t.id, r))
	}
	if res.missing {
		res.status = state.Pending
	}
	tn.pay(1, 0)
	if err := tn.commit(ctx, it, res, ops); err != nil {
		return err
	}
	tn.event(it, res, began)
	return nil
}
