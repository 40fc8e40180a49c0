package pgkv

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	firstWait = 10 * time.Millisecond
	longWait  = time.Second
)

// retry calls f until it succeeds, fails for good, or the server was away for too
// long. Its errors are clean.
func (s *Store) retry(ctx context.Context, what string, f func() error) error {
	began := time.Now()
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := f()
		if err == nil {
			return nil
		}
		clean := s.clean(ctx, err)
		if ctx.Err() != nil || !transient(err) {
			return clean
		}
		wait := backoff(n)
		if time.Since(began)+wait > s.retryFor {
			return fmt.Errorf("%w: %w", ErrUnavailable, clean)
		}
		s.logger.WarnContext(ctx, "pgkv: repeat", "call", what, "error", clean, "wait", wait)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// backoff returns the wait before repetition n: from half to all of 10 ms, 20 ms, … 1 s.
func backoff(n int) time.Duration {
	d := min(firstWait<<min(n, 10), longWait)
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
