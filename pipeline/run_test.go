package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pipeline"
	"github.com/hashstream/hashstream/queue"
	"github.com/hashstream/hashstream/queue/memqueue"
	"github.com/hashstream/hashstream/queue/queuetest"
)

// runs counts how often each task ran, by number.
type runs struct {
	mu sync.Mutex
	m  map[uint64]int
}

func newRuns() *runs { return &runs{m: map[uint64]int{}} }

func (r *runs) ran(t pipeline.Task) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m[t.ID]++
	return r.m[t.ID]
}

func (r *runs) total() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.m {
		n += k
	}
	return n
}

// work runs a worker until the test, or the function that is returned, ends it.
func work(t *testing.T, p *pipeline.Pipeline, h pipeline.Handler) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Work(ctx, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Work: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func submit(t *testing.T, p *pipeline.Pipeline, id string, n int) {
	t.Helper()
	if err := p.Submit(t.Context(), pipeline.Job{ID: id, About: "test"}, bodies(n)); err != nil {
		t.Fatal(err)
	}
}

func wantStatus(t *testing.T, p *pipeline.Pipeline, want pipeline.Status) {
	t.Helper()
	got, err := p.Wait(t.Context(), want.Job.ID)
	if err != nil {
		t.Fatal(err)
	}
	if want.Counts == nil {
		want.Counts = map[string]int64{}
	}
	want.Job.About = "test"
	ignore := cmpopts.IgnoreFields(pipeline.Status{}, "Started", "Updated")
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// small has no bound and a short term.
func small() *memqueue.Queue {
	return memqueue.New(&memqueue.Options{Bound: -1, Term: 10 * time.Second})
}

func done(id string, tasks, dead, retried int64, counts map[string]int64) pipeline.Status {
	return pipeline.Status{
		Job: pipeline.Job{ID: id}, State: pipeline.StateDone,
		Tasks: tasks, Done: tasks - dead, Dead: dead, Retried: retried, Counts: counts,
	}
}

func TestEverythingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		r := newRuns()
		store, q := memkv.New(), queuetest.Twice(small())
		var dropped atomic.Int64
		count := func(string) { dropped.Add(1) }
		for range 3 { // machines
			p := pipeline.New(store, q, &pipeline.Options{Concurrency: 4, Trace: pipeline.Trace{Dropped: count}})
			work(t, p, func(ctx context.Context, task pipeline.Task) error {
				attempt := r.ran(task)
				pipeline.Count(ctx, "runs", 1)
				time.Sleep(time.Duration(task.ID%7) * 5 * time.Second) // longer than a term, too
				if task.ID%50 == 3 {
					return pipeline.Permanent(errors.New("never"))
				}
				if task.ID%10 == 0 && attempt == 1 {
					return errors.New("not yet")
				}
				return nil
			})
		}
		p := pipeline.New(store, q, nil)
		submit(t, p, "a", n)
		s, err := p.Wait(t.Context(), "a")
		if err != nil || s.Tasks != n || s.Done != n-4 || s.Dead != 4 || s.Counts["runs"] != n-4 {
			t.Errorf("%+v, %v", s, err)
		}
		time.Sleep(10 * time.Minute) // until every copy is dropped
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if m, err := q.Receive(ctx); err == nil {
			t.Errorf("%q was left in the queue", m.Body)
		}
		if got := dropped.Load(); got < 3*n-3*n/4 {
			t.Errorf("%d messages were dropped: is everything delivered four times?", got)
		}
	})
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(memkv.New(), small(), nil)
		var times []time.Duration
		began := time.Now()
		work(t, p, func(ctx context.Context, task pipeline.Task) error {
			times = append(times, time.Since(began))
			pipeline.Count(ctx, "failed runs count nothing", 1)
			return fmt.Errorf("failure %d", len(times))
		})
		submit(t, p, "a", 1)
		wantStatus(t, p, done("a", 1, 1, 4, nil))
		if len(times) != 5 {
			t.Fatalf("ran %d times, want 5", len(times))
		}
		for i := 1; i < 5; i++ {
			d := time.Second << (i - 1)
			if got := times[i] - times[i-1]; got < d/2 || got > d {
				t.Errorf("attempt %d came %v after the last, want %v to %v", i+1, got, d/2, d)
			}
		}
		var dead []pipeline.DeadTask
		for d, err := range p.Dead(t.Context(), "a") {
			if err != nil {
				t.Fatal(err)
			}
			dead = append(dead, d)
		}
		want := []pipeline.DeadTask{{
			Task:     pipeline.Task{Job: "a", Body: []byte("body 0")},
			Attempts: 5, Cause: "failure 5", Time: began.Add(times[4]),
		}}
		if diff := cmp.Diff(want, dead); diff != "" {
			t.Errorf("dead (-want +got):\n%s", diff)
		}
	})
}

func TestRetryDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, twice := range []bool{false, true} {
			var q queue.Queue = small()
			if twice {
				q = queuetest.Twice(q)
			}
			p := pipeline.New(memkv.New(), q, nil)
			var mu sync.Mutex
			broken := true
			stop := work(t, p, func(ctx context.Context, task pipeline.Task) error {
				mu.Lock()
				defer mu.Unlock()
				if broken && task.ID%3 == 0 {
					return pipeline.Permanent(errors.New("broken"))
				}
				pipeline.Count(ctx, "n", 1)
				return nil
			})
			submit(t, p, "a", 9)
			submit(t, p, "b", 3)
			wantStatus(t, p, done("a", 9, 3, 0, map[string]int64{"n": 6}))
			wantStatus(t, p, done("b", 3, 1, 0, map[string]int64{"n": 2}))
			retry := func(id string, want int) {
				t.Helper()
				if n, err := p.Retry(t.Context(), id); n != want || err != nil {
					t.Errorf("Retry = %d, %v, want %d", n, err, want)
				}
			}
			retry("a", 3)
			wantStatus(t, p, done("a", 9, 3, 3, map[string]int64{"n": 6}))
			mu.Lock()
			broken = false
			mu.Unlock()
			retry("", 4)
			wantStatus(t, p, done("a", 9, 0, 6, map[string]int64{"n": 9}))
			wantStatus(t, p, done("b", 3, 0, 1, map[string]int64{"n": 3}))
			retry("", 0)
			stop()
		}
	})
}

func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var panics []*pipeline.Panic
		o := &pipeline.Options{Attempts: 2, Trace: pipeline.Trace{Failed: func(_ pipeline.Task, _ int, _ bool, err error) {
			if p, ok := errors.AsType[*pipeline.Panic](err); ok {
				panics = append(panics, p)
			}
		}}}
		p := pipeline.New(memkv.New(), small(), o)
		work(t, p, func(ctx context.Context, task pipeline.Task) error { panic("at the disco") })
		submit(t, p, "a", 1)
		wantStatus(t, p, done("a", 1, 1, 1, nil))
		if len(panics) != 2 || panics[0].Value != "at the disco" || !strings.Contains(string(panics[0].Stack), "TestPanic") {
			t.Errorf("panics %v", panics)
		}
	})
}

func TestSubmitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(memkv.New(), small(), nil)
		submit(t, p, "a", 100)
		submit(t, p, "a", 5) // nobody worked: all of the first run is stale
		r := newRuns()
		work(t, p, func(ctx context.Context, task pipeline.Task) error {
			r.ran(task)
			return nil
		})
		wantStatus(t, p, done("a", 5, 0, 0, nil))
		submit(t, p, "a", 3)
		wantStatus(t, p, done("a", 3, 0, 0, nil))
		if got := r.total(); got != 8 {
			t.Errorf("%d tasks ran, want 8", got)
		}
		if err := p.Forget(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if _, err := p.Status(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Status after Forget: %v, want fs.ErrNotExist", err)
		}
	})
}

// TestReplaced submits a job while it is being submitted.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		p := pipeline.New(store, small(), nil)
		work(t, p, func(context.Context, pipeline.Task) error { return nil })
		var slow iter.Seq2[[]byte, error] = func(yield func([]byte, error) bool) {
			for yield([]byte("slow"), nil) {
				time.Sleep(time.Second)
			}
		}
		first := make(chan error)
		go func() { first <- p.Submit(t.Context(), pipeline.Job{ID: "a"}, slow) }()
		time.Sleep(5500 * time.Millisecond)
		s, err := p.Status(t.Context(), "a")
		if err != nil || s.State != pipeline.StateListing || s.Tasks < 4 || time.Since(s.Updated) > time.Second {
			t.Errorf("while it is listed: %+v, %v", s, err)
		}
		submit(t, p, "a", 2)
		if err := <-first; !errors.Is(err, pipeline.ErrReplaced) {
			t.Errorf("Submit = %v, want ErrReplaced", err)
		}
		wantStatus(t, p, done("a", 2, 0, 0, nil))
	})
}

func TestListingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(memkv.New(), small(), nil)
		work(t, p, func(context.Context, pipeline.Task) error { return nil })
		broken := errors.New("no more")
		for _, test := range []struct {
			id   string
			last []byte
			err  error
			want error
		}{
			{"a", nil, broken, broken},
			{"b", make([]byte, pipeline.MaxBody+1), nil, fs.ErrInvalid},
		} {
			err := p.Submit(t.Context(), pipeline.Job{ID: test.id}, func(yield func([]byte, error) bool) {
				_ = yield(make([]byte, pipeline.MaxBody), nil) && yield(test.last, test.err)
			})
			if !errors.Is(err, test.want) {
				t.Errorf("Submit = %v, want %v", err, test.want)
			}
			s, err := p.Wait(t.Context(), test.id)
			if err != nil || s.State != pipeline.StateFailed || s.Tasks != 1 || s.Cause == "" {
				t.Errorf("%+v, %v", s, err)
			}
		}
		for _, id := range []string{"", "a\x00", "a\n", "\xff", strings.Repeat("a", 256)} {
			if err := p.Submit(t.Context(), pipeline.Job{ID: id}, bodies(1)); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("Submit of id %q: %v, want fs.ErrInvalid", id, err)
			}
		}
	})
}

// TestEnd cuts workers off while their handlers run: what was done counts, the rest
// is released at once and without a failure.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(memkv.New(), small(), &pipeline.Options{Concurrency: 2})
		stop := work(t, p, func(ctx context.Context, task pipeline.Task) error {
			<-ctx.Done()
			if task.ID == 0 {
				return nil
			}
			return ctx.Err()
		})
		submit(t, p, "a", 2)
		synctest.Wait()
		stop()
		began := time.Now()
		work(t, p, func(context.Context, pipeline.Task) error { return nil })
		wantStatus(t, p, done("a", 2, 0, 0, nil))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the tasks came again after %v", took)
		}
	})
}

// TestSlow has a handler that takes several terms, and others who wait for its task.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, q, r := memkv.New(), small(), newRuns()
		for range 2 {
			work(t, pipeline.New(store, q, nil), func(_ context.Context, task pipeline.Task) error {
				r.ran(task)
				time.Sleep(time.Minute)
				return nil
			})
		}
		p := pipeline.New(store, q, nil)
		submit(t, p, "a", 3)
		wantStatus(t, p, done("a", 3, 0, 0, nil))
		if got := r.total(); got != 3 {
			t.Errorf("%d runs of 3 tasks", got)
		}
	})
}

func TestNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped []string
		q := small()
		p := pipeline.New(memkv.New(), q, &pipeline.Options{Concurrency: 1, Trace: pipeline.Trace{
			Dropped: func(why string) { dropped = append(dropped, why) },
		}})
		for _, body := range []string{"", "noise", "\x01"} {
			if err := q.Send(t.Context(), []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		submit(t, p, "gone", 1)
		if err := p.Forget(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		work(t, p, func(context.Context, pipeline.Task) error { return nil })
		synctest.Wait()
		if len(dropped) != 4 {
			t.Errorf("dropped %q, want 4 messages", dropped)
		}
	})
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(memkv.New(), small(), nil)
		work(t, p, func(ctx context.Context, task pipeline.Task) error {
			pipeline.Count(ctx, "bytes", int64(task.ID))
			pipeline.Count(ctx, "bytes", 10)
			if task.ID == 4 {
				pipeline.Count(ctx, strings.Repeat("x", 65), 1)
			}
			return nil
		})
		submit(t, p, "a", 5)
		wantStatus(t, p, done("a", 5, 1, 0, map[string]int64{"bytes": 46}))
		pipeline.Count(t.Context(), "nothing", 1)
		for s, err := range p.Jobs(t.Context()) {
			if err != nil || s.Job.ID != "a" || s.Dead != 1 {
				t.Errorf("%+v, %v", s, err)
			}
		}
	})
}
