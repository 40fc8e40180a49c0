package pipeline_test

import (
	"context"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pipeline"
	"github.com/hashstream/hashstream/queue"
	"github.com/hashstream/hashstream/queue/natsqueue"
	"github.com/hashstream/hashstream/queue/queuetest"
	"github.com/hashstream/hashstream/queue/sqsqueue"
)

// flaky is a store that fails for a while.
type flaky struct {
	kv.Store
	mu    sync.Mutex
	until time.Time
}

func (s *flaky) Batch(ctx context.Context, ops []kv.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.until) {
		return errors.New("the store is away")
	}
	return s.Store.Batch(ctx, ops)
}

func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: memkv.New()}
		p := pipeline.New(store, small(), nil)
		r := newRuns()
		work(t, p, func(_ context.Context, task pipeline.Task) error {
			store.mu.Lock()
			defer store.mu.Unlock()
			if r.ran(task) == 1 && task.ID == 5 {
				store.until = time.Now().Add(45 * time.Second) // longer than a term
			}
			return nil
		})
		submit(t, p, "a", 10)
		wantStatus(t, p, done("a", 10, 0, 0, nil))
		if got := r.total(); got != 10 {
			t.Errorf("%d runs, want 10", got)
		}
	})
}

func TestQueueAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(memkv.New(), broken{}, &pipeline.Options{Patience: 10 * time.Second})
		began := time.Now()
		err := p.Work(t.Context(), func(context.Context, pipeline.Task) error { return nil })
		if took := time.Since(began); !errors.Is(err, errBroken) || took < 10*time.Second || took > 20*time.Second {
			t.Errorf("Work = %v after %v, with a patience of 10s", err, took)
		}
	})
}

type broken struct{ queue.Queue }

var errBroken = errors.New("the queue is away")

func (broken) Receive(context.Context) (queue.Message, error) { return queue.Message{}, errBroken }

// machine is a process that may die: from then on nothing of it reaches the queue or
// the store, not even a release.
type machine struct {
	queue.Queue
	kv.Store
	ctx context.Context
}

var errDead = errors.New("the machine is dead")

func (m machine) alive() error {
	if m.ctx.Err() != nil {
		return errDead
	}
	return nil
}

func (m machine) Receive(ctx context.Context) (queue.Message, error) {
	q, err := m.Queue.Receive(ctx)
	q.Lease = mortal{q.Lease, m}
	return q, err
}

func (m machine) Batch(ctx context.Context, ops []kv.Op) error {
	return orElse(m, func() error { return m.Store.Batch(ctx, ops) })
}

func (m machine) Update(ctx context.Context, key []byte, f func([]byte) ([]byte, error)) error {
	return orElse(m, func() error { return m.Store.Update(ctx, key, f) })
}

// orElse calls f if m is alive.
func orElse(m machine, f func() error) error {
	if err := m.alive(); err != nil {
		return err
	}
	return f()
}

type mortal struct {
	queue.Lease
	m machine
}

func (l mortal) Done(ctx context.Context) error {
	return orElse(l.m, func() error { return l.Lease.Done(ctx) })
}

func (l mortal) Extend(ctx context.Context) error {
	return orElse(l.m, func() error { return l.Lease.Extend(ctx) })
}

func (l mortal) Release(ctx context.Context, after time.Duration) error {
	return orElse(l.m, func() error { return l.Lease.Release(ctx, after) })
}

