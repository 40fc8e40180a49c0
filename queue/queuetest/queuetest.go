// Package queuetest is the suite that every queue passes, and [Twice], which makes
// of a queue one that delivers everything more than once.
//
//	func TestQueue(t *testing.T) {
//		queuetest.Run(t, func(t *testing.T) queue.Queue { return open(t) })
//	}
//
// Third parties run it on their queues.
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/queue"
)

// Case is one test of the suite.
type Case struct {
	Name string
	Test func(t *testing.T, q queue.Queue) // q is empty, and the test's own
}

// Cases returns the tests of the suite, for those who run them on a clock of their own.
func Cases() []Case {
	return []Case{
		{"Deliver", testDeliver},
		{"Bodies", testBodies},
		{"Release", testRelease},
		{"ReleaseLater", testReleaseLater},
		{"Expire", testExpire},
		{"Extend", testExtend},
		{"Exclusive", testExclusive},
		{"Wait", testWait},
		{"Cancel", testCancel},
		{"CancelLosesNothing", testCancelLosesNothing},
		{"Aliasing", testAliasing},
	}
}

// Run tests a queue. Each call of open returns an empty queue of its own, without a
// bound on what waits, which open closes by t.Cleanup. The term of its messages
// should be short, but not below 2 s, as the tests take several of them. They run in parallel.
func Run(t *testing.T, open func(t *testing.T) queue.Queue) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Test(t, open(t))
		})
	}
}

// Restart tests that q outlives an end of its server, which stop brings about and
// start takes back, and that nothing is lost that the server keeps on its disk.
func Restart(t *testing.T, q queue.Queue, stop, start func()) {
	t.Helper()
	send(t, q, "a", "b")
	held := receive(t, q)
	stop()
	results := make(chan error, 2)
	got := make(chan queue.Message, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { results <- q.Send(ctx, []byte("c")) }()
	go func() {
		m, err := q.Receive(ctx)
		got <- m
		results <- err
	}()
	start()
	for range 2 {
		if err := <-results; err != nil {
			t.Fatalf("beside a restart: %v", err)
		}
	}
	first := <-got
	want := map[string]int{"a": 1, "b": 1, "c": 1}
	want[string(first.Body)]--
	done(t, first)
	if string(first.Body) == string(held.Body) {
		held.Lease = nil // it came again
	} else {
		want[string(held.Body)]--
		done(t, held)
	}
	for range 2 {
		if want["a"]+want["b"]+want["c"] == 0 {
			break
		}
		m := receive(t, q)
		want[string(m.Body)]--
		done(t, m)
	}
	for body, n := range want {
		if n != 0 {
			t.Errorf("%q is missing %d times", body, n)
		}
	}
	wantNone(t, q, first.Term+first.Term/2)
}

// patience is how long a test waits for what must come.
const patience = time.Minute

func send(t *testing.T, q queue.Queue, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if err := q.Send(t.Context(), []byte(body)); err != nil {
			t.Fatalf("Send: %v", err)
		}
	}
}

func receive(t *testing.T, q queue.Queue) queue.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := q.Receive(ctx)
	if err != nil {
		t.Fatalf("Receive: %v", err)
	}
	return m
}

func done(t *testing.T, m queue.Message) {
	t.Helper()
	if err := m.Done(t.Context()); err != nil {
		t.Errorf("Done: %v", err)
	}
}

func wantBody(t *testing.T, m queue.Message, want string) {
	t.Helper()
	if string(m.Body) != want {
		t.Errorf("received %.40q (%d bytes), want %.40q (%d bytes)", m.Body, len(m.Body), want, len(want))
	}
}

// wantNone fails if a message comes within d.
func wantNone(t *testing.T, q queue.Queue, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if m, err := q.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Receive = %.40q, %v, want nothing until the deadline", m.Body, err)
	}
}

func testDeliver(t *testing.T, q queue.Queue) {
	want := map[string]bool{}
	for i := range 20 {
		want[fmt.Sprint("body ", i)] = true
	}
	for body := range want {
		send(t, q, body)
	}
	var term time.Duration
	for len(want) > 0 {
		m := receive(t, q)
		if !want[string(m.Body)] {
			t.Errorf("received %q, which was not sent or came before", m.Body)
		}
		delete(want, string(m.Body))
		done(t, m)
		term = m.Term
	}
	if term <= 0 {
		t.Errorf("Term = %v", term)
	}
	wantNone(t, q, term+term/2)
}

func testBodies(t *testing.T, q queue.Queue) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	large := make([]byte, queue.MaxBody)
	rand.NewChaCha8([32]byte{1}).Read(large)
	for _, body := range []string{"", "\x00", string(all), "<xml>&\r\n", "\xff\xfe", string(large)} {
		send(t, q, body)
		m := receive(t, q)
		wantBody(t, m, body)
		done(t, m)
	}
	if err := q.Send(t.Context(), make([]byte, queue.MaxBody+1)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Send of too much: %v, want fs.ErrInvalid", err)
	}
	wantNone(t, q, 100*time.Millisecond)
}

func testRelease(t *testing.T, q queue.Queue) {
	send(t, q, "a")
	for range 5 {
		m := receive(t, q)
		wantBody(t, m, "a")
		if err := m.Release(t.Context(), 0); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	done(t, receive(t, q))
	wantNone(t, q, time.Second)
}

func testReleaseLater(t *testing.T, q queue.Queue) {
	send(t, q, "a")
	m := receive(t, q)
	began := time.Now()
	later := m.Term + m.Term/2 // longer than a term
	if err := m.Release(t.Context(), later); err != nil {
		t.Errorf("Release: %v", err)
	}
	m = receive(t, q)
	if took := time.Since(began); took < later-later/10 {
		t.Errorf("came back after %v, want %v", took, later)
	}
	wantBody(t, m, "a")
	done(t, m)
}

func testExpire(t *testing.T, q queue.Queue) {
	send(t, q, "a")
	lost := receive(t, q)
	began := time.Now()
	m := receive(t, q)
	if took := time.Since(began); took < lost.Term-lost.Term/10 {
		t.Errorf("came back after %v, want %v", took, lost.Term)
	}
	wantBody(t, m, "a")
	// Whoever lost it may say what he likes, if the queue cannot tell; but it must
	// be an error of the promised kind if it can.
	if err := lost.Extend(t.Context()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Extend after the term: %v, want nil or fs.ErrNotExist", err)
	}
	done(t, m)
	wantNone(t, q, m.Term+m.Term/2)
}

func testExtend(t *testing.T, q queue.Queue) {
	send(t, q, "a")
	m := receive(t, q)
	ctx, cancel := context.WithTimeout(t.Context(), 3*m.Term)
	defer cancel()
	var extending sync.WaitGroup
	extending.Go(func() { extend(ctx, t, m) })
	if other, err := q.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Receive = %q, %v while the message is extended", other.Body, err)
	}
	extending.Wait()
	m = receive(t, q) // an extended term ends, too
	wantBody(t, m, "a")
	done(t, m)
	wantNone(t, q, m.Term+m.Term/2)
}

// extend extends m until ctx ends.
func extend(ctx context.Context, t *testing.T, m queue.Message) {
	tick := time.NewTicker(m.Term / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := m.Extend(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("Extend: %v", err)
				return
			}
		}
	}
}
