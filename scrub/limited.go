package scrub

import (
	"context"
	"io"

	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/blob"
)

// limited slows reading down; a nil limit means none.
type limited struct {
	blob.Getter
	limit *rate.Limiter // of bytes
}

func (l limited) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	obj, err := l.Getter.Get(ctx, key, off, n)
	if err != nil || l.limit == nil {
		return obj, err
	}
	return &slow{Object: obj, ctx: ctx, limit: l.limit}, nil
}

// slow is an object whose reads wait their turn. It hides the quick ways around
// Read that the object may have.
type slow struct {
	blob.Object
	ctx   context.Context // of the one pass that reads it
	limit *rate.Limiter
}

var _ io.Reader = (*slow)(nil)

func (s *slow) Read(b []byte) (int, error) {
	n, err := s.Object.Read(b[:min(len(b), s.limit.Burst())])
	if waited := s.limit.WaitN(s.ctx, n); waited != nil && n > 0 {
		return n, waited
	}
	return n, err
}