// TestCrashes kills machines at random moments and starts others: in the end every
// task is done once. Half of the handlers go on after the death of their machine, so
// that it comes between what they do and the record of it.
func TestCrashes(t *testing.T) {
	began, again := 0, 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			const n = 100
			rnd := mrand.New(mrand.NewPCG(seed, 0))
			store, q := memkv.New(), small()
			var mu sync.Mutex
			effects := map[uint64]bool{}
			handler := func(ctx context.Context, task pipeline.Task) error {
				mu.Lock()
				began++
				mu.Unlock()
				select {
				case <-time.After(time.Duration(task.ID%13) * time.Second):
				case <-ctx.Done():
					if task.ID%2 == 0 {
						return ctx.Err()
					}
				}
				mu.Lock()
				defer mu.Unlock()
				if effects[task.ID] {
					again++
				}
				effects[task.ID] = true
				pipeline.Count(ctx, "n", 1)
				return nil
			}
			submit(t, pipeline.New(store, q, nil), "a", n)
			var ended sync.WaitGroup
			crash := func() {
				ctx, kill := context.WithTimeout(t.Context(), time.Duration(rnd.Int64N(int64(30*time.Second))))
				defer kill()
				m := machine{q, store, ctx}
				ended.Go(func() { pipeline.New(m, m, &pipeline.Options{Concurrency: 3}).Work(ctx, handler) })
				<-ctx.Done()
			}
			for range 5 {
				crash()
			}
			work(t, pipeline.New(store, q, nil), handler)
			wantStatus(t, pipeline.New(store, q, nil), done("a", n, 0, 0, map[string]int64{"n": n}))
			if ended.Wait(); len(effects) != n {
				t.Errorf("%d of %d tasks took effect", len(effects), n)
			}
		})
	}
	if again < 10 || began < 20*100+100 {
		t.Errorf("%d runs began, %d did again what was done: did machines crash?", began, again)
	}
}

// onServer runs a job with two pipelines, as two machines do, each with its own
// connection and everything delivered more than once. It calls meanwhile with a channel
// that is closed when task 100 ran, if there is one.
func onServer(t *testing.T, n int, open func() queue.Queue, meanwhile func(some <-chan struct{})) {
	t.Helper()
	store := memkv.New()
	r, some := newRuns(), make(chan struct{})
	begin := sync.OnceFunc(func() { close(some) })
	first := queuetest.Twice(open())
	for i := range 2 {
		q := first
		if i > 0 {
			q = open()
		}
		o := &pipeline.Options{Concurrency: 4, Delay: 100 * time.Millisecond, Trace: pipeline.Trace{
			Trouble: func(err error) { t.Log(err) },
		}}
		work(t, pipeline.New(store, q, o), func(ctx context.Context, task pipeline.Task) error {
			if task.ID == 100 {
				begin()
			}
			pipeline.Count(ctx, "bytes", int64(len(task.Body)))
			if r.ran(task) == 1 && task.ID%10 == 0 {
				return errors.New("not yet")
			}
			return nil
		})
	}
	submitted := make(chan error)
	var size int64
	for body := range bodies(n) {
		size += int64(len(body))
	}
	go func() {
		submitted <- pipeline.New(store, first, nil).Submit(t.Context(), pipeline.Job{ID: "a", About: "test"}, bodies(n))
	}()
	meanwhile(some)
	if err := <-submitted; err != nil {
		t.Fatal(err)
	}
	s, err := pipeline.New(store, first, nil).Wait(t.Context(), "a")
	if err != nil || s.State != pipeline.StateDone || s.Done != int64(n) || s.Counts["bytes"] != size {
		t.Errorf("%+v, %v: want %d tasks of %d bytes", s, err, n, size)
	}
}

func openNATS(t *testing.T, server string) func() queue.Queue {
	u := server + "/test-" + rand.Text() + "?term=2s"
	return func() queue.Queue {
		q, err := natsqueue.Open(t.Context(), u, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { q.Close() })
		return q
	}
}

func TestNATS(t *testing.T) {
	onServer(t, 500, openNATS(t, servertest.URL(t, "nats")), func(<-chan struct{}) {})
}

// TestNATSRestart kills the server in the middle of a job.
func TestNATSRestart(t *testing.T) {
	server := servertest.Start(t, "nats")
	onServer(t, 2000, openNATS(t, server.URL), func(some <-chan struct{}) {
		<-some
		server.Kill()
		server.Run()
	})
}

func TestSQS(t *testing.T) {
	u, err := url.Parse(servertest.URL(t, "sqs") + "/test-" + rand.Text() + "?scheme=http&region=us-east-1&term=2s&create=true")
	if err != nil {
		t.Fatal(err)
	}
	onServer(t, 100, func() queue.Queue {
		q, err := sqsqueue.Open(t.Context(), u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}, func(<-chan struct{}) {})
}
