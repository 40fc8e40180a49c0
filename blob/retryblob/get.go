package retryblob

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashstream/hashstream/blob"
)

// Get opens n bytes of key from offset off. Objects of the inner store that implement
// [io.WriterTo] are returned as they are: they are at hand.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	return s.open(ctx, key, off, n, 0, s.inner.Get)
}

// GetIf is Get on the condition that the object has the given identity. A store that knows
// no conditions is asked for the object, and its identity compared.
func (s *Store) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	return s.open(ctx, key, off, n, 0, func(ctx context.Context, key string, off, n int64) (blob.Object, error) {
		return s.getIf(ctx, key, identity, off, n)
	})
}

func (s *Store) getIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	if identity == "" {
		return nil, fmt.Errorf("retryblob: get %s: no identity to compare: %w", key, fs.ErrInvalid)
	}
	if c, ok := s.inner.(blob.Conditional); ok {
		return c.GetIf(ctx, key, identity, off, n)
	}
	o, err := s.inner.Get(ctx, key, off, n)
	if err == nil && o.Info().Identity != identity {
		o.Close()
		return nil, fmt.Errorf("retryblob: get %s: %w", key, blob.ErrChanged)
	}
	return o, err
}

// getter is a Get or a GetIf.
type getter func(ctx context.Context, key string, off, n int64) (blob.Object, error)

func (s *Store) open(ctx context.Context, key string, off, n int64, failed int, get getter) (blob.Object, error) {
	o, err := repeat(ctx, call{s, "get", key}, failed, func() (blob.Object, error) { return get(ctx, key, off, n) })
	if err != nil {
		return nil, err
	}
	if _, ok := o.(io.WriterTo); ok {
		return o, nil
	}
	end := o.Info().Size
	if n >= 0 && n < end-off {
		end = off + n
	}
	return &object{Object: o, store: s, ctx: ctx, info: o.Info(), off: off, end: end}, nil
}

// object is a range, of which the bytes from off to end are still to come.
type object struct {
	blob.Object // of the last attempt

	store    *Store
	ctx      context.Context // of Get: reading may need another
	info     blob.Info
	off, end int64
	failed   int   // attempts since the last progress
	fresh    int64 // bytes since then
	closed   bool
}

func (o *object) Info() blob.Info { return o.info }

func (o *object) Read(p []byte) (int, error) {
	if o.off >= o.end && !o.closed {
		return 0, io.EOF
	}
	for {
		n, err := o.Object.Read(p)
		o.off += int64(n)
		if o.fresh += int64(n); o.fresh >= renewalBytes {
			o.fresh, o.failed = 0, 0
		}
		if err == io.EOF && o.off < o.end {
			err = io.ErrUnexpectedEOF
		}
		switch {
		case n > 0 && err != nil && err != io.EOF:
			return n, nil // the error will be met again
		case err == nil || err == io.EOF || o.closed:
			return n, err
		}
		if err := o.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume opens what is left of the same object.
func (o *object) resume(broke error) error {
	s := o.store
	o.failed++
	if o.failed >= s.options.Attempts || !s.options.Retry(broke) || o.ctx.Err() != nil || o.info.Version == "" {
		return broke
	}
	call{s, "read", o.info.Key}.trace(o.ctx, broke)
	o.Object.Close()
	get := s.inner.Get
	if o.info.Identity != "" {
		get = func(ctx context.Context, key string, off, n int64) (blob.Object, error) {
			return s.getIf(ctx, key, o.info.Identity, off, n)
		}
	}
	next, err := s.open(o.ctx, o.info.Key, o.off, o.end-o.off, o.failed, get)
	if err != nil {
		return err
	}
	if inner, ok := next.(*object); ok {
		next = inner.Object
	}
	o.Object = next
	if next.Info().Version == "" { // it looks the same, and that is all the store can say
		return broke
	}
	if i := next.Info(); i.Version != o.info.Version || i.Size != o.info.Size {
		return fmt.Errorf("retryblob: read %s at %d: %w", o.info.Key, o.off, blob.ErrChanged)
	}
	return nil
}

// Close closes the object.
func (o *object) Close() error {
	o.closed = true
	return o.Object.Close()
}

// Recheck returns an error unless everything that was read belongs to one object, where
// the inner store can tell.
func (o *object) Recheck() error {
	if r, ok := o.Object.(blob.Rechecker); ok {
		return r.Recheck()
	}
	return nil
}
