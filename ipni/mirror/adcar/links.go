package adcar

import (
	"bytes"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	basicnode "github.com/ipld/go-ipld-prime/node/basic"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// Links is where an advertisement points to; what is undefined is not there.
type Links struct{ Previous, Entries cid.Cid }

// ReadLinks reads the links of an advertisement that may be bad otherwise: a chain goes on
// below one whose signature is wrong.
func ReadLinks(c cid.Cid, data []byte) (l Links, err error) {
	defer func() {
		if p := recover(); p != nil { // of a decoder
			err = fmt.Errorf("adcar: advertisement %s: %w: %v", c, digest.ErrMismatch, p)
		}
	}()
	var decode codec.Decoder
	switch c.Type() {
	case cid.DagJSON:
		decode = dagjson.Decode
	case cid.DagCBOR:
		decode = dagcbor.Decode
	default:
		return Links{}, fmt.Errorf("adcar: advertisement %s: %w: codec 0x%x", c, digest.ErrMismatch, c.Type())
	}
	b := basicnode.Prototype.Any.NewBuilder()
	if err := decode(b, bytes.NewReader(data)); err != nil {
		return Links{}, fmt.Errorf("adcar: advertisement %s: %w: %w", c, digest.ErrMismatch, err)
	}
	n := b.Build()
	l = Links{linkOf(n, "PreviousID"), linkOf(n, "Entries")}
	if l.Entries.Equals(ad.NoEntries()) {
		l.Entries = cid.Undef
	}
	return l, nil
}

// nextField ends a chunk in dag-json that is not the last one.
const nextField = `"Next":{"/":"`

// EntryLinks returns what a block of entries points to. What it says decides only where a
// block is looked for.
func EntryLinks(c cid.Cid, data []byte) []cid.Cid {
	if c.Type() == cid.DagJSON && bytes.HasPrefix(data, []byte(`{"Entries":`)) {
		// There is one link, and it stands behind all multihashes.
		tail := data[max(0, len(data)-maxHeadSize):]
		i := bytes.LastIndex(tail, []byte(nextField))
		if i < 0 {
			return nil
		}
		text, _, _ := bytes.Cut(tail[i+len(nextField):], []byte(`"`))
		next, err := cid.Decode(string(text))
		if err != nil {
			return nil
		}
		return []cid.Cid{next}
	}
	e, err := ad.DecodeEntries(c, data)
	if err != nil {
		return nil
	}
	return e.Links
}

func linkOf(n datamodel.Node, field string) cid.Cid {
	v, err := n.LookupByString(field)
	if err != nil {
		return cid.Undef
	}
	l, err := v.AsLink()
	if err != nil {
		return cid.Undef
	}
	if l, ok := l.(cidlink.Link); ok {
		return l.Cid
	}
	return cid.Undef
}

// Verify wants data to be what c names, and no more than [ipni.MaxBlock] bytes.
func Verify(c cid.Cid, data []byte) error {
	if len(data) > ipni.MaxBlock {
		return fmt.Errorf("block %s: %w: %d bytes, at most %d are allowed", c, digest.ErrMismatch, len(data), ipni.MaxBlock)
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return fmt.Errorf("block %s: %w: %w", c, digest.ErrMismatch, err)
	}
	if err := d.Verify(data); err != nil {
		return fmt.Errorf("block %s: %w: %w", c, digest.ErrMismatch, err)
	}
	return nil
}
