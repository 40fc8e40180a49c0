package ingest

import (
	"context"
	"fmt"

	"github.com/hashstream/hashstream/ipni"
)

// Hold keeps this ingester from changing a context until release is called, which must be. Who
// puts back what is missing of the context is not overtaken by a removal then.
func (in *Ingester) Hold(ctx context.Context, c ipni.Context) (release func(), err error) {
	release, err = in.applier.Hold(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("ingest: hold a context of %s: %w", c.Provider, err)
	}
	return release, nil
}
