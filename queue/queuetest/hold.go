package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/queue"
)

// testExclusive lets many receive and extend: no message has two receivers at a time.
func testExclusive(t *testing.T, q queue.Queue) {
	const messages, receivers = 40, 8
	for i := range messages {
		send(t, q, fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	held, runs, left := map[string]bool{}, map[string]int{}, messages
	begin := func(body string) (release bool) {
		mu.Lock()
		defer mu.Unlock()
		if held[body] {
			t.Errorf("%s has two receivers", body)
		}
		held[body] = true
		runs[body]++
		return runs[body] == 1
	}
	end := func(body string, done bool) {
		mu.Lock()
		defer mu.Unlock()
		held[body] = false
		if done {
			if left--; left == 0 {
				cancel()
			}
		}
	}
	var all sync.WaitGroup
	for i := range receivers {
		all.Go(func() {
			for {
				m, err := q.Receive(ctx)
				if err != nil {
					return
				}
				first := begin(string(m.Body))
				hold(ctx, t, m, i)
				end(string(m.Body), !first)
				if first {
					err = m.Release(context.WithoutCancel(ctx), 0)
				} else {
					err = m.Done(context.WithoutCancel(ctx))
				}
				if err != nil {
					t.Errorf("end %s: %v", m.Body, err)
				}
			}
		})
	}
	all.Wait()
	if left != 0 {
		t.Errorf("%d messages were not done", left)
	}
}

// hold keeps m beyond its term if i is 0, and a moment otherwise.
func hold(ctx context.Context, t *testing.T, m queue.Message, i int) {
	d := m.Term / 100
	if i == 0 {
		d = m.Term + m.Term/4
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	extend(ctx, t, m)
}

func testWait(t *testing.T, q queue.Queue) {
	got := make(chan queue.Message)
	go func() {
		m, err := q.Receive(t.Context())
		if err != nil {
			t.Errorf("Receive: %v", err)
		}
		got <- m
	}()
	select {
	case m := <-got:
		t.Fatalf("received %q of an empty queue", m.Body)
	case <-time.After(300 * time.Millisecond):
	}
	send(t, q, "a")
	m := <-got
	wantBody(t, m, "a")
	if m.Lease != nil {
		done(t, m)
	}
}

func testCancel(t *testing.T, q queue.Queue) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for range 3 {
		go func() {
			_, err := q.Receive(ctx)
			ended <- err
		}()
	}
	cancel()
	for range 3 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Receive = %v, want context.Canceled", err)
		}
	}
	if _, err := q.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive = %v, want context.Canceled", err)
	}
	if err := q.Send(ctx, []byte("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("Send = %v, want context.Canceled", err)
	}
}

// testCancelLosesNothing gives up waiting at the time when messages come.
func testCancelLosesNothing(t *testing.T, q queue.Queue) {
	got := map[string]bool{}
	const n = 20
	for i := range n {
		body := fmt.Sprint(i)
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan error, 1)
		go func() {
			sent <- q.Send(t.Context(), []byte(body))
			cancel()
		}()
		m, err := q.Receive(ctx)
		if err == nil {
			got[string(m.Body)] = true
			done(t, m)
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("Receive: %v", err)
		}
		if err := <-sent; err != nil {
			t.Fatalf("Send: %v", err)
		}
	}
	for len(got) < n {
		m := receive(t, q)
		if got[string(m.Body)] {
			t.Errorf("%q came again after it was done", m.Body)
		}
		got[string(m.Body)] = true
		done(t, m)
	}
}

func testAliasing(t *testing.T, q queue.Queue) {
	body := []byte("a")
	if err := q.Send(t.Context(), body); err != nil {
		t.Fatalf("Send: %v", err)
	}
	body[0] = 'x'
	m := receive(t, q)
	wantBody(t, m, "a")
	m.Body[0] = 'y'
	if err := m.Release(t.Context(), 0); err != nil {
		t.Errorf("Release: %v", err)
	}
	m = receive(t, q)
	if !bytes.Equal(m.Body, []byte("a")) {
		t.Errorf("received %q after the receiver changed its copy", m.Body)
	}
	done(t, m)
}
