package body

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// What a request holds at most while its body comes, in bytes: what is decoded, what waits to be written
// with others, and buffers. What the store holds is its own.
const (
	small     = 16 << 10 // a request of no more is read as a whole
	frameRoom = 8 << 20  // a frame of 4 MiB that has grown, small ones, and metadata
	mergeRoom = 5 << 18  // a batch and the window of a merges.Reader, whatever the size of the document
	smallRoom = 2 * small
	zipRoom   = 64 << 10 // more if the body is compressed
)

// roomWait is how long a request waits for others to end before it is sent away.
const roomWait = 5 * time.Second

// room is memory that requests share.
type room struct {
	size int64
	free *semaphore.Weighted
}

func newRoom(size int64) *room { return &room{size, semaphore.NewWeighted(size)} }

// take waits for n bytes, or for all there is. Who gets them gives them back.
func (r *room) take(ctx context.Context, n int64) (back func(), err error) {
	n = min(n, r.size)
	if !r.free.TryAcquire(n) {
		limited, cancel := context.WithTimeout(ctx, roomWait)
		defer cancel()
		if err := r.free.Acquire(limited, n); err != nil {
			return nil, &wire.Error{Status: http.StatusServiceUnavailable, Reason: "too many write at once", RetryAfter: time.Second}
		}
	}
	return func() { r.free.Release(n) }, nil
}

// roomFor returns how many bytes a request needs.
func roomFor(r *http.Request, frames bool, limit int64) int64 {
	n := int64(mergeRoom)
	switch {
	case limit == small:
		n = smallRoom
	case frames && r.ContentLength >= 0 && r.Header.Get("Content-Encoding") == "":
		n = min(frameRoom, 3*r.ContentLength+smallRoom)
	case frames:
		n = frameRoom
	}
	if r.Header.Get("Content-Encoding") != "" {
		n += zipRoom
	}
	return n
}
