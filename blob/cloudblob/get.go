package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"

	gcblob "gocloud.dev/blob"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
	"github.com/hashstream/hashstream/blob/contentrange"
)

// renewal is how many bytes of progress renew the attempts of a read.
const renewal = 4 << 20

var errRange = errors.New("the store answered with another range than was asked for")

// Get opens n bytes of key from offset off. The context governs the reading of the
// object, too.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	return s.get(ctx, key, "", off, n)
}

// GetIf is Get on the condition that the object has the given identity.
func (s *Store) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	if identity == "" {
		return nil, fmt.Errorf("cloudblob: get %s%s%s: no identity to compare: %w", s.name, s.prefix, key, fs.ErrInvalid)
	}
	return s.get(ctx, key, identity, off, n)
}

func (s *Store) get(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	if err := check(ctx, key); err != nil {
		return nil, fmt.Errorf("cloudblob: get: %w", err)
	}
	if off < 0 {
		return nil, fmt.Errorf("cloudblob: get %s: offset %d: %w", key, off, fs.ErrInvalid)
	}
	o := &object{store: s, ctx: ctx, key: key, off: off}
	err := o.open(identity, n)
	for i := 0; errors.Is(err, errRange) && i < s.options.Attempts-1; i++ {
		// A cache on the way may have mixed answers up; another attempt may pass by it.
		if err := s.options.wait(ctx, i); err != nil {
			return nil, fmt.Errorf("cloudblob: get %s%s%s: %w", s.name, s.prefix, key, err)
		}
		err = o.open(identity, n)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// object is a range of which n bytes from off are still to come.
type object struct {
	store  *Store
	ctx    context.Context // of Get: reading may need another request
	key    string
	info   blob.Info
	reader *gcblob.Reader // nil for a range without bytes
	off, n int64
	failed int   // attempts since the last progress
	fresh  int64 // bytes since then
	closed bool
}

func (o *object) Info() blob.Info { return o.info }

// open sends the request for n bytes from o.off.
func (o *object) open(identity string, n int64) error {
	if n > math.MaxInt64-o.off {
		n = -1
	}
	if n == 0 { // HTTP has no empty range
		return o.empty(identity, 0)
	}
	s, name := o.store, o.store.prefix+o.key
	ctx, c := exchange.With(o.ctx, "get")
	r, err := s.bucket.NewRangeReader(ctx, name, o.off, n, &gcblob.ReaderOptions{
		BeforeRead: func(as func(any) bool) error { return s.provider.condition(as, name, identity) },
	})
	status, header := c.Seal()
	if err != nil {
		if status == http.StatusRequestedRangeNotSatisfiable {
			return o.empty(identity, status)
		}
		return s.fail("get", o.key, c, err)
	}
	if status == http.StatusPartialContent && header.Get("Content-Length") == "0" { // as Azurite says that
		r.Close()
		return o.empty(identity, http.StatusRequestedRangeNotSatisfiable)
	}
	if err := o.accept(status, header, n); err != nil {
		r.Close()
		return fmt.Errorf("cloudblob: get %s%s at %d: %w", s.name, name, o.off, err)
	}
	if identity != "" && o.info.Identity != identity { // a server that ignores conditions
		r.Close()
		return fmt.Errorf("cloudblob: get %s%s: %w", s.name, name, blob.ErrChanged)
	}
	o.reader = r
	return nil
}

// empty answers a range of no bytes by a description. Status is that of a request
// for a range with bytes, which the store could not satisfy; or 0.
func (o *object) empty(identity string, status int) error {
	i, err := o.store.stat(o.ctx, o.key, "get")
	switch {
	case err != nil:
		return err
	case identity != "" && i.Identity != identity:
		err = blob.ErrChanged
	case o.off > i.Size:
		err = blob.ErrRange
	case status != 0 && o.off < i.Size: // it changed between the requests, or the store errs
		err = errRange
	}
	if err != nil {
		return fmt.Errorf("cloudblob: get %s%s%s at %d of %d bytes: %w", o.store.name, o.store.prefix, o.key, o.off, i.Size, err)
	}
	o.info, o.n = i, 0
	return nil
}

// accept checks that the answer is the range that was asked for, and describes the object.
func (o *object) accept(status int, h http.Header, n int64) error {
	length, err := contentrange.ParseNumber(h.Get("Content-Length"))
	if err != nil {
		length = -1
	}
	var size int64
	switch status {
	case http.StatusOK: // nothing but the whole object will do
		if length < 0 {
			return errors.New("the store does not tell the size of the object")
		}
		if o.off != 0 || n >= 0 && n < length {
			return errRange
		}
		size = length
	case http.StatusPartialContent:
		r, err := contentrange.Parse(h.Get("Content-Range"))
		if err != nil {
			return err
		}
		if !r.Answers(o.off, n) || length >= 0 && length != r.Len() {
			return errRange
		}
		size = r.Size
	default:
		return fmt.Errorf("unexpected status %d", status)
	}
	o.n = size - o.off
	if n >= 0 {
		o.n = min(o.n, n)
	}
	id := o.store.provider.identity(h)
	o.info = blob.Info{Key: o.key, Size: size, Version: id, Identity: id}
	if t, err := http.ParseTime(h.Get("Last-Modified")); err == nil {
		o.info.ModTime = t
	}
	return nil
}

// Read reads on, and resumes a body that broke off.
func (o *object) Read(p []byte) (int, error) {
	if o.closed {
		return 0, fmt.Errorf("cloudblob: read %s: %w", o.key, fs.ErrClosed)
	}
	if o.n == 0 {
		return 0, io.EOF
	}
	for {
		n, err := o.reader.Read(p[:min(int64(len(p)), o.n)])
		o.off += int64(n)
		o.n -= int64(n)
		if o.fresh += int64(n); o.fresh >= renewal {
			o.fresh, o.failed = 0, 0
		}
		switch {
		case n > 0 || err == nil:
			return n, nil // the error will be met again
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
		}
		if err := o.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume opens what is left of the range, of the same object.
func (o *object) resume(broke error) error {
	s := o.store
	o.failed++
	where := fmt.Sprintf("%s%s%s at %d", s.name, s.prefix, o.key, o.off)
	switch {
	case o.ctx.Err() != nil:
		return fmt.Errorf("cloudblob: read %s: %w", where, context.Cause(o.ctx))
	case o.failed >= s.options.Attempts:
		return fmt.Errorf("cloudblob: read %s, attempt %d: %w", where, o.failed, exchange.Cause(broke))
	case o.info.Identity == "":
		return fmt.Errorf("cloudblob: read %s, which the store does not identify: %w", where, exchange.Cause(broke))
	}
	if err := s.options.wait(o.ctx, o.failed-1); err != nil {
		return fmt.Errorf("cloudblob: read %s: %w", where, err)
	}
	o.reader.Close()
	before, n := o.info, o.n
	if err := o.open(before.Identity, n); err != nil {
		return err
	}
	if o.info.Size != before.Size || o.n != n {
		return fmt.Errorf("cloudblob: read %s: %w", where, blob.ErrChanged)
	}
	return nil
}

// Close ends the request. What was not read may not have been sent.
func (o *object) Close() error {
	if o.closed || o.reader == nil {
		o.closed = true
		return nil
	}
	o.closed = true
	o.reader.Close() // its errors concern bytes that nobody wants
	return nil
}
