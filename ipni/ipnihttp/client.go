package ipnihttp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"mime"
	"net/http"
	"sync/atomic"

	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/mr-tron/base58"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// Defaults of a [Client].
const (
	defaultLine   = 1 << 20
	defaultAnswer = 64 << 20
	firstLine     = 4 << 10

	wantLines = typeLines + ", " + typeJSON + ";q=0.9"
)

// ClientOptions adjusts a [Client]. A nil ClientOptions or a zero field means the default.
type ClientOptions struct {
	wire.CallerOptions
	MaxLine   int   // bytes of a line, beyond it an error; default 1 MiB
	MaxAnswer int64 // bytes of an answer; default 64 MiB
}

// Client asks an index. Nothing that it returns is verified: encrypted values are, by
// who decrypts them, and providers by what is retrieved from them.
type Client struct {
	caller  *wire.Caller
	line    int
	answer  int64
	skipped atomic.Uint64
}

var (
	_ ipni.Finder       = (*Client)(nil)
	_ ipni.SealedReader = (*Client)(nil)
	_ Providers         = (*Client)(nil)
)

// NewClient returns a client of the index at base: http or https, with an optional path
// prefix. It does not touch the network.
func NewClient(base string, o *ClientOptions) (*Client, error) {
	if o == nil {
		o = &ClientOptions{}
	}
	caller, err := wire.NewCaller(base, &o.CallerOptions)
	if err != nil {
		return nil, err
	}
	c := &Client{caller: caller, line: o.MaxLine, answer: o.MaxAnswer}
	if c.line == 0 {
		c.line = defaultLine
	}
	if c.answer == 0 {
		c.answer = defaultAnswer
	}
	return c, nil
}

// Name returns the URL of the index, without credentials.
func (c *Client) Name() string { return c.caller.Name() }

// Skipped returns how many encrypted value keys were left out of answers because they are too short to be
// one.
func (c *Client) Skipped() uint64 { return c.skipped.Load() }

// Close drops idle connections.
func (c *Client) Close() error { return c.caller.Close() }

// Find yields the providers of mh, as they come in. None is no error.
func (c *Client) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return lookup(ctx, c, "/multihash/"+mh.B58String(), decodeResult, func(doc *document) ([]json.RawMessage, error) {
		var all []json.RawMessage
		for _, r := range doc.MultihashResults {
			if string(r.Multihash) != string(mh) {
				return nil, errOther
			}
			all = append(all, r.ProviderResults...)
		}
		return all, nil
	})
}

// ValueKeys yields the encrypted value keys of key, as they come in. None is no error. What is
// too short to be one, as any writer may put into a dhstore, is left out, see [Client.Skipped].
func (c *Client) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	mh := key.Multihash()
	return lookup(ctx, c, "/encrypted/multihash/"+mh.B58String(), decodeValueKey, func(doc *document) ([]json.RawMessage, error) {
		var all []json.RawMessage
		for _, r := range doc.EncryptedMultihashResults {
			if string(r.Multihash) != string(mh) {
				return nil, errOther
			}
			all = append(all, r.EncryptedValueKeys...)
		}
		return all, nil
	})
}

// SealedMetadata returns encrypted metadata, or an error that matches fs.ErrNotExist.
func (c *Client) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	var doc struct{ EncryptedMetadata []byte }
	path := "/metadata/" + base58.Encode(key[:])
	if err := c.document(ctx, path, &doc); err != nil {
		return nil, err
	}
	if n := len(doc.EncryptedMetadata); n < dhash.Overhead || n > dhash.MaxMetadata+dhash.Overhead {
		return nil, c.garbage(path, fmt.Errorf("encrypted metadata of %d bytes", n))
	}
	return doc.EncryptedMetadata, nil
}

// Provider describes one provider. If the index does not know it, the error matches fs.ErrNotExist.
func (c *Client) Provider(ctx context.Context, id peer.ID) (*model.ProviderInfo, error) {
	info := new(model.ProviderInfo)
	path := "/providers/" + id.String()
	if err := c.document(ctx, path, info); err != nil {
		return nil, err
	}
	if info.AddrInfo.ID != id {
		return nil, c.garbage(path, errOther)
	}
	return info, nil
}

