package pgkv_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

// cutter passes everything between a store and its server, until it sees a word.
type cutter struct {
	net.Listener
	server string

	mu     sync.Mutex
	word   []byte // of a request; nil when it has been seen
	before bool   // cut before the server gets the request, or else after it has answered
	cuts   int
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cutter{Listener: l, server: server}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(client)
		}
	}()
	return c
}

func (c *cutter) arm(word string, before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.word, c.before = []byte(word), before
}

// hit reports whether a request is to be cut, and disarms.
func (c *cutter) hit(request []byte) (cut, before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.word == nil || !bytes.Contains(request, c.word) {
		return false, false
	}
	c.word = nil
	c.cuts++
	return true, c.before
}

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	cut := make(chan struct{})
	var once sync.Once
	go func() { // answers, of which the one after the cut is dropped
		defer client.Close()
		buf := make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			select {
			case <-cut:
				return
			default:
			}
			if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		hit, before := c.hit(buf[:n])
		if hit {
			once.Do(func() { close(cut) })
		}
		if hit && before {
			return
		}
		if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		if hit {
			io.Copy(io.Discard, client) // until the other direction has seen the answer
			return
		}
	}
}

// TestCut breaks the connection at each kind of request, before the server gets it
// and after it has answered.
func TestCut(t *testing.T) {
	address := own(t, "default_query_exec_mode", "exec") // requests hold the text of the statement
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c := newCutter(t, u.Host)
	u.Host = c.Addr().String()
	s := open(t, u.String(), nil)
	key := []byte("k")
	set := func(v uint64) []kv.Op { return []kv.Op{kv.Put(key, number(v)), kv.Delete([]byte("other"))} }
	setTo := func(v uint64) func([]byte) ([]byte, error) {
		return func([]byte) ([]byte, error) { return number(v), nil }
	}
	remove := func([]byte) ([]byte, error) { return nil, nil }
	for _, test := range []struct {
		name, word string
		old        []kv.Op
		call       func() error
		after      error  // if the server has answered
		want       string // afterwards
	}{
		{"batch", "INSERT", set(1), func() error { return s.Batch(t.Context(), set(5)) }, nil, string(number(5))},
		{"increment", "UPDATE", set(1), func() error { return s.Update(t.Context(), key, increment) }, pgkv.ErrUnknown, string(number(2))},
		{"set", "UPDATE", set(1), func() error { return s.Update(t.Context(), key, setTo(7)) }, nil, string(number(7))},
		{"insert", "INSERT", []kv.Op{kv.Delete(key)}, func() error { return s.Update(t.Context(), key, increment) }, pgkv.ErrUnknown, string(number(1))},
		{"remove", "DELETE", set(1), func() error { return s.Update(t.Context(), key, remove) }, nil, ""},
		{"get", "SELECT value", set(1), func() error { _, err := s.Get(t.Context(), key); return err }, nil, string(number(1))},
		{"scan", "SELECT key", set(1), func() (err error) {
			for _, err = range s.Scan(t.Context(), kv.Prefix(key)) {
			}
			return err
		}, nil, string(number(1))},
	} {
		for _, before := range []bool{true, false} {
			if err := s.Batch(t.Context(), test.old); err != nil {
				t.Fatal(err)
			}
			c.arm(test.word, before)
			cuts := c.cuts
			want := test.after
			if before {
				want = nil
			}
			if err := test.call(); !errors.Is(err, want) {
				t.Errorf("%s, cut before it %v: %v, want %v", test.name, before, err, want)
			}
			if c.cuts != cuts+1 {
				t.Errorf("%s, cut before it %v: not cut", test.name, before)
			}
			if v, _ := s.Get(t.Context(), key); string(v) != test.want {
				t.Errorf("%s, cut before it %v: the value is %x, want %x", test.name, before, v, test.want)
			}
		}
	}
}
