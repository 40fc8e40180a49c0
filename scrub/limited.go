package scrub

import (
	"context"
	"io"

	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/blob"
)

// limited slows reading down to a rate in bytes a second; 0 means no limit.
type limited struct {
	blob.Getter
	rate int64
}

func (l limited) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	obj, err := l.Getter.Get(ctx, key, off, n)
	if err != nil || l.rate <= 0 {
		return obj, err
	}
	burst := int(min(l.rate, 1<<20))
	return &slow{Object: obj, ctx: ctx, limit: rate.NewLimiter(rate.Limit(l.rate), burst), burst: burst}, nil
}

// slow is an object whose reads wait their turn. It hides the quick ways around
// Read that the object may have.
type slow struct {
	blob.Object
	ctx   context.Context // of the one pass that reads it
	limit *rate.Limiter
	burst int
}

var _ io.Reader = (*slow)(nil)

func (s *slow) Read(b []byte) (int, error) {
	n, err := s.Object.Read(b[:min(len(b), s.burst)])
	if waited := s.limit.WaitN(s.ctx, n); waited != nil && n > 0 {
		return n, waited
	}
	return n, err
}
