package indexer

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

// mirrored is a chain that is read from a mirror alone. What is not there is not to be had, which is
// told together with what can be done: storetheindex writes no archive of an advertisement that has no
// entries or whose context is removed later, and names heads by providers.
type mirrored struct {
	*mirror.Chain
	publisher peer.ID
}

// Head returns the newest advertisement. Without one the chain is not empty, but unknown.
func (m mirrored) Head(ctx context.Context) (cid.Cid, error) {
	head, err := m.Chain.Head(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the mirror has no head of %s (storetheindex names heads by provider, which may be another peer): "+
			`set mirror.read = "first" to have the publisher tell it`, m.publisher)
	}
	return head, err
}

// Block returns a block.
func (m mirrored) Block(ctx context.Context, b cid.Cid, kind ipni.Kind) ([]byte, error) {
	data, err := m.Chain.Block(ctx, b, kind)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; mirrors of storetheindex lack what has no entries or was removed later, and what is older "+
			`cannot be reached without it: set mirror.read = "first" to have the publisher fill that in`, err)
	}
	return data, err
}
