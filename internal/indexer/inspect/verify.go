package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/verify"
)

// Verified is a part of the answer to OpVerify: an advertisement that is not in order, or
// the report of a chain.
type Verified struct {
	Finding *verify.Finding `json:"finding,omitempty"`
	Report  *verify.Report  `json:"report,omitempty"`
}

// verify checks the store against the chain of a publisher, or of all.
func (ix Index) verify(ctx context.Context, r Request, out io.Writer) error {
	rows, lines := state.New(ix.State), json.NewEncoder(out)
	if r.Peer != "" {
		id, err := peer.Decode(r.Peer)
		if err != nil {
			return fmt.Errorf("inspect: peer %q: %w: %w", r.Peer, fs.ErrInvalid, err)
		}
		p, err := rows.Publisher(ctx, id)
		if err != nil {
			return fmt.Errorf("inspect: publisher %s: %w", id, err)
		}
		return ix.verifyChain(ctx, r, rows, p, lines)
	}
	var all []state.Publisher // a scan must not last as long as the walks
	for p, err := range rows.Publishers(ctx) {
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	for _, p := range all {
		if err := ix.verifyChain(ctx, r, rows, p, lines); err != nil {
			return err
		}
	}
	return nil
}

// verifyChain writes what is not in order, then the report. That a publisher cannot be reached
// does not keep the others from being checked.
func (ix Index) verifyChain(ctx context.Context, r Request, rows *state.Store, p state.Publisher, lines *json.Encoder) error {
	var written error
	o := &verify.Options{Sample: r.Sample, Hold: ix.Hold, Found: func(f verify.Finding) {
		if written == nil {
			written = lines.Encode(Verified{Finding: &f})
		}
	}}
	if r.Repair {
		o.Repair = ix.Records
	}
	checked := verify.Over(ix.Records)
	if ix.Store != nil && ix.Records == Records(ix.Store) {
		checked = ix.Store
	}
	report := verify.Report{Publisher: p.ID}
	chain, err := ix.Open(ctx, peer.AddrInfo{ID: p.ID, Addrs: settings.ParseAddrs(p.Addrs)})
	if err != nil {
		report.Ended = err.Error()
	} else {
		report, err = verify.Run(ctx, p.ID, chain, rows, checked, o)
		if closed := closing(chain); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	if written != nil {
		return written
	}
	return lines.Encode(Verified{Report: &report})
}

func closing(c ipni.Chain) error {
	if closer, ok := c.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
