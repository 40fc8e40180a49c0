package router

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/hashstream/hashstream/ipni/breaker"
)

// attempt is a question to one replica.
type attempt struct {
	peer   *peer
	ctx    context.Context
	cancel context.CancelCauseFunc
	head   batch      // what came first
	more   chan batch // what came later
}

// batch is values that came together, after the last of which the answer may end.
type batch struct {
	values [][]byte
	end    bool
	err    error // of the end
}

// maxBatch is how many values wait for their reader.
const maxBatch = 256

// start asks a peer.
func (r *race) start(p *peer) {
	a := &attempt{peer: p, more: make(chan batch)}
	a.ctx, a.cancel = context.WithCancelCause(r.q.ctx)
	r.asked = append(r.asked, a)
	if p.node == nil {
		a.head = batch{end: true, err: errors.New("no way to it")}
		r.first <- a
		return
	}
	done, err := p.breaker.Allow()
	if err != nil {
		a.head = batch{end: true, err: err}
		r.first <- a
		return
	}
	f := &feed{
		attempt: a, first: r.first, done: done, get: r.q.get,
		skip: bytes.Clone(r.q.last), limit: r.q.r.opts.Read, began: time.Now(),
	}
	f.timer = time.AfterFunc(f.limit, f.expire)
	go f.run()
}

// feed carries the answer of a node to an attempt. The node may hang: nobody waits for
// it longer than the limit.
type feed struct {
	*attempt
	first chan<- *attempt
	done  func(breaker.Verdict)
	get   getter
	skip  []byte // values up to this one are known
	limit time.Duration
	timer *time.Timer
	began time.Time

	head, verdict sync.Once
	pending       batch
	posted        bool
}

// expire ends an attempt whose node took too long.
func (f *feed) expire() {
	f.cancel(errStalled)
	f.judge(breaker.Failure)
	f.post(batch{end: true, err: errStalled})
}

func (f *feed) judge(v breaker.Verdict) { f.verdict.Do(func() { f.done(v) }) }

// post makes b the head, unless there is one.
func (f *feed) post(b batch) {
	f.head.Do(func() {
		f.attempt.head = b
		if b.err == nil {
			f.peer.latency.add(time.Since(f.began))
		}
		f.first <- f.attempt
	})
}

func (f *feed) run() {
	err := f.copy()
	f.timer.Stop()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if f.ctx.Err() == nil || err == nil {
		f.judge(verdict(f.ctx, err))
	} else {
		f.judge(breaker.None) // cancelled by the caller, or because another one was quicker
	}
	f.pending.end, f.pending.err = true, err
	f.offer(true)
}

// copy takes the values from the node.
func (f *feed) copy() error {
	var last []byte
	for value, err := range f.get(f.ctx, f.peer.node) {
		if err == nil {
			err = checkValue(last, value)
		}
		if err != nil {
			return err
		}
		last = append(last[:0], value...)
		f.timer.Reset(f.limit)
		if f.skip != nil && bytes.Compare(value, f.skip) <= 0 {
			continue
		}
		f.pending.values = append(f.pending.values, bytes.Clone(value))
		if err := f.offer(len(f.pending.values) >= maxBatch); err != nil {
			return err
		}
	}
	return nil
}

// offer hands over what is pending if the reader waits for it, or in any case. While a
// slow reader is waited for, the node is not to blame.
func (f *feed) offer(wait bool) error {
	if !f.posted {
		f.posted = true
		f.post(f.pending)
		f.pending = batch{}
		return nil
	}
	if !wait {
		select {
		case f.more <- f.pending:
			f.pending = batch{}
		default:
		}
		return nil
	}
	f.timer.Stop()
	select {
	case f.more <- f.pending:
		f.pending = batch{}
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	if !f.pending.end {
		f.timer.Reset(f.limit)
	}
	return nil
}
