// Package retryblob repeats what fails in a store and may succeed later.
//
// Stat, Get, List and Delete are repeated with random, growing pauses. A body that
// breaks off is resumed where it broke, and a listing behind the last key. Put is repeated if
// its reader can be rewound (an [io.Seeker]). The commit of a draft is not: it ends the
// draft.
//
// Absent, malformed, changed and forbidden objects, ranges beyond the end, a full disk and
// the end of the context are not repeated: that would not help.
//
// # Errors
//
// Those of the inner store, the last of them. A body is resumed only of an object that
// the store identifies by [blob.Info.Version]; if another took its place the error matches
// [blob.ErrChanged].
//
// A Store is as safe for concurrent use as the one inside.
package retryblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"syscall"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/hashstream/hashstream/blob"
)

const (
	defaultAttempts = 5
	defaultBackoff  = 100 * time.Millisecond
	defaultMaxPause = 10 * time.Second
	// renewal is how many bytes or keys of progress renew the attempts.
	renewalBytes = 4 << 20
	renewalKeys  = 1000
)

// Options tunes a [Store].
type Options struct {
	// Attempts is how often something is tried before its failure is final. Default 5.
	Attempts int
	// Backoff is the pause before the first repetition, give or take half of it; it
	// doubles with each. Default 100 ms.
	Backoff time.Duration
	// MaxPause is the longest pause. Default 10 s.
	MaxPause time.Duration
	// Retry says whether an error may pass. Default [Temporary].
	Retry func(err error) bool
	// Trace is called before each repetition. Default: nothing.
	Trace func(ctx context.Context, op, key string, err error)
}

// Temporary reports whether what failed may succeed later: everything that is not known
// to be final.
func Temporary(err error) bool {
	for _, final := range []error{
		nil, fs.ErrNotExist, fs.ErrInvalid, fs.ErrPermission, fs.ErrExist, fs.ErrClosed, blob.ErrRange, blob.ErrChanged,
		context.Canceled, context.DeadlineExceeded, errors.ErrUnsupported, syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT,
	} {
		if err == final || errors.Is(err, final) {
			return false
		}
	}
	return true
}

// Store repeats. It implements [blob.Store] and [blob.Conditional].
type Store struct {
	inner   blob.Store
	options Options
}

var (
	_ blob.Store       = (*Store)(nil)
	_ blob.Conditional = (*Store)(nil)
)

// drafter is a store whose inner one starts drafts.
type drafter struct {
	*Store
	blob.Drafter
}

// New returns a [Store] around inner. It implements [blob.Drafter] if inner does.
func New(inner blob.Store, o *Options) blob.Store {
	s := &Store{inner: inner}
	if o != nil {
		s.options = *o
	}
	if s.options.Attempts <= 0 {
		s.options.Attempts = defaultAttempts
	}
	if s.options.Backoff <= 0 {
		s.options.Backoff = defaultBackoff
	}
	if s.options.MaxPause <= 0 {
		s.options.MaxPause = defaultMaxPause
	}
	if s.options.Retry == nil {
		s.options.Retry = Temporary
	}
	if d, ok := inner.(blob.Drafter); ok {
		return drafter{s, d}
	}
	return s
}

// call is what is repeated, for the trace.
type call struct {
	store   *Store
	op, key string
}

// repeat calls f until it succeeds, fails for good, or has failed too often. Failed is
// how often it has been tried already.
func repeat[T any](ctx context.Context, c call, failed int, f func() (T, error)) (T, error) {
	o := &c.store.options
	if failed >= o.Attempts-1 {
		return f()
	}
	policy := retrypolicy.NewBuilder[T]().
		HandleIf(func(_ T, err error) bool { return err != nil && ctx.Err() == nil && o.Retry(err) }).
		WithMaxAttempts(o.Attempts - failed).
		WithJitterFactor(0.5).
		ReturnLastFailure().
		OnRetry(func(e failsafe.ExecutionEvent[T]) { c.trace(ctx, e.LastError()) })
	if o.Backoff < o.MaxPause {
		policy = policy.WithBackoff(o.Backoff, o.MaxPause)
	} else {
		policy = policy.WithDelay(o.Backoff)
	}
	v, err := failsafe.With(policy.Build()).WithContext(ctx).Get(f)
	if err != nil && ctx.Err() != nil && err == ctx.Err() { // it ended in a pause
		err = fmt.Errorf("retryblob: %s %s: %w", c.op, c.key, context.Cause(ctx))
	}
	return v, err
}

func (c call) trace(ctx context.Context, err error) {
	if t := c.store.options.Trace; t != nil {
		t(ctx, c.op, c.key, err)
	}
}

// Stat describes key.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	return repeat(ctx, call{s, "stat", key}, 0, func() (blob.Info, error) { return s.inner.Stat(ctx, key) })
}

// Delete removes key.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := repeat(ctx, call{s, "delete", key}, 0, func() (struct{}, error) { return struct{}{}, s.inner.Delete(ctx, key) })
	return err
}

// Put stores what r yields under key. It is repeated if r is an [io.Seeker].
func (s *Store) Put(ctx context.Context, key string, r io.Reader) error {
	seeker, ok := r.(io.Seeker)
	if !ok {
		return s.inner.Put(ctx, key, r)
	}
	start, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil { // a pipe calls itself a file, too
		return s.inner.Put(ctx, key, r)
	}
	_, err = repeat(ctx, call{s, "put", key}, 0, func() (struct{}, error) {
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return struct{}{}, fmt.Errorf("retryblob: put %s: %w", key, err)
		}
		return struct{}{}, s.inner.Put(ctx, key, r)
	})
	return err
}

// List yields the objects whose key begins with prefix, ordered by key.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		l := listing{call: call{s, "list", prefix}, yield: yield}
		for {
			_, err := repeat(ctx, l.call, l.failed, func() (struct{}, error) { return struct{}{}, l.run(ctx, prefix) })
			if err == nil {
				return
			}
			if !l.renewed {
				yield(blob.Info{}, err)
				return
			}
			l.renewed, l.failed = false, 1
		}
	}
}

// listing is what was yielded of a listing.
type listing struct {
	call
	yield   func(blob.Info, error) bool
	last    string
	any     bool
	fresh   int  // keys since the last failure
	failed  int  // attempts that a new round begins with
	renewed bool // whether there was much progress
}

func (l *listing) run(ctx context.Context, prefix string) error {
	l.fresh = 0
	for i, err := range l.store.inner.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if l.any && i.Key <= l.last {
			continue
		}
		l.last, l.any = i.Key, true
		if l.fresh++; l.fresh >= renewalKeys {
			l.renewed = true
		}
		if !l.yield(i, nil) {
			return nil
		}
	}
	return nil
}
