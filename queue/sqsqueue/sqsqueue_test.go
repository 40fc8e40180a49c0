package sqsqueue_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/queue"
	"github.com/hashstream/hashstream/queue/queuetest"
	"github.com/hashstream/hashstream/queue/sqsqueue"
)

// open opens a queue of the test's own on the server.
func open(t *testing.T, server string) *sqsqueue.Queue {
	t.Helper()
	u := server + "/test-" + rand.Text() + "?scheme=http&region=us-east-1&term=2s&create=true"
	q, err := sqsqueue.Open(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQueue(t *testing.T) {
	server := servertest.URL(t, "sqs")
	// goaws crashes if a queue is created while others are used.
	var mu sync.Mutex
	var queues []queue.Queue
	for range queuetest.Cases() {
		queues = append(queues, open(t, server))
	}
	queuetest.Run(t, func(t *testing.T) queue.Queue {
		mu.Lock()
		defer mu.Unlock()
		q := queues[0]
		queues = queues[1:]
		return q
	})
}

// TestRestart has a server away for a while. It keeps nothing, so what was sent
// before is not asked for.
func TestRestart(t *testing.T) {
	server := servertest.Start(t, "sqs")
	q, err := sqsqueue.Open(t.Context(), server.URL+"/ready?scheme=http&region=us-east-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Send(t.Context(), []byte("before")); err != nil {
		t.Fatal(err)
	}
	before, err := q.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	sent := make(chan error)
	go func() { sent <- q.Send(t.Context(), []byte("a")) }()
	server.Run()
	m, err := q.Receive(t.Context())
	if err != nil || string(m.Body) != "a" {
		t.Fatalf("Receive = %q, %v", m.Body, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err := m.Done(t.Context()); err != nil {
		t.Error(err)
	}
	if err := before.Extend(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Extend of a message that is gone: %v, want fs.ErrNotExist", err)
	}
}

func TestPatience(t *testing.T) {
	u := "sqs://id:a9Wq3SqsSecret@127.0.0.1:1/1/a?scheme=http&region=us-east-1"
	q, err := sqsqueue.Open(t.Context(), u, &sqsqueue.Options{Patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = q.Send(t.Context(), nil)
	if took := time.Since(began); err == nil || took < time.Second {
		t.Errorf("Send = %v after %v, with a patience of 1s", err, took)
	}
	if strings.Contains(err.Error(), "a9Wq3SqsSecret") {
		t.Errorf("%v: tells the secret", err)
	}
}

func TestNoQueue(t *testing.T) {
	server := servertest.URL(t, "sqs")
	q, err := sqsqueue.Open(t.Context(), server+"/absent?scheme=http&region=us-east-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Send(t.Context(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Send: %v, want fs.ErrNotExist", err)
	}
	if _, err := q.Receive(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Receive: %v, want fs.ErrNotExist", err)
	}
}

func TestMalformed(t *testing.T) {
	const secret = "a9Wq3SqsSecret"
	for _, rest := range []string{
		"host/queue", "host/account/queue/more", "host", "/account/queue", "host\x7f/account/queue",
		"host/account/queue?terms=2s", "host/account/queue?region=x&term=1500ms", "host/account/queue?region=x&term=13h",
		"host/account/queue?region=x&term=" + secret, "host/account/queue?region=x&scheme=" + secret, "host/account/queue?region=x&create=1",
	} {
		_, err := sqsqueue.Open(t.Context(), "sqs://id:"+secret+"@"+rest, nil)
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Open(%q): %v, want fs.ErrInvalid", rest, err)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%v: tells the secret", err)
		}
	}
}

func Example() {
	_, err := sqsqueue.Open(context.Background(), "sqs://sqs.eu-west-1.amazonaws.com/tasks", nil)
	fmt.Println(err)
	// Output:
	// sqsqueue: open: want HOST/ACCOUNT/QUEUE in the URL: invalid argument
}
