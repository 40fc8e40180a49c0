package httpblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/contentrange"
)

var errRange = errors.New("the server answered with another range than was asked for")

// Get opens n bytes of key from offset off.
func (g *Getter) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	o, err := g.get(ctx, key, "", off, n)
	if err != nil {
		return nil, fmt.Errorf("httpblob: get %s at %d: %w", key, off, err)
	}
	return o, nil
}

// GetIf is Get of the object that had identity: the condition travels with the request,
// and the answer is checked, because some servers ignore it. The object has a Version
// only if its validator is a strong one (RFC 9110 section 8.8).
func (g *Getter) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	o, err := g.get(ctx, key, identity, off, n)
	if err == nil && o.info.Identity != identity {
		o.Close()
		err = blob.ErrChanged
	}
	if err != nil {
		return nil, fmt.Errorf("httpblob: get %s at %d: %w", key, off, err)
	}
	if !strong(identity) && !o.aged {
		o.info.Version = ""
	}
	return o, nil
}

func strong(identity string) bool { return strings.HasPrefix(identity, `"`) }

// condition demands identity of the object that is asked for.
func condition(identity string, h http.Header) {
	if strong(identity) {
		h.Set("If-Match", identity)
		return
	}
	// An identity without a strong tag is made of tag, time and size.
	if _, rest, ok := strings.Cut(identity, "|"); ok {
		if modified, _, ok := strings.Cut(rest, "|"); ok && modified != "" {
			h.Set("If-Unmodified-Since", modified)
		}
	}
}

func (g *Getter) get(ctx context.Context, key, identity string, off, n int64) (*object, error) {
	if off < 0 {
		return nil, fmt.Errorf("offset %d: %w", off, fs.ErrInvalid)
	}
	if n > math.MaxInt64-off {
		n = -1
	}
	if n == 0 { // HTTP has no empty range
		return g.empty(ctx, key, off)
	}
	header := http.Header{}
	condition(identity, header)
	if r := rangeHeader(off, n); r != "" {
		header.Set("Range", r)
	}
	x, err := g.do(ctx, http.MethodGet, key, header)
	if err != nil {
		return nil, err
	}
	o := &object{exchange: x, key: key, aged: aged(x.resp.Header)}
	switch x.resp.StatusCode {
	case http.StatusOK:
		err = g.whole(o, off, n)
	case http.StatusPartialContent:
		err = g.partial(o, off, n)
	case http.StatusRequestedRangeNotSatisfiable:
		err = g.beyond(o, off)
	default:
		err = status(x.resp)
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return o, nil
}

func rangeHeader(off, n int64) string {
	switch {
	case n > 0:
		return fmt.Sprintf("bytes=%d-%d", off, off+n-1)
	case off > 0:
		return fmt.Sprintf("bytes=%d-", off)
	}
	return ""
}

// empty answers a range of no bytes by a description.
func (g *Getter) empty(ctx context.Context, key string, off int64) (*object, error) {
	i, err := g.stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if off > i.Size {
		return nil, blob.ErrRange
	}
	return &object{key: key, info: i}, nil
}

// whole takes the range out of a complete answer.
func (g *Getter) whole(o *object, off, n int64) (err error) {
	size := o.exchange.resp.ContentLength
	if o.info, err = g.info(o.key, o.exchange.resp, size); err != nil {
		return err
	}
	if off > size {
		return blob.ErrRange
	}
	if off > g.options.MaxSkip {
		return fmt.Errorf("the server ignores ranges, and %d bytes are too many to skip", off)
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	o.n = off
	if _, err := io.Copy(io.Discard, o); err != nil {
		return err
	}
	o.n = n
	return nil
}

// partial checks that the answer is the range that was asked for.
func (g *Getter) partial(o *object, off, n int64) (err error) {
	resp := o.exchange.resp
	r, err := contentrange.Parse(resp.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if o.info, err = g.info(o.key, resp, r.Size); err != nil {
		return err
	}
	if !r.Answers(off, n) || resp.ContentLength >= 0 && resp.ContentLength != r.Len() {
		return errRange
	}
	o.n = r.Len()
	return nil
}

// beyond handles a range that the server cannot satisfy. One that starts exactly
// at the end is empty for package blob.
func (g *Getter) beyond(o *object, off int64) error {
	size, err := contentrange.ParseUnsatisfied(o.exchange.resp.Header.Get("Content-Range"))
	if err != nil || size != off {
		return blob.ErrRange
	}
	i, err := g.info(o.key, o.exchange.resp, off)
	o.info = i
	return err
}

// info describes an object of size bytes from the header of an answer.
func (g *Getter) info(key string, r *http.Response, size int64) (blob.Info, error) {
	if size < 0 {
		return blob.Info{}, contentrange.ErrSize
	}
	if limit := g.options.MaxSize; limit > 0 && size > limit {
		return blob.Info{}, fmt.Errorf("object of %d bytes, at most %d are allowed", size, limit)
	}
	i := blob.Info{Key: key, Size: size}
	modified := r.Header.Get("Last-Modified")
	if t, err := http.ParseTime(modified); err == nil {
		i.ModTime = t
	}
	switch etag := r.Header.Get("ETag"); {
	case strong(etag):
		i.Version = etag
	case etag != "" || modified != "": // a weak tag may stay when bytes change
		i.Version = fmt.Sprintf("%s|%s|%d", etag, modified, size)
	}
	i.Identity = i.Version
	return i, nil
}

// aged reports whether an object was last modified so long before the answer that the
// time tells it from any later one (RFC 9110 section 8.8.2.2).
func aged(h http.Header) bool {
	modified, err1 := http.ParseTime(h.Get("Last-Modified"))
	date, err2 := http.ParseTime(h.Get("Date"))
	return err1 == nil && err2 == nil && date.Sub(modified) >= time.Minute
}

// object is a range of which n bytes are still to come.
type object struct {
	exchange *exchange // nil for a range without bytes
	key      string
	info     blob.Info
	n        int64
	closed   bool
	aged     bool // its modification time is a strong validator
}

func (o *object) Info() blob.Info { return o.info }

func (o *object) Read(p []byte) (int, error) {
	if o.closed {
		return 0, fmt.Errorf("httpblob: read %s: %w", o.key, fs.ErrClosed)
	}
	if o.n == 0 {
		return 0, io.EOF
	}
	o.exchange.timer.Reset(o.exchange.timeout)
	n, err := o.exchange.resp.Body.Read(p[:min(int64(len(p)), o.n)])
	// The time between two reads is the reader's.
	o.exchange.timer.Stop()
	o.n -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil || o.n == 0 {
		return n, nil
	}
	return n, fmt.Errorf("httpblob: read %s: %w", o.key, o.exchange.cause(err))
}

// Close ends the exchange. What was not read is not fetched.
func (o *object) Close() error {
	if o.closed || o.exchange == nil {
		o.closed = true
		return nil
	}
	o.closed = true
	return o.exchange.close()
}
