package coverage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// ErrApart says that of two advertisements neither was met below the other, as far as the
// chain was read.
var ErrApart = errors.New("coverage: neither advertisement is below the other")

// Walk returns a function for [Options.Distance] that reads the chains of publishers, which
// open returns, no more than depth advertisements from each of the two. An [io.Closer] is
// closed.
func Walk(open func(ctx context.Context, publisher peer.AddrInfo) (ipni.Chain, error), depth int) func(ctx context.Context, publisher peer.AddrInfo, ours, theirs cid.Cid) (int, error) {
	return func(ctx context.Context, publisher peer.AddrInfo, ours, theirs cid.Cid) (_ int, err error) {
		chain, err := open(ctx, publisher)
		if err != nil {
			return 0, err
		}
		if c, ok := chain.(io.Closer); ok {
			defer func() { err = errors.Join(err, c.Close()) }()
		}
		n, err := below(ctx, chain, theirs, ours, depth)
		if err == nil || ctx.Err() != nil || !ours.Defined() {
			return n, err
		}
		n, err2 := below(ctx, chain, ours, theirs, depth)
		if err2 != nil {
			return 0, errors.Join(err, err2)
		}
		return -n, nil
	}
}

// below returns how many advertisements lie from one down to, not including, another one below
// it. If that is undefined it is what all chains end with.
func below(ctx context.Context, chain ipni.Chain, from, to cid.Cid, depth int) (int, error) {
	at := from
	for n := range depth + 1 {
		if at == to {
			return n, nil
		}
		if !at.Defined() || n == depth {
			break
		}
		block, err := chain.Block(ctx, at, ipni.Advertisement)
		if err != nil {
			return 0, fmt.Errorf("coverage: advertisement %s: %w", at, err)
		}
		a, err := ad.Decode(at, block)
		if err != nil {
			return 0, fmt.Errorf("coverage: advertisement %s: %w", at, err)
		}
		at = a.Previous
	}
	return 0, fmt.Errorf("%w: %s was not met in %d from %s", ErrApart, to, depth, from)
}
