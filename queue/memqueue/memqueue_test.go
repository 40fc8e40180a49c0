package memqueue_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/queue/memqueue"
	"github.com/hashstream/hashstream/queue/queuetest"
)

func TestQueue(t *testing.T) {
	for _, c := range queuetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.Test(t, memqueue.New(&memqueue.Options{Bound: -1, Term: 10 * time.Second}))
			})
		})
	}
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := memqueue.New(&memqueue.Options{Bound: 2})
		sent := 0
		go func() {
			for sent < 4 && q.Send(t.Context(), []byte("a")) == nil {
				sent++
			}
		}()
		want := func(n int) {
			t.Helper()
			if synctest.Wait(); sent != n {
				t.Errorf("%d are sent, want %d", sent, n)
			}
		}
		want(2)
		m, err := q.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want(3)
		if err := m.Release(t.Context(), 0); err != nil { // never blocks
			t.Error(err)
		}
		want(3)
		for range 4 {
			if _, err := q.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want(4)
	})
}

func TestSendUntilCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := memqueue.New(&memqueue.Options{Bound: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first, second := q.Send(ctx, nil), q.Send(ctx, nil)
		if first != nil || !errors.Is(second, context.DeadlineExceeded) {
			t.Errorf("Send = %v, then %v, want to wait until the deadline", first, second)
		}
	})
}

func TestAfterTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := memqueue.New(&memqueue.Options{Term: time.Second})
		if err := q.Send(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		m, err := q.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		for name, err := range map[string]error{
			"Done": m.Done(t.Context()), "Release": m.Release(t.Context(), 0), "Extend": m.Extend(t.Context()),
		} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s = %v, want fs.ErrNotExist", name, err)
			}
		}
	})
}

func Example() {
	ctx := context.Background()
	q := memqueue.New(nil)
	fmt.Println(q.Send(ctx, []byte("hello")))
	m, err := q.Receive(ctx)
	fmt.Printf("%s %v %v\n", m.Body, m.Term, err)
	fmt.Println(m.Done(ctx))
	// Output:
	// <nil>
	// hello 30s <nil>
	// <nil>
}
