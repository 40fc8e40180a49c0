package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/hashstream/hashstream/kv"
)

// State is how far a job is.
type State byte

// The states.
const (
	StateListing State = 1 + iota // its tasks are being listed and sent, or whoever did so died
	StateRunning                  // all are sent, some not done yet
	StateDone                     // every task is done or dead
	StateFailed                   // its listing ended with an error; what was sent is worked on
)

func (s State) String() string {
	switch s {
	case StateListing:
		return "listing"
	case StateRunning:
		return "running"
	case StateDone:
		return "done"
	case StateFailed:
		return "failed"
	}
	return "unknown"
}

// Status is what became of a job so far. The numbers of tasks are exact: each task
// counts once, however often it was delivered or ran.
type Status struct {
	Job     Job
	State   State
	Cause   string           // why the listing failed
	Tasks   int64            // sent, as of the last note while the job is listing
	Done    int64            // tasks that are done
	Dead    int64            // tasks that failed for good, until they are retried
	Retried int64            // runs of tasks that followed a failed one, or will
	Counts  map[string]int64 // the sums of what the tasks that are done counted
	Started time.Time        // when the job was submitted
	Updated time.Time        // the last progress
}

// DeadTask is a task that failed for good.
type DeadTask struct {
	Task
	Attempts int       // how often it ran, since it was last retried
	Cause    string    // the last error, cut after 1024 bytes
	Time     time.Time // of the last attempt
}

// Status returns how far a job is. It reads the keys of all its tasks.
func (p *Pipeline) Status(ctx context.Context, id string) (Status, error) {
	s, err := p.status(ctx, id)
	if err != nil {
		return Status{}, fmt.Errorf("pipeline: status of job %.300q: %w", id, err)
	}
	return s, nil
}

func (p *Pipeline) status(ctx context.Context, id string) (Status, error) {
	job, err := p.job(ctx, id)
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Job: Job{ID: id, About: job.about}, State: job.state, Cause: job.cause,
		Tasks: int64(job.tasks), Counts: map[string]int64{}, Started: job.started, Updated: job.updated,
	}
	for t, err := range p.tasks(ctx, id, job.run, 0) {
		if err != nil {
			return Status{}, err
		}
		s.add(t)
	}
	if s.State == StateRunning && s.Done+s.Dead == s.Tasks {
		s.State = StateDone
	}
	return s, nil
}

func (s *Status) add(t progress) {
	if t.done != nil {
		s.Done++
		s.saw(t.done.at)
		for name, n := range t.done.counts {
			s.Counts[name] += n
		}
	}
	if t.failed != nil {
		s.Retried += int64(t.failed.failures)
		s.saw(t.failed.at)
	}
	if t.dead() {
		s.Dead++
		s.Retried-- // its last failure was the end
	}
}

func (s *Status) saw(t time.Time) {
	if t.After(s.Updated) {
		s.Updated = t
	}
}

// Jobs yields the status of every job, ordered by id.
func (p *Pipeline) Jobs(ctx context.Context) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		for id, err := range p.ids(ctx, "") {
			var s Status
			if err == nil {
				s, err = p.status(ctx, id)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue // forgotten meanwhile
			}
			if err != nil {
				yield(Status{}, fmt.Errorf("pipeline: list jobs: %w", err))
				return
			}
			if !yield(s, nil) {
				return
			}
		}
	}
}

// Dead yields the dead tasks of a job, ordered by number.
func (p *Pipeline) Dead(ctx context.Context, id string) iter.Seq2[DeadTask, error] {
	return func(yield func(DeadTask, error) bool) {
		fail := func(err error) { yield(DeadTask{}, fmt.Errorf("pipeline: list dead tasks of job %.300q: %w", id, err)) }
		job, err := p.job(ctx, id)
		if err != nil {
			fail(err)
			return
		}
		for t, err := range p.tasks(ctx, id, job.run, 0) {
			if err != nil {
				fail(err)
				return
			}
			if t.dead() && !yield(t.deadTask(id), nil) {
				return
			}
		}
	}
}

func (t progress) deadTask(id string) DeadTask {
	r := t.failed
	return DeadTask{
		Task:     Task{Job: id, ID: t.n, Body: r.body},
		Attempts: int(r.attempts), Cause: r.cause, Time: r.at,
	}
}

// Forget removes a job and all that is known of its tasks. Those that are still in
// the queue are dropped when a worker receives them.
func (p *Pipeline) Forget(ctx context.Context, id string) error {
	_, err := p.job(ctx, id)
	if err == nil || !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
		err = p.store.Batch(ctx, []kv.Op{kv.Delete(jobKey(id)), kv.DeleteRange(kv.Prefix(tasksPrefix(id)))})
	}
	if err != nil {
		return fmt.Errorf("pipeline: forget job %.300q: %w", id, err)
	}
	return nil
}

// The times between two looks of [Pipeline.Wait] at the store.
const (
	minLook = 10 * time.Millisecond
	maxLook = time.Second
)

// Wait waits until every task of a job is done or dead, or its listing failed, and
// returns its status then. Any process may do the work: Wait looks at the store, at
// once when a task ends in this process and once a second at least.
func (p *Pipeline) Wait(ctx context.Context, id string) (Status, error) {
	s, err := p.wait(ctx, id)
	if err != nil {
		return Status{}, fmt.Errorf("pipeline: wait for job %.300q: %w", id, err)
	}
	return s, nil
}

func (p *Pipeline) wait(ctx context.Context, id string) (Status, error) {
	var seen ended
	for next := minLook; ; next = min(2*next, maxLook) {
		changed := p.change()
		before := seen
		err := p.retry(ctx, "look at a job", func() error { return p.look(ctx, id, &seen) })
		if err != nil {
			return Status{}, err
		}
		if seen.all {
			s, err := p.status(ctx, id)
			if err != nil || s.State == StateDone || s.State == StateFailed {
				return s, err
			}
			seen = ended{} // a dead task was retried
		}
		if seen != before {
			next = minLook
		}
		if !sleep(ctx, minLook) || !sleepUntil(ctx, next-minLook, changed) {
			return Status{}, context.Cause(ctx)
		}
	}
}

// sleepUntil reports whether d passed or c was closed before ctx ended.
func sleepUntil(ctx context.Context, d time.Duration, c <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-c:
	}
	return true
}

// ended is how far all tasks of a run have ended, without a gap.
type ended struct {
	run, n uint64
	all    bool
}

// look moves e on. It reads only the keys of tasks that ended since.
func (p *Pipeline) look(ctx context.Context, id string, e *ended) error {
	job, err := p.job(ctx, id)
	if err != nil {
		return err
	}
	if job.run != e.run {
		*e = ended{run: job.run}
	}
	for t, err := range p.tasks(ctx, id, job.run, e.n) {
		if err != nil {
			return err
		}
		if t.n != e.n || !t.ended() {
			break
		}
		e.n++
	}
	e.all = job.state == StateFailed || job.state == StateRunning && e.n >= job.tasks
	return nil
}
