package settings

import (
	"math/rand/v2"
	"time"
)

// Backoff is a pause after a number of failures: doubled each time, up to limit, and
// spread so that those who failed together do not come back together.
func Backoff(tries uint64, first, limit time.Duration) time.Duration {
	d := min(first<<min(tries-1, 20), limit)
	if d <= 0 {
		d = limit
	}
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// Earlier returns the earlier one of two times.
func Earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Later returns the later one of two times.
func Later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
