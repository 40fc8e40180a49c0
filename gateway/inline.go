package gateway

import (
	"context"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// inline is a body whose bytes the CID itself carries. No store is asked for it,
// so the probe CID bafkqaaa is there on an empty node too.
type inline struct{ data []byte }

// inlineBody answers what sel asks of an identity CID, if the CID alone tells. A
// CAR has the CID as its root and no block. Where an identity CID of a codec with
// links is a root of more, the Opener is asked.
func inlineBody(sel *block.Selection) (block.Body, bool) {
	if sel.Root.Prefix().MhType != uint64(digest.Identity) {
		return nil, false
	}
	d, err := digest.FromCID(sel.Root)
	if err != nil {
		return nil, false
	}
	data, _ := d.Inline()
	switch {
	case sel.Encoding == block.EncodingRaw:
		return inline{data}, true
	case len(sel.Path) > 0 || sel.Root.Type() != cid.Raw && sel.Scope != block.ScopeBlock:
		return nil, false
	}
	return inline{car.AppendHeader(nil, sel.Root)}, true
}

// Size returns the length in bytes.
func (b inline) Size() (int64, bool) { return int64(len(b.data)), true }

// Variant says that there is one form.
func (b inline) Variant() string { return "inline" }

// Send writes the bytes.
func (b inline) Send(_ context.Context, w io.Writer) (int64, error) {
	n, err := w.Write(b.data)
	return int64(n), err
}

// SendRange writes n bytes from offset off.
func (b inline) SendRange(_ context.Context, w io.Writer, off, n int64) (int64, error) {
	written, err := w.Write(b.data[off : off+n])
	return int64(written), err
}
