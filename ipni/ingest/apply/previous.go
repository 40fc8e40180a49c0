package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/hashstream/hashstream/ipni/ad"
)

// maxLink is the length of the text of a link, as long ones in base 58 take quadratic time.
const maxLink = 128

// Previous returns the link to the advertisement before a block that is no good one, as
// far as the block can be read: its publisher's chain goes on below it. The first
// advertisement has none.
func Previous(c cid.Cid, block []byte) (_ cid.Cid, err error) {
	defer func() {
		if p := recover(); p != nil { // hostile bytes in a library
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			err = fmt.Errorf("apply: find what is before %s: %w", c, err)
		}
	}()
	if len(block) > ad.MaxAd {
		return cid.Undef, fmt.Errorf("%d bytes, at most %d are allowed", len(block), ad.MaxAd)
	}
	if c.Type() == cid.DagCBOR {
		return previousCBOR(block)
	}
	var fields struct {
		PreviousID *struct {
			Link string `json:"/"`
		}
		Signature json.RawMessage
	}
	if err := json.Unmarshal(block, &fields); err != nil {
		return cid.Undef, err
	}
	switch {
	case fields.Signature == nil:
		return cid.Undef, errors.New("no advertisement")
	case fields.PreviousID == nil:
		return cid.Undef, nil
	case len(fields.PreviousID.Link) > maxLink:
		return cid.Undef, fmt.Errorf("link of %d bytes", len(fields.PreviousID.Link))
	}
	return cid.Decode(fields.PreviousID.Link)
}

func previousCBOR(block []byte) (cid.Cid, error) {
	b := basicnode.Prototype.Any.NewBuilder()
	// The budget bounds what lengths in the block can make the decoder allocate.
	opts := dagcbor.DecodeOptions{AllowLinks: true, AllocationBudget: 4 * int64(len(block)+1024)}
	if err := opts.Decode(b, bytes.NewReader(block)); err != nil {
		return cid.Undef, err
	}
	if _, err := b.Build().LookupByString("Signature"); err != nil {
		return cid.Undef, err
	}
	n, err := b.Build().LookupByString("PreviousID")
	if err != nil {
		return cid.Undef, nil // the first one
	}
	link, err := n.AsLink()
	if l, ok := link.(cidlink.Link); ok {
		return l.Cid, nil
	}
	return cid.Undef, errors.Join(err, errors.New("the previous one is no link"))
}
