// Package mirrored is chains that are read from a mirror alone, whose errors say what an operator can do.
//
// # Errors
//
// An advertisement or entries that are not there match [io/fs.ErrNotExist], which that there is no head does not.
//
// A Chain is safe for concurrent use.
package mirrored

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/mirror"
)

// Chain is a chain that is read from a mirror alone. What is not there is not to be had, which is
// told together with what can be done: storetheindex writes no archive of an advertisement that has no
// entries or whose context is removed later, and names heads by providers.
type Chain struct {
	*mirror.Chain
	publisher peer.ID
}

// New returns the chain of a publisher in a mirror.
func New(m *mirror.Mirror, publisher peer.ID) Chain {
	return Chain{m.Chain(publisher, nil, mirror.Only), publisher}
}

// Head returns the newest advertisement. Without one the chain is not empty, but unknown.
func (m Chain) Head(ctx context.Context) (cid.Cid, error) {
	head, err := m.Chain.Head(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the mirror has no head of %s (storetheindex names heads by provider, which may be another peer): "+
			`set mirror.read = "first" to have the publisher tell it`, m.publisher)
	}
	return head, err
}

// Block returns a block.
func (m Chain) Block(ctx context.Context, b cid.Cid, kind ipni.Kind) ([]byte, error) {
	data, err := m.Chain.Block(ctx, b, kind)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; mirrors of storetheindex lack what has no entries or was removed later, and what is older "+
			`cannot be reached without it: set mirror.read = "first" to have the publisher fill that in`, err)
	}
	return data, err
}
