package disk

import (
	"fmt"
	"sync/atomic"
	"syscall"
)

// Reserve is space that is to stay free.
type Reserve struct {
	dir     string
	bytes   uint64
	free    func(dir string) (uint64, error)
	claimed atomic.Int64
}

// NewReserve returns a reserve of bytes, 0 for none, where dir is. free says how many are free.
func NewReserve(dir string, bytes uint64, free func(dir string) (uint64, error)) *Reserve {
	return &Reserve{dir: dir, bytes: bytes, free: free}
}

// Left returns how many quarters of the reserve are free, 4 at most. With less it returns an error too; if
// the space is not known, that is 0.
func (r *Reserve) Left() (quarters int, err error) {
	if r.bytes == 0 {
		return 4, nil
	}
	free, err := r.free(r.dir)
	if err != nil {
		return 0, err
	}
	if free >= r.bytes {
		return 4, nil
	}
	return int(min(free/max(r.bytes/4, 1), 3)), fmt.Errorf("%d bytes are free, %d are to stay so: %w", free, r.bytes, syscall.ENOSPC)
}

// Claim takes n bytes for work that leaves a quarter of the reserve, until they are given back.
func (r *Reserve) Claim(n int64) (giveBack func(), err error) {
	claimed := r.claimed.Add(n)
	giveBack = func() { r.claimed.Add(-n) }
	if r.bytes == 0 {
		return giveBack, nil
	}
	free, err := r.free(r.dir)
	if floor := r.bytes / 4; err == nil && free < floor+uint64(claimed) {
		err = fmt.Errorf("%d bytes are free, a merge may take %d and leaves %d: %w", free, n, floor, syscall.ENOSPC)
	}
	if err != nil {
		giveBack()
		return nil, err
	}
	return giveBack, nil
}
