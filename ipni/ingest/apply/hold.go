package apply

import (
	"context"

	"github.com/hashstream/hashstream/ipni"
)

// Hold waits until no advertisement for c is being applied, and keeps it so until release is
// called, which must be. Who puts records of c by other means is not overtaken by a removal.
func (ap *Applier) Hold(ctx context.Context, c ipni.Context) (release func(), err error) {
	return ap.contexts.lock(ctx, c)
}
