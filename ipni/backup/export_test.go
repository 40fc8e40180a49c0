package backup

import (
	"context"
	"io"
	"iter"
)

// Encode writes items as they are.
func Encode(ctx context.Context, w io.Writer, items iter.Seq[Item]) error {
	return encode(ctx, w, func(yield func(Item, error) bool) {
		for it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}, &Totals{})
}
