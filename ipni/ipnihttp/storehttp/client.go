package storehttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strings"

	"github.com/mr-tron/base58"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/jsonappend"
)

const (
	requestBytes = 16 << 20 // of records in a request, so that one that fails is soon sent again
	jsonBytes    = 1 << 20  // of records in a request to dhstore, which decodes all of it at once
)

// ClientOptions adjusts a [Client]. A nil ClientOptions or a zero field means the default.
type ClientOptions struct {
	wire.CallerOptions
	Foreign bool // the server is a dhstore: JSON, records of no group, no removal; default false
	// LookupOnce has lookups end with their first failure, because the caller asks another node then, and wants to
	// know of it. The default is to send them again.
	LookupOnce bool
}

// Client is a store on another node. Writes return when they are durable there (dhstore
// promises less). They are sent again if the node may have missed them.
type Client struct {
	caller  *wire.Caller
	lookups *wire.Caller
	reads   *ipnihttp.Client
	foreign bool
}

var _ cluster.Node = (*Client)(nil)

// NewClient returns a client of the store at base: http or https, with an optional path
// prefix. It does not touch the network.
func NewClient(base string, o *ClientOptions) (*Client, error) {
	if o == nil {
		o = &ClientOptions{}
	}
	caller, err := wire.NewCaller(base, &o.CallerOptions)
	if err != nil {
		return nil, err
	}
	lookups, options := caller, o.CallerOptions
	if o.LookupOnce {
		lookups, options.Retries = caller.Once(), -1
	}
	reads, err := ipnihttp.NewClient(base, &ipnihttp.ClientOptions{CallerOptions: options})
	if err != nil {
		return nil, err
	}
	return &Client{caller, lookups, reads, o.Foreign}, nil
}

// Name returns the URL of the node, without credentials.
func (c *Client) Name() string { return c.caller.Name() }

// Close drops idle connections.
func (c *Client) Close() error { return errors.Join(c.caller.Close(), c.reads.Close()) }

// SealedMetadata returns encrypted metadata, or an error that matches fs.ErrNotExist.
func (c *Client) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	return c.reads.SealedMetadata(ctx, key)
}

// ValueKeys yields the encrypted value keys of key. A node that answers something else
// is an error, and so is one that says that it has no such route.
func (c *Client) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	if c.foreign {
		return c.reads.ValueKeys(ctx, key)
	}
	return func(yield func([]byte, error) bool) {
		path := "/encrypted/multihash/" + key.Multihash().B58String()
		for f, err := range c.stream(ctx, c.lookups, path) {
			if err != nil {
				yield(nil, err)
				return
			}
			for e, err := range f.Records.All() {
				if err == nil && (e.Key != key || f.Kind != Values) {
					err = malformed("records of another key")
				}
				if err != nil {
					yield(nil, c.failed(path, err))
					return
				}
				if !yield(e.Value, nil) {
					return
				}
			}
		}
	}
}

// stream yields the frames of an answer, the last of which must come.
func (c *Client) stream(ctx context.Context, caller *wire.Caller, path string) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		res, err := caller.Do(ctx, wire.Call{Method: http.MethodGet, Path: path, Accept: MediaType})
		if err != nil {
			yield(Frame{}, present(err))
			return
		}
		defer res.Body.Close()
		if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media != MediaType {
			yield(Frame{}, c.failed(path, malformed("an answer of type %.64q", media)))
			return
		}
		for in := NewReader(res.Body); ; {
			f, err := in.Next()
			switch {
			case err == io.EOF:
				return
			case err != nil && ctx.Err() != nil:
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Frame{}, c.failed(path, err))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

// present makes of a 404 what it is where a store answers absence by an empty stream:
// somebody else's answer.
func present(err error) error {
	if e := (*wire.Error)(nil); errors.As(err, &e) && wire.StatusOf(err) == http.StatusNotFound {
		return fmt.Errorf("%w: there is no store: %s", digest.ErrMismatch, err)
	}
	return err
}

func (c *Client) failed(path string, err error) error {
	return fmt.Errorf("storehttp: get %s%s: %w", c.caller.Name(), path, err)
}

// PutSealed adds records to a group. A foreign store knows no groups.
func (c *Client) PutSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return c.write(ctx, http.MethodPut, g, records)
}

