package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

// ErrLocked reports an index that another process has open and did not let go of
// in time.
var ErrLocked = pebblekv.ErrLocked

// Index is a node's index: opened by this process, or used through the node that
// has it open.
type Index struct {
	kv.Store
	// Node is the running node that the index is used through, nil if this process
	// opened it.
	Node   *control.Client
	closer io.Closer
}

// Close lets go of the index.
func (x *Index) Close() error { return x.closer.Close() }

// IndexOptions are the settings of [OpenIndex].
type IndexOptions struct {
	// Notify is told, once, what is being waited for. Default: nobody.
	Notify func(message string)
	// Wait is how long to wait for another process. Default 30 s, negative not at all.
	Wait time.Duration
	// Own opens the index in this process or fails: for the node itself. A node that
	// runs already is [control.ErrRunning].
	Own bool
	// Options are for the backend. Cache defaults to the configuration's.
	Options
}

// OpenIndex opens the index of c. If a node in c's home has the same index open, it
// goes through the node's control socket. If another process has it, OpenIndex
// waits for that to end, or for it to become a node that answers.
func OpenIndex(ctx context.Context, c config.Config, o *IndexOptions) (*Index, error) {
	_, p, err := find(kvs(), "index", c.Home, c.Store.Index)
	if err != nil {
		return nil, err
	}
	w := waiter{config: c, place: p}
	if o != nil {
		w.IndexOptions = *o
	}
	if w.Wait == 0 {
		w.Wait = 30 * time.Second
	}
	if w.Cache == 0 {
		w.Cache = max(int64(c.Cache.Index), 1) // 0 in the configuration is no cache, not the default
	}
	return w.open(ctx)
}

// waiter tries until it has an index.
type waiter struct {
	IndexOptions
	config config.Config
	place  place
}

func (w *waiter) open(ctx context.Context) (*Index, error) {
	deadline := time.Now().Add(w.Wait)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		x, err := w.try(ctx)
		if !errors.Is(err, ErrLocked) {
			return x, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("backends: index %s: %w", w.place.name, context.Cause(ctx))
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, fmt.Errorf("%w by %s", err, w.holder())
		}
		if w.Notify != nil {
			w.Notify(fmt.Sprintf("waiting for the index %s: it is in use by %s", w.place.name, w.holder()))
			w.Notify = nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(pause, left)):
		}
	}
}

// try looks for a node first, then opens the store.
func (w *waiter) try(ctx context.Context) (*Index, error) {
	node, err := control.Dial(ctx, w.config.Home)
	switch {
	case err == nil && w.Own:
		defer node.Close()
		return nil, w.running(ctx, node)
	case err == nil && w.same(ctx, node):
		return &Index{Store: node, Node: node, closer: node}, nil
	case err == nil:
		_ = node.Close() // it serves another index; the lock decides
	}
	// No node, or one that is just coming or going: the lock of the store decides.
	store, closer, err := open(ctx, kvs(), "index", w.config.Home, w.config.Store.Index, &w.Options)
	if err != nil {
		return nil, err
	}
	return &Index{Store: store, closer: w.claim(closer)}, nil
}

func (w *waiter) running(ctx context.Context, node *control.Client) error {
	status, err := node.Status(ctx)
	if err != nil {
		return fmt.Errorf("backends: home %s: %w", w.config.Home, control.ErrRunning)
	}
	return fmt.Errorf("backends: home %s: %w as process %d", w.config.Home, control.ErrRunning, status.PID)
}

// same reports whether the node has the index that is asked for.
func (w *waiter) same(ctx context.Context, node *control.Client) bool {
	status, err := node.Status(ctx)
	return err == nil && status.Index == w.place.name
}

// pidFile stands beside the index and names the process that has it open.
func (w *waiter) pidFile() string {
	if w.place.where == "" {
		return ""
	}
	return w.place.where + ".pid"
}

// holder says who has the index, as far as that is known.
func (w *waiter) holder() string {
	if pid, ok := control.ReadPID(w.pidFile()); ok {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// claim names this process as the holder. The file only informs: a failure to
// write it is no reason to stop.
func (w *waiter) claim(store io.Closer) io.Closer {
	name := w.pidFile()
	if name == "" {
		return store
	}
	_ = os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	return closerFunc(sync.OnceValue(func() error {
		_ = os.Remove(name) // before the lock goes: afterwards the file may be another's
		return store.Close()
	}))
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }
