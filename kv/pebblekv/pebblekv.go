// Package pebblekv keeps ordered keys on disk in Pebble
// (https://github.com/cockroachdb/pebble), the embedded default of a node.
//
// It is tuned for an index: many millions of small records under random keys,
// read one by one, in little memory.
//
// # Errors
//
// As package kv says. A directory that another process has open gives [ErrLocked].
// A disk that is nearly full gives an error that matches [syscall.ENOSPC] before
// anything is written, because Pebble cannot go on after a failed write. If one
// fails nevertheless, all writes from then on fail and reads go on. A damaged
// table matches [digest.ErrMismatch].
//
// A Store is safe for concurrent use within one process.
package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// ErrLocked reports a directory that is open already, in this process or another.
var ErrLocked = errors.New("the directory is in use")

const (
	defaultCache   = 32 << 20
	defaultMinFree = 16 << 20
)

// Options tunes a [Store].
type Options struct {
	// CacheBytes is the memory for blocks of tables, in bytes. Default 32 MiB.
	// Writing takes up to 12 MiB more.
	CacheBytes int64
	// MinFree is how many bytes must be free on the disk for a write to begin.
	// Default 16 MiB, negative none.
	MinFree int64
	// Logger gets what Pebble reports. Default: silent.
	Logger *slog.Logger
}

// Store keeps pairs in a directory.
type Store struct {
	db      *pebble.DB
	lock    *pebble.Lock
	dir     string
	minFree int64
	stripes stripes

	mu     sync.Mutex
	closed bool
	failed error          // set by a write that broke the database
	users  sync.WaitGroup // calls under way
}

var _ kv.Store = (*Store)(nil)

// Open opens the store in dir and creates it if it is absent.
func Open(dir string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("pebblekv: open: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	if err != nil {
		if isLocked(err) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("pebblekv: open %s: %w", dir, err)
	}
	db, err := openDB(dir, lock, o)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("pebblekv: open %s: %w", dir, err)
	}
	s := &Store{db: db, lock: lock, dir: dir, minFree: o.MinFree}
	s.stripes.seed = maphash.MakeSeed()
	if s.minFree == 0 {
		s.minFree = defaultMinFree
	}
	return s, nil
}

// isLocked knows the system's answer to a lock that another process holds, and
// Pebble's when it is this process.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held by current process")
}

// openDB turns Pebble's panics at a damaged directory into errors.
func openDB(dir string, lock *pebble.Lock, o *Options) (db *pebble.DB, err error) {
	defer recoverFatal(&err)
	return pebble.Open(dir, tuned(lock, o))
}

// Close waits for the calls and scans that are under way, and closes the store.
// All other calls fail from then on. What was written is durable already.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.users.Wait()
	if err := errors.Join(s.closeDB(), s.lock.Close()); err != nil {
		return fmt.Errorf("pebblekv: close: %w", err)
	}
	return nil
}

func (s *Store) closeDB() (err error) {
	defer recoverFatal(&err)
	return s.db.Close()
}

// begin announces a call; s.users.Done ends it.
func (s *Store) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	s.users.Add(1)
	return nil
}

// Get returns the value of key.
func (s *Store) Get(ctx context.Context, key []byte) ([]byte, error) {
	err := s.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("pebblekv: get %x: %w", key, err)
	}
	defer s.users.Done()
	v, err := s.get(key)
	if err != nil {
		return nil, fmt.Errorf("pebblekv: get %x: %w", key, err)
	}
	if v == nil {
		return nil, errAbsent
	}
	return v, nil
}

// errAbsent does not name its key: most keys are asked for just to be sure that they
// are not there, and nobody reads the error.
var errAbsent = fmt.Errorf("pebblekv: get: %w", fs.ErrNotExist)

// get returns a copy of the value, nil if there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, damage(err)
	}
	defer c.Close()
	return append(make([]byte, 0, len(v)), v...), nil
}

// Scan yields the pairs of r.
func (s *Store) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		err := s.begin(ctx)
		if err == nil {
			defer s.users.Done()
			err = damage(s.scan(ctx, r, yield))
		}
		if err != nil {
			yield(kv.Pair{}, fmt.Errorf("pebblekv: scan: %w", err))
		}
	}
}

func (s *Store) scan(ctx context.Context, r kv.Range, yield func(kv.Pair, error) bool) (err error) {
	if r.To != nil && string(r.From) >= string(r.To) {
		return nil
	}
	o := &pebble.IterOptions{UpperBound: r.To}
	if len(r.From) > 0 { // Pebble wants no bound rather than an empty one
		o.LowerBound = r.From
	}
	it, err := s.db.NewIterWithContext(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	seek := it.First
	if oneGroup(r) {
		seek = func() bool { return it.SeekPrefixGE(r.From) }
	}
	for ok := seek(); ok; ok = it.Next() { // Close returns what ended it early
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if !yield(pair(it.Key(), v), nil) {
			return nil
		}
	}
	return nil
}

// pair copies a pair with one allocation.
func pair(k, v []byte) kv.Pair {
	b := append(append(make([]byte, 0, len(k)+len(v)), k...), v...)
	return kv.Pair{Key: b[:len(k):len(k)], Value: b[len(k):]}
}

// damaged is a failed checksum of Pebble's, without the details that it appends
// on lines of their own.
type damaged string

func (e damaged) Error() string        { return string(e) }
func (e damaged) Is(target error) bool { return target == digest.ErrMismatch }

func damage(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return damaged(line)
	}
	return err
}
