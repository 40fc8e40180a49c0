package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/queue"
)

// endings is how many tasks more than there are handlers may be on their way into
// the store: handlers of small tasks do not wait for its disk, which takes many
// writes at once.
const endings = 32

// Work receives tasks and calls h for them until ctx ends, or the queue fails for
// longer than the pipeline has patience, and returns the cause. It never returns nil.
// When ctx ends, handlers that return without an error have done their tasks; the
// other tasks are released.
func (p *Pipeline) Work(ctx context.Context, h Handler) error {
	g, working := errgroup.WithContext(ctx)
	// What ends a task is written even when ctx ended.
	last, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(working, func() {
		time.AfterFunc(lastWriting, func() { cancel(context.Cause(working)) })
	})
	defer stop()
	w := worker{p: p, handler: h, slots: make(chan struct{}, endings)}
	for range p.o.Concurrency {
		g.Go(func() error { return w.loop(working, last) })
	}
	err := g.Wait()
	w.ending.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("pipeline: work: %w", err)
}

// worker is one call of Work. Of the two contexts that its methods take, ctx ends
// when no more tasks shall run, last when nothing more may be written.
type worker struct {
	p       *Pipeline
	handler Handler
	slots   chan struct{} // bounds ending
	ending  sync.WaitGroup
}

func (w *worker) loop(ctx, last context.Context) error {
	for {
		var m queue.Message
		err := w.p.retry(ctx, "receive a task", func() (err error) {
			m, err = w.p.queue.Receive(ctx)
			return err
		})
		if err != nil {
			return err
		}
		w.receive(ctx, last, m)
	}
}

// delivery is a task that was received.
type delivery struct {
	message
	lease queue.Lease
	stop  func() // ends the extending of the lease
}

// receive decides what is to be done with a message, and does it.
func (w *worker) receive(ctx, last context.Context, q queue.Message) {
	d := delivery{lease: q.Lease, stop: func() {}}
	var err error
	if d.message, err = decodeMessage(q.Body); err != nil {
		w.drop(last, d, err.Error())
		return
	}
	if !w.p.claim(d.name()) { // its twin is at work here
		w.release(last, d, w.p.o.Delay)
		return
	}
	d.stop = w.extend(last, q)
	why, after, err := w.p.judge(ctx, d.message)
	switch {
	case err != nil && ctx.Err() != nil:
		w.end(d, func() { w.release(last, d, 0) })
	case err != nil:
		w.p.trouble(fmt.Errorf("pipeline: look up %v: %w", d.task, err))
		w.end(d, func() { w.release(last, d, w.p.o.Delay) })
	case why != "":
		w.end(d, func() { w.drop(last, d, fmt.Sprintf("%v %s", d.task, why)) })
	case after > 0:
		w.end(d, func() { w.release(last, d, after) })
	default:
		w.run(ctx, last, d)
	}
}

