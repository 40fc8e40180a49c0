package pipeline

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/kv"
)

const (
	senders     = 16          // messages on their way to the queue at one time
	noteEvery   = time.Second // how often a listing notes how far it is
	lastWriting = 10 * time.Second
)

// Submit records a job and sends its tasks to the queue as tasks yields their
// bodies, in bounded memory. The bodies may be reused. If the queue is bounded and
// in this process, somebody must work meanwhile.
//
// A job that was submitted before under the same id is replaced: what is left of its
// tasks is dropped when a worker receives it. A submission that is replaced in turn
// ends with [ErrReplaced]. If tasks yields an error, or ctx ends, the job has failed
// and says why; the tasks that were sent are worked on all the same. A process that
// dies meanwhile leaves a job that is listing, with the time of its last progress;
// submit it again.
func (p *Pipeline) Submit(ctx context.Context, job Job, tasks iter.Seq2[[]byte, error]) error {
	run, err := p.begin(ctx, job)
	if err == nil {
		err = p.list(ctx, job.ID, run, tasks)
	}
	if err != nil {
		return fmt.Errorf("pipeline: submit job %.300q: %w", job.ID, err)
	}
	p.wake()
	return nil
}

// begin records a new run of a job and removes what earlier runs left.
func (p *Pipeline) begin(ctx context.Context, job Job) (run uint64, err error) {
	if err := checkID(job.ID); err != nil {
		return 0, err
	}
	err = p.store.Update(ctx, jobKey(job.ID), func(old []byte) ([]byte, error) {
		now := time.Now()
		// The clock keeps runs apart where a job was forgotten in between.
		run = uint64(now.UnixNano())
		if r, err := decodeJob(old); old != nil && err == nil {
			run = max(run, r.run+1)
		}
		r := jobRecord{run: run, state: StateListing, started: now, updated: now, about: cut(job.About)}
		return r.encode(), nil
	})
	if err != nil {
		return 0, err
	}
	earlier := kv.Range{From: tasksPrefix(job.ID), To: runPrefix(job.ID, run)}
	return run, p.store.Batch(ctx, []kv.Op{kv.DeleteRange(earlier)})
}

// list sends the tasks of a run, and records how that ended.
func (p *Pipeline) list(ctx context.Context, id string, run uint64, tasks iter.Seq2[[]byte, error]) error {
	n, err := p.sendAll(ctx, id, run, tasks)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWriting)
	defer cancel()
	noted := p.retry(last, "record the end of a listing", func() error {
		return p.updateJob(last, id, run, func(r *jobRecord) {
			r.tasks, r.state = n, StateRunning
			if err != nil {
				r.state, r.cause = StateFailed, cut(err.Error())
			}
		})
	})
	if err == nil {
		err = noted
	}
	return err
}

// sendAll returns how many tasks it sent.
func (p *Pipeline) sendAll(ctx context.Context, id string, run uint64, tasks iter.Seq2[[]byte, error]) (uint64, error) {
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	var sent atomic.Uint64
	err := p.eachTask(sending, id, run, tasks, func(m message) {
		body := m.encode()
		g.Go(func() error {
			err := p.send(sending, body)
			if err == nil {
				sent.Add(1)
			}
			return err
		})
	})
	if failed := g.Wait(); err == nil {
		err = failed
	}
	return sent.Load(), err
}

// eachTask calls send for each of tasks, and notes from time to time how many there are.
func (p *Pipeline) eachTask(ctx context.Context, id string, run uint64, tasks iter.Seq2[[]byte, error], send func(message)) error {
	n, noted := uint64(0), time.Now()
	for body, err := range tasks {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(body) > MaxBody {
			return fmt.Errorf("task %d has %d bytes, at most %d: %w", n, len(body), MaxBody, fs.ErrInvalid)
		}
		send(message{run: run, task: Task{Job: id, ID: n, Body: body}})
		n++
		if time.Since(noted) < noteEvery {
			continue
		}
		noted = time.Now()
		err := p.retry(ctx, "record progress", func() error {
			return p.updateJob(ctx, id, run, func(r *jobRecord) { r.tasks = n })
		})
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (p *Pipeline) send(ctx context.Context, body []byte) error {
	return p.retry(ctx, "send a task", func() error { return p.queue.Send(ctx, body) })
}

// Retry sends the dead tasks of a job again, with as many attempts as at first, and
// returns how many they were. An empty id means every job.
func (p *Pipeline) Retry(ctx context.Context, id string) (int, error) {
	n := 0
	for id, err := range p.ids(ctx, id) {
		var more int
		if err == nil {
			more, err = p.retryJob(ctx, id)
		}
		n += more
		if err != nil {
			return n, fmt.Errorf("pipeline: retry job %.300q: %w", id, err)
		}
	}
	return n, nil
}

// ids yields the id that is given, or all.
func (p *Pipeline) ids(ctx context.Context, id string) iter.Seq2[string, error] {
	if id != "" {
		return func(yield func(string, error) bool) { yield(id, nil) }
	}
	return func(yield func(string, error) bool) {
		for pair, err := range p.store.Scan(ctx, kv.Prefix(jobPrefix())) {
			if err != nil {
				yield("", err)
				return
			}
			if !yield(string(pair.Key[len(jobPrefix()):]), nil) {
				return
			}
		}
	}
}

func (p *Pipeline) retryJob(ctx context.Context, id string) (n int, err error) {
	job, err := p.job(ctx, id)
	if err != nil {
		return 0, err
	}
	for t, err := range p.tasks(ctx, id, job.run, 0) {
		if err != nil {
			return n, err
		}
		if !t.dead() {
			continue
		}
		if err := p.revive(ctx, id, job.run, t); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// revive sends a dead task in a new round. The task is dead in the store until it is
// sent: a crash in between makes it no worse, as a worker that receives it knows the
// round for later than the death.
func (p *Pipeline) revive(ctx context.Context, id string, run uint64, t progress) error {
	m := message{run: run, round: t.failed.round + 1, task: Task{Job: id, ID: t.n, Body: t.failed.body}}
	if err := p.send(ctx, m.encode()); err != nil {
		return err
	}
	return p.store.Update(ctx, m.key(kindFailed), func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, nil // the job was replaced
		}
		r, err := decodeFail(old)
		if err != nil || r.round >= m.round {
			return old, err
		}
		r = failRecord{round: m.round, failures: r.failures, at: time.Now()}
		return r.encode(), nil
	})
}
