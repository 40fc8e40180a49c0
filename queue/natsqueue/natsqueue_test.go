package natsqueue_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/queue"
	"github.com/hashstream/hashstream/queue/natsqueue"
	"github.com/hashstream/hashstream/queue/queuetest"
)

// open opens a queue of the test's own on the server.
func open(t *testing.T, server, query string) *natsqueue.Queue {
	t.Helper()
	q, err := natsqueue.Open(t.Context(), server+"/test-"+rand.Text()+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func TestQueue(t *testing.T) {
	server := servertest.URL(t, "nats")
	queuetest.Run(t, func(t *testing.T) queue.Queue { return open(t, server, "term=2s") })
}

func TestRestart(t *testing.T) {
	server := servertest.Start(t, "nats")
	q := open(t, server.URL, "term=2s")
	queuetest.Restart(t, q, server.Kill, server.Run)
	queuetest.Restart(t, q, server.Stop, server.Run)
}

// TestShared opens one stream twice, as two machines do.
func TestShared(t *testing.T) {
	u := servertest.URL(t, "nats") + "/test-" + rand.Text() + "?subject=tasks." + rand.Text()
	var queues []*natsqueue.Queue
	for range 2 {
		q, err := natsqueue.Open(t.Context(), u, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		queues = append(queues, q)
	}
	if err := queues[0].Send(t.Context(), []byte("a")); err != nil {
		t.Fatal(err)
	}
	m, err := queues[1].Receive(t.Context())
	if err != nil || string(m.Body) != "a" || m.Term != 30*time.Second {
		t.Fatalf("Receive = %q for %v, %v", m.Body, m.Term, err)
	}
	for range 2 {
		if err := m.Done(t.Context()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Done: %v", err)
		}
	}
}

func TestPatience(t *testing.T) {
	server := servertest.Start(t, "nats")
	q, err := natsqueue.Open(t.Context(), server.URL+"/a", &natsqueue.Options{Patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	server.Stop()
	began := time.Now()
	if err := q.Send(t.Context(), nil); err == nil {
		t.Error("Send without a server succeeds")
	}
	if _, err := q.Receive(t.Context()); err == nil {
		t.Error("Receive without a server succeeds")
	}
	if took := time.Since(began); took < 2*time.Second || took > 30*time.Second {
		t.Errorf("took %v to give up twice, with a patience of 1s", took)
	}
}

func TestOpenFails(t *testing.T) {
	server := servertest.URL(t, "nats")
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	wrong := *u
	wrong.User = url.UserPassword(u.User.Username(), "wrong-"+password)
	nobody := *u
	nobody.Host = "127.0.0.1:1"
	for _, test := range []struct {
		name, url string
		invalid   bool
	}{
		{"password", wrong.String() + "/a", false},
		{"server", nobody.String() + "/a", false},
		{"no stream", server, true},
		{"bad stream", server + "/a.b", true},
		{"unknown parameter", server + "/a?terms=2s", true},
		{"short term", server + "/a?term=1ms", true},
		{"bad term", server + "/a?term=" + password, true},
		{"malformed", server + "\x7f/a", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, err := natsqueue.Open(t.Context(), test.url, &natsqueue.Options{Patience: time.Second})
			if err == nil {
				q.Close()
				t.Fatal("opens")
			}
			if errors.Is(err, fs.ErrInvalid) != test.invalid {
				t.Errorf("%v: is fs.ErrInvalid: %v", err, !test.invalid)
			}
			if strings.Contains(err.Error(), password) {
				t.Errorf("%v: tells the password", err)
			}
		})
	}
}

func Example() {
	ctx := context.Background()
	q, err := natsqueue.Open(ctx, "nats://127.0.0.1:1/tasks?term=1m", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()
	if err := q.Send(ctx, []byte("hello")); err != nil {
		fmt.Println(err)
	}
	// Output:
	// natsqueue: open stream tasks: nats: no servers available for connection
}
