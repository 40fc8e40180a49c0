package fsblob

import (
	"container/list"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashstream/hashstream/blob"
)

const (
	defaultOpenFiles = 128
	// maxPrivate bounds the descriptions that wait in a handle for the next send.
	maxPrivate = 4
	// idleTime: a file that nobody read for one to two of these is closed, so that
	// a file that another process deleted gives its space back.
	idleTime = 10 * time.Second
)

// handles is a small cache of open files, least recently used out first.
type handles struct {
	store *Store
	max   int

	mu     sync.Mutex
	byKey  map[string]*handle
	order  list.List // of *handle, most recently used in front
	timer  *time.Timer
	closed bool
}

// handle is one open file. Its readers share the description by pread.
type handle struct {
	file *os.File
	id   identity
	info blob.Info
	refs atomic.Int64 // the cache's own and one for each reader; zero closes

	elem *list.Element // guarded by handles.mu, as is used; nil outside the cache
	used bool          // since the last sweep

	mu      sync.Mutex
	private []*os.File // descriptions with an offset of their own, idle
	dead    bool
}

func newHandles(s *Store, most int) *handles {
	if most <= 0 {
		most = defaultOpenFiles
	}
	return &handles{store: s, max: most, byKey: map[string]*handle{}}
}

// acquire returns the file that key names now. The caller releases it.
func (c *handles) acquire(key string) (*handle, error) {
	if h := c.lookup(key); h != nil {
		if c.store.names(key, h.id) {
			return h, nil
		}
		c.drop(h)
		h.release()
	}
	f, fi, err := c.store.openFile(key)
	if err != nil {
		return nil, err
	}
	h := &handle{file: f, id: identify(fi), info: info(key, fi)}
	h.refs.Store(1)
	return c.insert(h), nil
}

// open is the root's, but when the process has no descriptor left it gives up the
// files that are open for some later read.
func (s *Store) open(name string, flag int) (*os.File, error) {
	f, err := s.root.OpenFile(name, flag, fileMode)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		s.files.dropAll()
		f, err = s.root.OpenFile(name, flag, fileMode)
	}
	return f, err
}

// openFile opens a regular file. Without O_NONBLOCK a named pipe would block.
func (s *Store) openFile(key string) (*os.File, fs.FileInfo, error) {
	f, err := s.open(key, os.O_RDONLY|syscall.O_NONBLOCK)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = irregular(fi)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

func (c *handles) lookup(key string) *handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.byKey[key]
	if h == nil {
		return nil
	}
	h.refs.Add(1)
	h.used = true
	c.order.MoveToFront(h.elem)
	return h
}

// insert adds h, which the caller has a reference to, and returns the handle to
// use: another reader may have been faster.
func (c *handles) insert(h *handle) *handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return h
	}
	if old := c.byKey[h.info.Key]; old != nil {
		if old.id == h.id {
			old.refs.Add(1)
			h.release()
			return old
		}
		c.remove(old)
	}
	h.refs.Add(1)
	h.used = true
	h.elem = c.order.PushFront(h)
	c.byKey[h.info.Key] = h
	for c.order.Len() > c.max {
		c.remove(c.order.Back().Value.(*handle))
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(idleTime, c.sweep)
	}
	return h
}

// remove takes h out of the cache; c.mu is held.
func (c *handles) remove(h *handle) {
	if h.elem == nil {
		return
	}
	c.order.Remove(h.elem)
	h.elem = nil
	delete(c.byKey, h.info.Key)
	h.release()
}

func (c *handles) drop(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(h)
}

func (c *handles) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.byKey[key]; h != nil {
		c.remove(h)
	}
}

func (c *handles) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.byKey {
		c.remove(h)
	}
}

// sweep closes what was not used since the last sweep. It runs by itself only
// while files are open.
func (c *handles) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.byKey {
		if !h.used {
			c.remove(h)
		}
		h.used = false
	}
	c.timer = nil
	if len(c.byKey) > 0 && !c.closed {
		c.timer = time.AfterFunc(idleTime, c.sweep)
	}
}

func (c *handles) close() {
	c.dropAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// release gives a reference back. Who holds the last one closes the files.
func (h *handle) release() {
	if h.refs.Add(-1) > 0 {
		return
	}
	h.file.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead = true
	for _, f := range h.private {
		f.Close()
	}
	h.private = nil
}

// takePrivate returns a description of the same file with an offset of its own,
// or nil if there is none to be had: then pread still works.
func (h *handle) takePrivate(s *Store) *os.File {
	h.mu.Lock()
	if n := len(h.private); n > 0 {
		f := h.private[n-1]
		h.private = h.private[:n-1]
		h.mu.Unlock()
		return f
	}
	h.mu.Unlock()
	f, fi, err := s.openFile(h.info.Key)
	if err != nil {
		return nil
	}
	if identify(fi) != h.id { // the key names other bytes by now
		f.Close()
		return nil
	}
	return f
}

func (h *handle) putPrivate(f *os.File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead || len(h.private) >= maxPrivate {
		f.Close()
		return
	}
	h.private = append(h.private, f)
}
