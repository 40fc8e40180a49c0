package indexer

import (
	"context"
	"io"

	"github.com/hashstream/hashstream/internal/indexer/inspect"
)

// Inspection returns the index as commands inspect it, beside a service that runs or not.
func (s *Service) Inspection() inspect.Index {
	ix := inspect.Index{State: s.state, Store: s.store, Records: s.index, Registry: s.registry, Providers: s.view(), Open: s.chains.open}
	if s.ingester != nil {
		ix.Hold = s.ingester.Hold
	}
	return ix
}

// inspect does what an [inspect.Request] in args asks, and reports whether args is one.
func (s *Service) inspect(ctx context.Context, args []byte, out io.Writer) (is bool, err error) {
	r, is := inspect.Parse(args)
	if is {
		err = s.Inspection().Do(ctx, r, out)
	}
	return is, err
}
