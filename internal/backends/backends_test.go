package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/kv"
)

func Example() {
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(home)
	ctx := context.Background()
	index, err := OpenIndex(ctx, config.Default(home), nil)
	if err != nil {
		panic(err)
	}
	defer index.Close()
	err = index.Batch(ctx, []kv.Op{kv.Put([]byte("k"), []byte("v"))})
	fmt.Println(index.Node == nil, err)

	_, _, err = Store(ctx, home, "ftp://example.com/", nil)
	fmt.Println(err)
	// Output:
	// true <nil>
	// backends: packs: unknown scheme "ftp", known are azblob, file, gs, http, https, js+s3, mem, s3: invalid argument
}

func TestPaths(t *testing.T) {
	home := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ home, url, where, name string }{
		{home, "pebble:index", home + "/index", "pebble://" + home + "/index"},
		{home, "pebble:./a/../index", home + "/index", "pebble://" + home + "/index"},
		{home, "pebble:/index-absent", "/index-absent", "pebble:///index-absent"},
		{home, "pebble:///x-absent/y/", "/x-absent/y", "pebble:///x-absent/y"},
		{home, "pebble:a%20b%3Fc", home + "/a b?c", "pebble://" + home + "/a%20b%3Fc"},
		{link, "pebble:index/deep", link + "/index/deep", "pebble://" + home + "/index/deep"},
		{home, "mem:", "", "mem:"},
		{home, "mem://", "", "mem:"},
	} {
		_, p, err := find(kvs(), "index", tt.home, tt.url)
		if err != nil || p != (place{tt.where, tt.name}) {
			t.Errorf("%s: %+v, %v", tt.url, p, err)
		}
	}
}

func TestBadURLs(t *testing.T) {
	for u, want := range map[string]string{
		"mysql://u:hunter2@h/db": "known are mem, pebble, postgres",
		"index":                  `unknown scheme ""`,
		"pebble://index":         "write pebble:PATH",
		"pebble:":                "the path is missing",
		"pebble:a?b=c":           "takes no ?",
		"pebble:a%00b":           "zero byte",
		"mem:x":                  "memory has no path",
		"pebble://u:hunter2@h/p": "write pebble:PATH",
		"://hunter2":             "not a URL",
	} {
		c := config.Default(t.TempDir())
		c.Store.Index = u
		err := Check(c)
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", u, err, want)
		}
		if _, err := OpenIndex(t.Context(), c, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s opens: %v", u, err)
		}
	}
	if err := Check(config.Default("/h")); err != nil {
		t.Errorf("the default: %v", err)
	}
}

func TestStores(t *testing.T) {
	home := t.TempDir()
	for _, u := range []string{"file:packs", "mem:"} {
		s, closer, err := Store(t.Context(), home, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := s.(blob.Drafter); !ok {
			t.Errorf("%s has no drafts", u)
		}
		if err := s.Put(t.Context(), "k", strings.NewReader("v")); err != nil {
			t.Error(err)
		}
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "packs")); err != nil {
		t.Error(err)
	}
	if _, _, err := Store(t.Context(), home, "https://u:hunter2@h/p", nil); !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("writing to a web server: %v", err)
	}
	if _, closer, err := Getter(t.Context(), home, "http://h/p", nil); err != nil || closer.Close() != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(home, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := KV(t.Context(), home, "pebble:file/index", nil); err == nil || !strings.Contains(err.Error(), "backends: index pebble://") {
		t.Errorf("below a file: %v", err)
	}
}

// node opens the index as a node does and serves it on the control socket.
func node(t *testing.T, c config.Config) (stop func()) {
	t.Helper()
	index, err := OpenIndex(t.Context(), c, &IndexOptions{Own: true})
	if err != nil {
		t.Fatal(err)
	}
	name, err := IndexName(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(c.Home)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	server := control.NewServer(index, &control.Options{Status: func() control.Status { return control.Status{Index: name, PID: os.Getpid()} }})
	wg.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := index.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func put(t *testing.T, c config.Config, key string, viaNode bool) {
	t.Helper()
	x, err := OpenIndex(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if (x.Node != nil) != viaNode {
		t.Errorf("%s: via node %t, want %t", key, x.Node != nil, viaNode)
	}
	if err := x.Batch(t.Context(), []kv.Op{kv.Put([]byte(key), nil)}); err != nil {
		t.Error(err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

// TestWithAndWithoutNode writes before, during and after a node's life, and reads all of it.
func TestWithAndWithoutNode(t *testing.T) {
	c := config.Default(t.TempDir())
	put(t, c, "before", false)
	stop := node(t, c)
	put(t, c, "during", true)
	stop()
	put(t, c, "after", false)
	x, err := OpenIndex(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var keys []string
	for pair, err := range x.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(pair.Key))
	}
	if got := strings.Join(keys, " "); got != "after before during" {
		t.Errorf("keys %s", got)
	}
}

func TestSecondNode(t *testing.T) {
	c := config.Default(t.TempDir())
	node(t, c)
	_, err := OpenIndex(t.Context(), c, &IndexOptions{Own: true})
	if want := fmt.Sprintf("process %d", os.Getpid()); !errors.Is(err, control.ErrRunning) || !strings.Contains(err.Error(), want) {
		t.Errorf("second node: %v", err)
	}
}

// TestOtherIndex: a command that means another index than the node's opens it itself.
func TestOtherIndex(t *testing.T) {
	c := config.Default(t.TempDir())
	node(t, c)
	c.Store.Index = "pebble:other"
	put(t, c, "k", false)
}

// TestWait: a command that finds the index in use waits until it is free, or until
// a node answers, and says for whom.
func TestWait(t *testing.T) {
	c := config.Default(t.TempDir())
	first, err := OpenIndex(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("in use by process %d", os.Getpid())
	if _, err := OpenIndex(t.Context(), c, &IndexOptions{Wait: -1}); !errors.Is(err, ErrLocked) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("without waiting: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := OpenIndex(ctx, c, &IndexOptions{Notify: func(string) { cancel() }}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	var messages []string
	second, err := OpenIndex(t.Context(), c, &IndexOptions{Wait: 20 * time.Second, Notify: func(m string) {
		messages = append(messages, m)
		time.AfterFunc(100*time.Millisecond, func() { _ = first.Close() })
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != 1 || !strings.HasSuffix(messages[0], want) {
		t.Errorf("messages %q, want one that ends in %q", messages, want)
	}
	_ = first.Close() // again: must not take the second's name away
	if _, err := OpenIndex(t.Context(), c, &IndexOptions{Wait: -1}); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("the second is not named: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(c.Home, "index.pid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pid file is left: %v", err)
	}
}

// TestMemIndex: memory that a node holds is reached through it.
func TestMemIndex(t *testing.T) {
	c := config.Default(t.TempDir())
	c.Store.Index = "mem:"
	put(t, c, "k", false)
	node(t, c)
	put(t, c, "k", true)
}

var _ io.Closer = (*Index)(nil)

// TestNameIsStable: the canonical name leads to the same place from anywhere.
func TestNameIsStable(t *testing.T) {
	for _, u := range []string{"pebble:index", "pebble:a%20b%25c", "pebble:///x/../y", "pebble:/a;b", "pebble:é", "pebble:..", "mem:"} {
		_, p, err := find(kvs(), "index", "/home-absent", u)
		if err != nil {
			t.Errorf("%s: %v", u, err)
		}
		if _, again, err := find(kvs(), "index", "/", p.name); err != nil || again != p {
			t.Errorf("%s is %+v, then %+v, %v", u, p, again, err)
		}
	}
}
