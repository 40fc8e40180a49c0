package fetch

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// stream is one CAR response. Nothing in it is verified.
type stream struct {
	from  *server
	body  *body
	car   *car.Reader
	next  *time.Timer // runs while a section is awaited
	first *section    // read ahead by openStream, until it is taken
}

// section is a block as the stream claims it.
type section struct {
	name digest.Digest
	data []byte
}

// openStream asks g for sel and reads as far as the first block: there are
// gateways that answer 200 and an empty CAR for content that they do not have.
func (c *Client) openStream(ctx context.Context, g *server, sel block.Selection) (*stream, error) {
	path, query, accept, err := request(sel)
	if err != nil {
		return nil, err
	}
	b, err := c.get(ctx, g, path, query, accept)
	if err != nil {
		return nil, err
	}
	st := &stream{from: g, body: b, next: b.limit(c.o.BlockTimeout)}
	err = st.begin(ctx, c.o.BlockTimeout)
	if err == nil {
		return st, nil
	}
	st.next.Stop()
	b.Close()
	if err == io.EOF {
		return nil, fmt.Errorf("empty CAR: %w", fs.ErrNotExist)
	}
	return nil, fmt.Errorf("%w: %w", errNotCAR, err)
}

// begin reads the header and the first section. The roots say nothing that could
// be relied on: the specification leaves them open.
func (s *stream) begin(ctx context.Context, limit time.Duration) error {
	// Static servers call a CAR all kinds of things, but never a text.
	if strings.HasPrefix(s.body.kind, "text/") {
		return fmt.Errorf("it is %q", s.body.kind)
	}
	r, err := car.NewReader(s.body, nil)
	if err != nil {
		return err
	}
	s.car = r
	first, err := s.section(ctx, limit)
	s.first = &first
	return err
}

// section reads the next block of the stream. It returns [io.EOF] at the clean
// end. It gives up when ctx does.
func (s *stream) section(ctx context.Context, limit time.Duration) (section, error) {
	if first := s.first; first != nil {
		s.first = nil
		return *first, nil
	}
	stop := context.AfterFunc(ctx, func() { s.body.cancel(context.Cause(ctx)) })
	defer stop()
	s.next.Reset(limit)
	defer s.next.Stop()
	at, err := s.car.Next()
	if err != nil {
		return section{}, err
	}
	d, err := digest.FromCID(at.CID)
	if err != nil {
		return section{}, err
	}
	data, err := s.car.Data()
	return section{d, data}, err
}

func (s *stream) close() error { return s.body.Close() }

// request builds the URL path, the query and the Accept header of a selection.
func request(sel block.Selection) (path string, query url.Values, accept string, err error) {
	var p strings.Builder
	p.WriteString("/ipfs/" + sel.Root.String())
	for _, segment := range sel.Path {
		if segment == "" || segment == "." || segment == ".." {
			return "", nil, "", fmt.Errorf("path segment %q cannot be asked for", segment)
		}
		p.WriteString("/" + url.PathEscape(segment))
	}
	dups := "n"
	if sel.Dups {
		dups = "y"
	}
	query = url.Values{"format": {"car"}, "car-version": {"1"}, "car-order": {"dfs"}, "car-dups": {dups}}
	scope := sel.Scope
	if sel.Bytes != nil {
		query.Set("entity-bytes", sel.Bytes.String())
		scope = block.ScopeEntity
	}
	if scope != "" {
		query.Set("dag-scope", string(scope))
	}
	return p.String(), query, mediaCAR + "; version=1; order=dfs; dups=" + dups, nil
}
