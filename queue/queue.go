// Package queue is the seam to queues of work: one in process, or one that many
// machines share. Package queuetest holds the suite that each backend must pass.
//
// Delivery is at least once. A message that was received belongs to its receiver
// for its term; when that passes without an end or an extension, it is delivered
// again, to anybody. So a message may come twice, in any order, and whoever handles
// it must not mind.
//
// # Errors
//
// A body that is too large matches [io/fs.ErrInvalid]. What is done with a message
// after its term ended matches [io/fs.ErrNotExist] where the queue can tell, and is
// no error elsewhere. No error holds a credential.
//
// Queues are safe for concurrent use; a message belongs to one receiver.
package queue

import (
	"context"
	"fmt"
	"io/fs"
	"time"
)

// MaxBody is the length of the longest body, in bytes. It fits every queue, in
// base64 too.
const MaxBody = 128 << 10

// Queue holds messages until they are done.
type Queue interface {
	// Send adds a message. When it returns, the message is as durable as the queue
	// is. It may block while the queue is full. It copies body. After an error the
	// message may be there all the same.
	Send(ctx context.Context, body []byte) error
	// Receive takes a message, and waits for one until ctx ends. A queue that went
	// away is waited for, too, as long as its options say. A message that was on
	// its way when ctx ended comes again.
	Receive(ctx context.Context) (Message, error)
}

// Message is a message that was received.
type Message struct {
	Body []byte        // belongs to the receiver
	Term time.Duration // how long it belongs to the receiver, from Receive and from each Extend on
	Lease
}

// Lease is the claim of a receiver on a message. Done and Release end it.
type Lease interface {
	// Done says that the message must not be delivered again. If it fails, it may be.
	Done(ctx context.Context) error
	// Release gives the message back, to be delivered again after the given time.
	Release(ctx context.Context, after time.Duration) error
	// Extend says that the work goes on: a new term begins.
	Extend(ctx context.Context) error
}

// CheckBody returns an error that matches [io/fs.ErrInvalid] if body is too long.
func CheckBody(body []byte) error {
	if len(body) > MaxBody {
		return fmt.Errorf("queue: body of %d bytes, at most %d: %w", len(body), MaxBody, fs.ErrInvalid)
	}
	return nil
}
