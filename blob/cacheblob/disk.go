package cacheblob

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zeebo/blake3"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
)

const tempPrefix = "tmp-"

// id names a page of an object of a store.
type id [32]byte

func (s *Store) id(key string, page int64) id {
	return blake3.Sum256(fmt.Appendf(nil, "%d %d %d %s%s", s.cache.options.PageSize, page, len(s.name), s.name, key))
}

// path is where the page lies: a directory has some hundredth of them.
func (i id) path() string {
	s := hex.EncodeToString(i[:])
	return s[:2] + "/" + s[2:]
}

func parsePath(p string) (i id, ok bool) {
	if len(p) != 2*len(i)+1 {
		return i, false
	}
	_, err := hex.Decode(i[:], []byte(p[:2]+p[3:]))
	return i, err == nil && i.path() == p
}

// entry is a page on disk.
type entry struct {
	weight uint32 // bytes on disk

	mu      sync.Mutex
	checked bool // whether this process saw that it is whole
	state   state
	header  header
	start   int64 // of the payload in the file
}

// state tells whether a file is still the one that was checked.
type state struct {
	size     int64
	modified time.Time
}

func stateOf(fi fs.FileInfo) state { return state{fi.Size(), fi.ModTime()} }

func weigh(size int64) uint32 {
	return uint32((size+diskBlock-1)/diskBlock*diskBlock + 64) // and something for the name
}

// load fills the index with what lies in the directory, oldest first, and removes what
// does not belong there.
func (c *Cache) load() error {
	type found struct {
		id    id
		state state
	}
	var all []found
	err := fs.WalkDir(c.dir.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() || p == ".lock":
			return nil
		}
		at, ok := parsePath(p)
		fi, err := d.Info()
		if !ok || err != nil || !fi.Mode().IsRegular() || fi.Size() > maxHeader+maxPageSize {
			if strings.HasPrefix(p, tempPrefix) || ok {
				c.dir.Remove(p)
			}
			return nil // others' files are left alone
		}
		all = append(all, found{at, stateOf(fi)})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.state.modified.UnixNano(), b.state.modified.UnixNano()) })
	for _, f := range all {
		c.index.Set(f.id, &entry{weight: weigh(f.state.size)})
	}
	c.index.CleanUp()
	return nil
}

// page is an open page: a part of a file, or bytes in memory.
type page struct {
	header header
	file   *os.File // nil for one in memory
	start  int64    // of the payload in the file
	buffer *[]byte  // a whole buffer, to be given back
}

func (p *page) readAt(b []byte, off int64) (int, error) {
	b = b[:min(int64(len(b)), int64(p.header.payload)-off)]
	if p.file == nil {
		return copy(b, (*p.buffer)[off:]), nil
	}
	n, err := p.file.ReadAt(b, p.start+off)
	if n == len(b) {
		err = nil
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF // somebody cut the file
	}
	return n, err
}

func (c *Cache) close(p *page) {
	if p.file != nil {
		p.file.Close()
	} else {
		c.buffers.Put(p.buffer)
	}
}

// open opens a page if it is on disk, whole and what its name says, and returns nil otherwise.
func (s *Store) open(ctx context.Context, key string, number int64) *page {
	c, at := s.cache, s.id(key, number)
	e, ok := c.index.GetIfPresent(at)
	if !ok {
		return nil
	}
	f, err := c.dir.Open(at.path())
	if err != nil {
		c.drop(ctx, at, err)
		return nil
	}
	h, start, err := e.check(f)
	if err == nil && !s.owns(&h, key, number) {
		err = fmt.Errorf("of another object: %w", digest.ErrMismatch)
	}
	if err != nil {
		f.Close()
		c.drop(ctx, at, fmt.Errorf("cacheblob: page %s: %w", at.path(), err))
		return nil
	}
	return &page{header: h, file: f, start: start}
}