// judge says why a message is to be dropped, or after which time to be received again.
func (p *Pipeline) judge(ctx context.Context, m message) (why string, after time.Duration, err error) {
	job, err := p.job(ctx, m.task.Job)
	if errors.Is(err, fs.ErrNotExist) {
		return "belongs to a job that was forgotten", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	if job.run != m.run {
		return "belongs to a job that was submitted again", 0, nil
	}
	t, err := p.progress(ctx, m)
	if err != nil {
		return "", 0, err
	}
	r := t.failed
	switch {
	case t.done != nil:
		why = "is done"
	case r == nil || r.round < m.round:
	case r.round > m.round || r.dead:
		why = "is dead, or was retried"
	default:
		after = r.rest(time.Now())
	}
	return why, after, nil
}

// rest is how long a failed task must wait still. A clock that is wrong by more than
// the delay does not count.
func (r failRecord) rest(now time.Time) time.Duration {
	if rest := r.at.Add(r.delay).Sub(now); rest > 0 && rest <= r.delay {
		return rest
	}
	return 0
}

// run calls the handler, and ends the task as that ended.
func (w *worker) run(ctx, last context.Context, d delivery) {
	c := counts{m: map[string]int64{}}
	began := time.Now()
	err := w.call(context.WithValue(ctx, countsKey{}, &c), d.task)
	took := time.Since(began)
	sums, countErr := c.take()
	if err == nil {
		err = countErr
	}
	switch {
	case err == nil:
		w.end(d, func() { w.done(last, d, took, sums) })
	case ctx.Err() != nil:
		w.end(d, func() { w.release(last, d, 0) })
	default:
		w.end(d, func() { w.failed(last, d, err) })
	}
}

// Panic is the error of a task whose handler panicked.
type Panic struct {
	Value any
	Stack []byte // as [runtime/debug.Stack] tells it
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

func (w *worker) call(ctx context.Context, t Task) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	return w.handler(ctx, t)
}

// end does what is left to do for a delivery, beside the next one.
func (w *worker) end(d delivery, f func()) {
	w.slots <- struct{}{}
	w.ending.Go(func() {
		defer func() { <-w.slots }()
		defer w.p.wake()
		defer w.p.unclaim(d.name())
		f()
	})
}

// extend keeps the message until the function that it returns is called.
func (w *worker) extend(last context.Context, m queue.Message) (stop func()) {
	ctx, cancel := context.WithCancel(last)
	var extending sync.WaitGroup
	extending.Go(func() {
		for sleep(ctx, m.Term/3) {
			err := m.Extend(ctx)
			if err != nil && ctx.Err() == nil {
				w.p.trouble(fmt.Errorf("pipeline: extend a task: %w", err))
			}
			if errors.Is(err, fs.ErrNotExist) {
				return // somebody else may have it now
			}
		}
	})
	return func() {
		cancel()
		extending.Wait()
	}
}

// done records that a task is done, then tells the queue.
func (w *worker) done(last context.Context, d delivery, took time.Duration, sums map[string]int64) {
	r := doneRecord{at: time.Now(), counts: sums}
	err := w.p.retry(last, "record what is done", func() error {
		return w.p.store.Batch(last, []kv.Op{kv.Put(d.key(kindDone), r.encode())})
	})
	if err != nil {
		w.p.trouble(fmt.Errorf("pipeline: record %v as done: %w", d.task, err))
		w.release(last, d, w.p.o.Delay)
		return
	}
	w.finish(last, d)
	if w.p.o.Trace.Done != nil {
		w.p.o.Trace.Done(d.task, took, sums)
	}
}

// failed records a failure, then tells the queue when to deliver the task again, if ever.
func (w *worker) failed(last context.Context, d delivery, cause error) {
	var r failRecord
	err := w.p.retry(last, "record a failure", func() error {
		return w.p.store.Update(last, d.key(kindFailed), func(old []byte) (b []byte, err error) {
			r, err = w.p.fail(d.message, old, cause)
			return r.encode(), err
		})
	})
	switch {
	case err != nil:
		w.p.trouble(fmt.Errorf("pipeline: record the failure of %v: %w", d.task, err))
		w.release(last, d, w.p.o.Delay)
		return
	case r.dead || r.round != d.round:
		w.finish(last, d)
	default:
		w.release(last, d, r.delay)
	}
	if w.p.o.Trace.Failed != nil {
		w.p.o.Trace.Failed(d.task, int(r.attempts), r.dead, cause)
	}
}

// fail returns the record of a task that failed once more.
func (p *Pipeline) fail(m message, old []byte, cause error) (failRecord, error) {
	r := failRecord{round: m.round}
	if old != nil {
		var err error
		if r, err = decodeFail(old); err != nil {
			return r, err
		}
	}
	if r.round > m.round || r.round == m.round && r.dead {
		return r, nil // a twin went further
	}
	if r.round < m.round {
		r = failRecord{round: m.round, failures: r.failures}
	}
	r.attempts++
	r.failures++
	r.at, r.cause = time.Now(), cut(cause.Error())
	if r.delay = delay(int(r.attempts), p.o.Delay, p.o.MaxDelay); isPermanent(cause) || r.attempts >= uint64(p.o.Attempts) {
		r.dead, r.delay, r.body = true, 0, m.task.Body
	}
	return r, nil
}

// delay is the time after attempt number n: it doubles up to the limit, and up to
// half of it is cut at random, so that what failed together does not come together.
func delay(n int, first, limit time.Duration) time.Duration {
	d := first
	for range n - 1 {
		if d >= limit {
			break
		}
		d *= 2
	}
	d = min(d, limit)
	return d - rand.N(d/2+1)
}

func (w *worker) drop(ctx context.Context, d delivery, why string) {
	w.finish(ctx, d)
	if w.p.o.Trace.Dropped != nil {
		w.p.o.Trace.Dropped(why)
	}
}

// finish and release may fail: then the message comes again, and is judged anew.

func (w *worker) finish(ctx context.Context, d delivery) {
	d.stop()
	if err := d.lease.Done(ctx); err != nil {
		w.p.trouble(fmt.Errorf("pipeline: finish %v: %w", d.task, err))
	}
}

func (w *worker) release(ctx context.Context, d delivery, after time.Duration) {
	d.stop()
	if err := d.lease.Release(ctx, after); err != nil {
		w.p.trouble(fmt.Errorf("pipeline: release %v: %w", d.task, err))
	}
}
