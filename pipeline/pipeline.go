// Package pipeline runs the tasks of jobs: any number of workers on any number of
// machines share a queue and a kv store.
//
// [Pipeline.Submit] sends the tasks of a job to the queue while they are listed;
// [Pipeline.Work] receives them and calls a handler. Delivery is at least once, so
// a task may run twice, even at the same time on two machines, and a handler must
// be idempotent. What is done is written to the store before the queue may forget
// it: a task is never lost, and one that is delivered again after it was done is
// dropped at the cost of two reads. A task that fails runs again later, with
// exponential delays; one that keeps failing is dead, and listed with its cause
// until [Pipeline.Retry] sends it again.
//
// # Keys
//
// Everything stands below the byte 'j'. JOB is the id of a job, RUN (8 bytes,
// big-endian) tells its submissions apart, and N (8 bytes, big-endian) is the
// number of a task.
//
//	j j JOB                 the job: its run, state, times, number of tasks
//	j t JOB 0 RUN N 'd'     the task is done: when, and what it counted
//	j t JOB 0 RUN N 'f'     the task failed: how often, why, if it is dead its body
//
// A task that neither was done nor failed has no key: a job costs as much as was
// done of it. A key is written by one task alone, so nothing is counted twice. The
// values begin with a version, and belong to this package.
//
// # Errors
//
// A job that is not there matches [io/fs.ErrNotExist], a malformed argument
// [io/fs.ErrInvalid], a corrupt record [digest.ErrMismatch]. The causes of failed
// tasks are shown to whoever asks: a handler's errors must not hold credentials.
//
// A Pipeline is safe for concurrent use.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/queue"
)

// Limits.
const (
	MaxBody  = queue.MaxBody - 512 // length of the longest body of a task, in bytes
	MaxJobID = 255                 // length of the longest id of a job, in bytes

	maxText = 1024 // bytes of a description or a cause; more is cut
)

// ErrReplaced is what a submission ends with when the job was submitted again.
var ErrReplaced = errors.New("replaced by a later submission")

// Job is what a submission is about.
type Job struct {
	// ID is 1 to [MaxJobID] bytes of UTF-8 without control characters. Whoever
	// submits a job with an ID that exists replaces it.
	ID string
	// About tells people what the job does, such as the URL of a source, without
	// credentials. It is cut after 1024 bytes.
	About string
}

// Task is one piece of the work of a job.
type Task struct {
	Job  string // the id of its job
	ID   uint64 // its number in the job, from 0
	Body []byte // what the handler is to do, at most [MaxBody] bytes; it must not be changed
}

func (t Task) String() string { return fmt.Sprintf("task %d of job %q", t.ID, t.Job) }

// Handler does a task. It may be called again for a task that it did, so it must
// be idempotent. An error makes the task run again later, or dead: at once if it is
// [Permanent]. A panic is such a failure, a [Panic], too: a task that breaks a handler
// must not take all workers of all machines down, one after the other. When ctx ends
// the handler should return; the task is then released, which counts as no failure.
type Handler func(ctx context.Context, t Task) error

// Options of a pipeline.
type Options struct {
	// Concurrency is how many handlers run at the same time. 0 means as many as
	// there are processors.
	Concurrency int
	// Attempts is how often a task runs before it is dead. 0 means 5.
	Attempts int
	// Delay is the time after the first failure; it doubles with each further one.
	// Up to half of it is cut at random. 0 means 1 s.
	Delay time.Duration
	// MaxDelay is the longest of these delays. 0 means 1 min.
	MaxDelay time.Duration
	// Patience is how long a queue or store may fail without a break before the
	// pipeline gives up. 0 means 1 min.
	Patience time.Duration
	Trace    Trace
}

// Trace is told what happens in this process. The hooks are called by many
// goroutines and must return soon; nil ones are skipped.
type Trace struct {
	// Done is called when a task was done, with what it counted, after that is durable.
	Done func(t Task, took time.Duration, counts map[string]int64)
	// Failed is called when a task failed for the given time, or is now dead.
	Failed func(t Task, attempt int, dead bool, err error)
	// Dropped is called when a message was dropped, as its task was done before, its
	// job is replaced or forgotten, or it is no task at all.
	Dropped func(why string)
	// Trouble is called when the queue or the store failed; it is tried again.
	Trouble func(err error)
}

// Pipeline runs the tasks of jobs.
type Pipeline struct {
	store kv.Store
	queue queue.Queue
	o     Options

	mu      sync.Mutex
	running map[string]bool // the keys of tasks that run in this process
	changed chan struct{}   // closed and replaced when a task ended
}

// New returns a pipeline over a store and a queue that everybody who works on the
// same jobs shares.
func New(store kv.Store, q queue.Queue, o *Options) *Pipeline {
	p := &Pipeline{store: store, queue: q, running: map[string]bool{}, changed: make(chan struct{})}
	if o != nil {
		p.o = *o
	}
	setDefault(&p.o.Concurrency, runtime.GOMAXPROCS(0))
	setDefault(&p.o.Attempts, 5)
	setDefault(&p.o.Delay, time.Second)
	setDefault(&p.o.MaxDelay, time.Minute)
	setDefault(&p.o.Patience, time.Minute)
	return p
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Permanent marks err as one that a further attempt would meet again: the task is
// dead at once. It is nil if err is.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func isPermanent(err error) bool {
	_, ok := errors.AsType[permanent](err)
	return ok
}

func checkID(id string) error {
	if id == "" || len(id) > MaxJobID || !utf8.ValidString(id) {
		return fmt.Errorf("id of %d bytes, want 1 to %d of UTF-8: %w", len(id), MaxJobID, fs.ErrInvalid)
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return fmt.Errorf("id %q with a control character: %w", id, fs.ErrInvalid)
		}
	}
	return nil
}

// claim reports whether no task of the key runs in this process, and takes it.
func (p *Pipeline) claim(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[key] {
		return false
	}
	p.running[key] = true
	return true
}

func (p *Pipeline) unclaim(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, key)
}

// wake tells those who wait that a task ended.
func (p *Pipeline) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Pipeline) change() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *Pipeline) trouble(err error) {
	if p.o.Trace.Trouble != nil {
		p.o.Trace.Trouble(err)
	}
}