// owns reports whether a header is that of a page.
func (s *Store) owns(h *header, key string, number int64) bool {
	size := s.pageSize()
	return h.store == s.name && h.info.Key == key && h.page == number && int64(h.payload) == min(size, h.info.Size-number*size)
}

func (c *Cache) drop(ctx context.Context, at id, err error) {
	c.index.Invalidate(at)
	c.dir.Remove(at.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.report(ctx, err)
	}
}

// check reads the checksums of a file, once in the life of the process while it does not
// change, and returns its header and where the payload starts.
func (e *entry) check(f *os.File) (header, int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return header{}, 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.checked || e.state != stateOf(fi) {
		h, start, err := readPage(f, fi.Size())
		if err != nil {
			return header{}, 0, err
		}
		e.header, e.start, e.state, e.checked = h, start, stateOf(fi), true
	}
	return e.header, e.start, nil
}

// readPage reads the whole file of a page.
func readPage(f *os.File, size int64) (header, int64, error) {
	b := make([]byte, fixedSize+sumSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return header{}, 0, err
	}
	n, err := headerLen(b)
	if err != nil {
		return header{}, 0, err
	}
	b = make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		return header{}, 0, err
	}
	h, err := parseHeader(b)
	if err == nil && int64(n)+int64(h.payload) != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return header{}, 0, err
	}
	hash := blake3.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, int64(n), int64(h.payload))); err != nil {
		return header{}, 0, err
	}
	if string(hash.Sum(nil)) != string(h.sum[:]) {
		return header{}, 0, digest.ErrMismatch
	}
	return h, int64(n), nil
}

// keep writes a page. If that fails the page is not in the cache, which is all.
func (c *Cache) keep(ctx context.Context, at id, h header, payload []byte) {
	c.mu.Lock()
	refused := time.Since(c.refused) < bypass
	c.mu.Unlock()
	if refused || !fits(h.store, h.info) {
		return
	}
	h.payload, h.sum = len(payload), blake3.Sum256(payload)
	e, err := c.write(at, h, payload)
	if err == nil {
		c.index.Set(at, e)
		c.index.CleanUp() // else what came in during another's eviction would wait for the next page
		return
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) {
		c.mu.Lock()
		c.refused = time.Now()
		c.mu.Unlock()
	}
	c.report(ctx, fmt.Errorf("cacheblob: keep %s: %w", h.info.Key, err))
}

func (c *Cache) write(at id, h header, payload []byte) (*entry, error) {
	name := tempPrefix + rand.Text()
	f, err := c.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	b := h.append(nil)
	_, err = f.Write(b)
	if err == nil {
		_, err = f.Write(payload)
	}
	fi, serr := f.Stat()
	if err = errors.Join(err, serr, f.Close()); err == nil {
		err = c.dir.Rename(name, at.path())
		if errors.Is(err, fs.ErrNotExist) {
			if err = c.dir.Mkdir(path.Dir(at.path()), 0o700); err == nil || errors.Is(err, fs.ErrExist) {
				err = c.dir.Rename(name, at.path())
			}
		}
	}
	if err != nil {
		c.dir.Remove(name)
		return nil, err
	}
	return &entry{weight: weigh(fi.Size()), checked: true, state: stateOf(fi), header: h, start: int64(len(b))}, nil
}

// forget removes the pages of an object.
func (s *Store) forget(key string, size int64) {
	for i := range (size + int64(s.cache.options.PageSize) - 1) / int64(s.cache.options.PageSize) {
		if at := s.id(key, i); s.cache.has(at) {
			s.cache.drop(context.Background(), at, nil)
		}
	}
}

func (c *Cache) has(at id) bool {
	_, ok := c.index.GetEntryQuietly(at)
	return ok
}

// same reports whether two infos are of the same content.
func same(a, b blob.Info) bool {
	return a.Size == b.Size && a.Identity == b.Identity && (a.Identity != "" || a.Version == b.Version)
}