// Providers yields all providers that the index knows.
func (c *Client) Providers(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return func(yield func(*model.ProviderInfo, error) bool) {
		const path = "/providers"
		body, _, err := c.get(ctx, path, typeJSON)
		if err != nil {
			yield(nil, err)
			return
		}
		defer body.Close()
		d := json.NewDecoder(body)
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			yield(nil, c.garbage(path, errors.Join(errors.New("no list"), err)))
			return
		}
		for d.More() {
			info := new(model.ProviderInfo)
			if err := d.Decode(info); err != nil {
				yield(nil, c.garbage(path, err))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
		if _, err := d.Token(); err != nil {
			yield(nil, c.garbage(path, err))
		}
	}
}

// Stats returns how many entries the index has.
func (c *Client) Stats(ctx context.Context) (s model.Stats, err error) {
	return s, c.document(ctx, "/stats", &s)
}

// errOther is an answer to another question.
var errOther = errors.New("the answer is to another question")

func (c *Client) garbage(path string, err error) error {
	return fmt.Errorf("ipnihttp: get %s%s: %w: %w", c.caller.Name(), path, digest.ErrMismatch, err)
}

// get returns a body of at most c.answer bytes and its media type.
func (c *Client) get(ctx context.Context, path, accept string) (io.ReadCloser, string, error) {
	res, err := c.caller.Do(ctx, wire.Call{Method: http.MethodGet, Path: path, Accept: accept})
	if err != nil {
		return nil, "", err
	}
	media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil {
		media = typeJSON // dhstore says nothing of metadata
	}
	return &bounded{res.Body, c.answer}, media, nil
}

// bounded is an answer of a bounded size.
type bounded struct {
	io.ReadCloser
	left int64
}

var errLarge = fmt.Errorf("the answer is too large: %w", digest.ErrMismatch)

// Read implements [io.Reader]. One byte more than allowed is an error.
func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errLarge
	}
	return n, err
}

// document decodes an answer that is one JSON document.
func (c *Client) document(ctx context.Context, path string, v any) error {
	body, media, err := c.get(ctx, path, typeJSON)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("ipnihttp: get %s%s: %w", c.caller.Name(), path, err)
	}
	if media != typeJSON && media != "text/plain" { // what dhstore's is taken for
		return c.garbage(path, fmt.Errorf("an answer of type %.64q", media))
	}
	if err := json.Unmarshal(data, v); err != nil {
		return c.garbage(path, err)
	}
	return nil
}

// lookup yields the results in an answer of lines, or in a document.
func lookup[T any](ctx context.Context, c *Client, path string, decode func([]byte) (T, error), results func(*document) ([]json.RawMessage, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		body, media, err := c.get(ctx, path, wantLines)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		for line, err := range c.lines(body, media, results) {
			var v T
			if err == nil {
				v, err = decode(line)
			}
			if errors.Is(err, errShort) {
				c.skipped.Add(1)
				continue
			}
			if err != nil {
				yield(none, c.failure(ctx, path, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// failure tells an answer that broke off from one that is malformed.
func (c *Client) failure(ctx context.Context, path string, err error) error {
	var bad malformed
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("ipnihttp: get %s%s: %w", c.caller.Name(), path, context.Cause(ctx))
	case errors.As(err, &bad):
		return c.garbage(path, bad.error)
	}
	return fmt.Errorf("ipnihttp: get %s%s: %w", c.caller.Name(), path, err)
}

// malformed is an error in what an answer says, rather than in receiving it.
type malformed struct{ error }

// lines yields the results in a body as JSON, one by one.
func (c *Client) lines(body io.Reader, media string, results func(*document) ([]json.RawMessage, error)) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		switch media {
		case typeLines:
			s := bufio.NewScanner(body)
			s.Buffer(make([]byte, firstLine), c.line)
			for s.Scan() {
				if len(s.Bytes()) > 0 && !yield(s.Bytes(), nil) {
					return
				}
			}
			if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
				yield(nil, malformed{err})
			} else if err != nil {
				yield(nil, err)
			}
		case typeJSON:
			c.whole(body, results, yield)
		default:
			yield(nil, malformed{fmt.Errorf("an answer of type %.64q", media)})
		}
	}
}

func (c *Client) whole(body io.Reader, results func(*document) ([]json.RawMessage, error), yield func([]byte, error) bool) {
	data, err := io.ReadAll(body)
	if err != nil {
		yield(nil, err)
		return
	}
	var doc document
	var all []json.RawMessage
	if err = json.Unmarshal(data, &doc); err == nil {
		all, err = results(&doc)
	}
	if err != nil {
		yield(nil, malformed{err})
		return
	}
	for _, r := range all {
		if !yield(r, nil) {
			return
		}
	}
}