// DeleteSealed deletes records of a group.
func (c *Client) DeleteSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return c.write(ctx, http.MethodDelete, g, records)
}

func (c *Client) write(ctx context.Context, method string, g ipni.SealedGroup, records valuestore.Records) error {
	limit := requestBytes
	if c.foreign {
		limit = jsonBytes
	}
	for rest := records; len(rest) > 0; {
		var err error
		if records, rest, err = split(rest, limit); err != nil {
			return err
		}
		if c.foreign {
			err = c.writeJSON(ctx, method, records)
		} else {
			err = c.WriteFrame(ctx, method == http.MethodDelete, Frame{Kind: Values, Group: g, Records: records})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteFrame puts, or deletes, what stands in frames, in one request: records of several
// groups, metadata. What [Client.Export] of another node yields can be put as it is.
func (c *Client) WriteFrame(ctx context.Context, remove bool, frames ...Frame) error {
	method := http.MethodPut
	if remove {
		method = http.MethodDelete
	}
	var parts [][]byte // headers, and records where they lie
	collect := collector{&parts}
	w := NewWriter(collect)
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	size := int64(0)
	for _, p := range parts {
		size += int64(len(p))
	}
	return c.do(ctx, wire.Call{Method: method, Path: "/encrypted/multihash", ContentType: MediaType, Length: size, Body: func() io.Reader {
		readers := make([]io.Reader, len(parts))
		for i, p := range parts {
			readers[i] = bytes.NewReader(p)
		}
		return io.MultiReader(readers...)
	}})
}

// collector keeps what is written: large parts as they are, small ones copied, for those are
// headers in a buffer that is used again.
type collector struct{ parts *[][]byte }

// Write implements [io.Writer].
func (c collector) Write(p []byte) (int, error) {
	if len(p) <= len(magic)+headerSize {
		p = bytes.Clone(p)
	}
	*c.parts = append(*c.parts, p)
	return len(p), nil
}

// do sends a request whose answer is its status.
func (c *Client) do(ctx context.Context, call wire.Call) error {
	res, err := c.caller.Do(ctx, call)
	if err != nil {
		return present(err)
	}
	io.CopyN(io.Discard, res.Body, maxSmall) // so that the connection can be used again
	return res.Body.Close()
}

// writeJSON sends records as dhstore takes them.
func (c *Client) writeJSON(ctx context.Context, method string, records valuestore.Records) error {
	body := append(make([]byte, 0, len(records)*2), `{"merges":[`...)
	for e, err := range records.All() {
		if err != nil {
			return err
		}
		body = jsonappend.Base64(append(body, `{"key":`...), e.Key.Multihash())
		body = jsonappend.Base64(append(body, `,"value":`...), e.Value)
		body = append(body, "},"...)
	}
	body = append(bytes.TrimSuffix(body, []byte{','}), "]}"...)
	return c.document(ctx, method, "/encrypted/multihash", body)
}

func (c *Client) document(ctx context.Context, method, path string, body []byte) error {
	return c.do(ctx, documentCall(method, path, body))
}

func documentCall(method, path string, body []byte) wire.Call {
	return wire.Call{
		Method: method, Path: path, ContentType: "application/json", Length: int64(len(body)),
		Body: func() io.Reader { return bytes.NewReader(body) },
	}
}

// PutSealedMetadata sets encrypted metadata; nil deletes it.
func (c *Client) PutSealedMetadata(ctx context.Context, key dhash.MetadataKey, sealed []byte) error {
	if sealed == nil {
		return c.do(ctx, wire.Call{Method: http.MethodDelete, Path: "/metadata/" + base58.Encode(key[:])})
	}
	var body strings.Builder
	err := json.NewEncoder(&body).Encode(struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}{key[:], sealed})
	if err != nil {
		return err
	}
	return c.document(ctx, http.MethodPut, "/metadata", []byte(body.String()))
}
