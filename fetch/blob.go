package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

const mediaBao = "application/vnd.hashstream.bao"

// ErrNoProof reports a gateway that gives no proofs of parts of BLAKE3 blobs
// (docs/formats/bao.md), or not of the one that it was asked for.
var ErrNoProof = errors.New("the gateway gives no proof of parts of this blob")

// Blob writes n bytes from off of the BLAKE3 blob d, each after it was verified, and
// returns how many. A negative n means to the end; what reaches beyond the end is cut off. A
// blob may have any size. If a gateway fails or lies, the next one goes on where it
// stopped. A range of a blob that ends before off matches [block.ErrRange].
func (c *Client) Blob(ctx context.Context, w io.Writer, d digest.Digest, off, n int64) (int64, error) {
	p := &proof{c: c, d: d, w: w, off: off, left: n}
	if n < 0 {
		p.left = max(bao.MaxSize-off, 0)
	}
	err := c.each(ctx, d.String(), func(g *server) error {
		err := p.from(ctx, g)
		if p.failed != nil {
			return nil // no other gateway would help
		}
		return err
	})
	switch {
	case p.failed != nil:
		return p.sent, fmt.Errorf("fetch: write %s: %w", d, p.failed)
	case err == nil && p.sized && off > 0 && off >= p.size && n != 0:
		return 0, fmt.Errorf("fetch: byte %d of %s, which has %d: %w", off, d, p.size, block.ErrRange)
	}
	return p.sent, err
}

// BlobSize returns the size of the BLAKE3 blob d in bytes, proved by its last group.
func (c *Client) BlobSize(ctx context.Context, d digest.Digest) (int64, error) {
	p := &proof{c: c, d: d, w: io.Discard, off: bao.MaxSize}
	if err := c.each(ctx, d.String(), func(g *server) error { return p.from(ctx, g) }); err != nil {
		return 0, err
	}
	if !p.sized {
		return 0, fmt.Errorf("fetch: size of %s: %w", d, digest.ErrMismatch)
	}
	return p.size, nil
}

// proof is a range of a blob that is being fetched.
type proof struct {
	c         *Client
	d         digest.Digest
	w         io.Writer
	off, left int64
	sent      int64
	size      int64
	sized     bool  // size is proved
	failed    error // of w

	guard *time.Timer // ends an answer in which no byte comes to be verified
}

// from asks one gateway for what is left.
func (p *proof) from(ctx context.Context, g *server) error {
	r := block.ByteRange{From: p.off + p.sent, To: p.off + p.sent + max(p.left, 1) - 1}
	b, err := p.c.get(ctx, g, "/ipfs/"+p.d.String(), url.Values{"format": {"bao"}, "entity-bytes": {r.String()}}, mediaBao)
	if err != nil {
		if unknown(err) {
			err = fmt.Errorf("%w: %w", ErrNoProof, err)
		}
		return err
	}
	defer b.Close()
	if b.kind != mediaBao {
		return fmt.Errorf("%w: the answer is %q", ErrNoProof, b.kind)
	}
	in, err := bao.NewReader(b, p.d, r.From, p.left)
	if err != nil {
		return err
	}
	p.guard = b.limit(p.c.o.BlockTimeout)
	defer p.guard.Stop()
	_, err = in.WriteTo(p)
	if size, ok := in.Size(); ok {
		p.size, p.sized = size, true
		p.left = min(p.left, max(p.size-p.off-p.sent, 0))
	}
	if err != nil && p.left == 0 && p.sent > 0 {
		return nil // all is there; what else came was of no use
	}
	return err
}

// unknown reports whether a gateway refused a form, rather than the content.
func unknown(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status {
	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
		return true
	}
	return false
}

// Write takes verified bytes.
func (p *proof) Write(b []byte) (int, error) {
	p.guard.Stop() // a slow receiver is no fault of the gateway
	n, err := p.w.Write(b)
	p.guard.Reset(p.c.o.BlockTimeout)
	p.sent += int64(n)
	p.left -= int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	p.failed = err
	return n, err
}
