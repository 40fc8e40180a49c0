package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/progress"
)

// parseRange reads FROM:TO, FROM: and -N:, or the same as a Range header has it.
func parseRange(s string) (*block.ByteRange, error) {
	text := s
	if !strings.Contains(s, ":") {
		from, to, _ := strings.Cut(strings.TrimPrefix(s, "-"), "-")
		if strings.HasPrefix(s, "-") {
			from = "-" + from
		} else if !strings.Contains(s, "-") {
			return nil, app.Usagef("--range %q: want FROM:TO, FROM: or -N:", s)
		}
		text = from + ":" + to
	}
	if strings.HasSuffix(text, ":") {
		text += "*"
	}
	r, err := block.ParseByteRange(text)
	if err != nil {
		return nil, app.Usagef("--range %q: want FROM:TO, such as 0:1023, FROM: or -N:", s)
	}
	return r, nil
}

// isWhole reports whether sel names a block that may be of any size.
func isWhole(sel block.Selection) bool {
	h := sel.Root.Prefix()
	return len(sel.Path) == 0 && h.Codec == cid.Raw && h.MhType == uint64(digest.BLAKE3) && h.MhLength == 32
}

// fillWhole writes a BLAKE3 blob. It reports false if that is to be done as with other
// blocks, because the gateways know no proofs.
func (a commands) fillWhole(ctx context.Context, c content, sel block.Selection, out output, p *progress.Bar, w *written) (bool, error) {
	switch c := c.(type) {
	case local:
		sel.Encoding = block.EncodingRaw
		return true, a.writePlanned(ctx, c.Streamer, sel, out, p, w)
	case remote:
		err := a.writeBlob(ctx, c.client, sel, block.ByteRange{Open: true}, out, w)
		return !errors.Is(err, fetch.ErrNoProof) || w.Bytes > 0, err
	}
	return false, nil
}

// writeBlob writes a range of a BLAKE3 blob, verified by its proof.
func (a commands) writeBlob(ctx context.Context, client *fetch.Client, sel block.Selection, r block.ByteRange, out output, w *written) error {
	d, err := digest.FromCID(sel.Root)
	if err != nil {
		return app.Usage(err)
	}
	if r.From < 0 || !r.Open && r.To < 0 { // counted from an end that nobody has proved
		size, err := client.BlobSize(ctx, d)
		if err != nil {
			return err
		}
		from, end, err := r.Resolve(size)
		if err != nil {
			return fmt.Errorf("get %s: %w", sel.Root, err)
		}
		r = block.ByteRange{From: from, To: end - 1}
	}
	n := int64(-1)
	if !r.Open {
		n = r.To - r.From + 1
	}
	return a.writeStream(out, w, func(to io.Writer) error {
		_, err := client.Blob(ctx, to, d, r.From, n)
		return err
	})
}

// getRange fetches a range of a file.
func (a commands) getRange(ctx context.Context, c remote, sel block.Selection, out output, p *progress.Bar) error {
	w := written{CID: sel.Root.String(), Output: out.name, Format: out.format}
	err := error(fetch.ErrNoProof)
	if isWhole(sel) {
		err = a.writeBlob(ctx, c.client, sel, *sel.Bytes, out, &w)
	}
	if errors.Is(err, fetch.ErrNoProof) && w.Bytes == 0 {
		err = a.writeRange(ctx, c, sel, out, &w)
	}
	if err != nil {
		return err
	}
	p.Stop()
	return a.tellWritten(w, out)
}

// writeRange writes a range of a file that is a DAG, or one small block.
func (a commands) writeRange(ctx context.Context, c remote, sel block.Selection, out output, w *written) error {
	r := *sel.Bytes
	sel.Scope, sel.Dups = block.ScopeEntity, true
	src, done, err := c.open(ctx, sel)
	if err != nil {
		return err
	}
	defer done()
	root, err := terminus(ctx, src, sel)
	if err != nil {
		return err
	}
	w.CID = root.String()
	return a.writeStream(out, w, func(to io.Writer) error {
		for b, err := range dag.FileRange(ctx, src, root, r) {
			if err != nil {
				return err
			}
			if _, err := to.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
}
