package router

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// RemoveSealed removes the groups of a context, or of a provider if context is nil, with
// an epoch below before, on every member that has a partition. Those of a provider may be many: members
// remove them in parts, and are asked until all have. If ctx ends before that, the error
// matches [ipni.ErrUnfinished].
func (r *Router) RemoveSealed(ctx context.Context, provider ipni.ProviderTag, of *dhash.MetadataKey, before uint64) error {
	for rounds := 0; ; rounds++ {
		more, err := r.removePart(ctx, provider, of, before)
		if err != nil && ctx.Err() != nil && rounds > 0 {
			return fmt.Errorf("router: remove: %w: %w", ipni.ErrUnfinished, context.Cause(ctx))
		}
		if err != nil || !more {
			return err
		}
	}
}

// removePart removes what members can in the time of a write.
func (r *Router) removePart(ctx context.Context, provider ipni.ProviderTag, of *dhash.MetadataKey, before uint64) (more bool, err error) {
	w, err := r.begin(ctx)
	if err != nil {
		return false, err
	}
	for p := range cluster.Partitions {
		if err := w.touch(byte(p)); err != nil {
			return false, err
		}
	}
	var unfinished atomic.Bool
	err = w.run(ctx, true, func(ctx context.Context, n cluster.Node, _ valuestore.Records) error {
		part, cancel := context.WithTimeout(ctx, r.timing.Write/2)
		defer cancel()
		err := n.RemoveSealed(part, provider, of, before)
		if errors.Is(err, ipni.ErrUnfinished) {
			unfinished.Store(true) // which is no failure of the member
			return nil
		}
		return err
	})
	return unfinished.Load(), err
}
