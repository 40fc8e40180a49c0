package gateway

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/hashstream/hashstream/digest"
)

// Trace is a set of hooks that observe a [Handler]. Each may be nil. They run on
// the request's goroutine, so they must be quick, and must not touch the body.
type Trace struct {
	// Start is called when a request arrives.
	Start func(r *http.Request)
	// Done is called once for each request, cut ones included.
	Done func(r *http.Request, res Result)
	// Broken is called when an answer is cut after it began, before Done.
	Broken func(r *http.Request, cause Cause, err error)
}

// Result says how a request ended.
type Result struct {
	Status  int           // the status sent
	Bytes   int64         // bytes of body handed to the server
	Format  string        // "raw", "car" or "ipns-record"; empty if none was settled
	Variant string        // [block.Body.Variant] of what was sent
	Err     error         // what led to a status of 400 and above, or cut the answer
	Cut     bool          // the answer was ended before it was whole
	Elapsed time.Duration // from arrival to the last write
}

// Cause sorts the failures that cut an answer. It is a small set, fit for a
// metric's label.
type Cause string

// The causes.
const (
	CauseAbsent  Cause = "absent"  // a block or pack is not there
	CauseCorrupt Cause = "corrupt" // a block does not match its digest
	CauseClient  Cause = "client"  // the client went away
	CauseStalled Cause = "stalled" // the client took no bytes for Options.IdleTimeout
	CauseTimeout Cause = "timeout" // a deadline of the request passed
	CauseLength  Cause = "length"  // the body was shorter or longer than promised
	CauseOther   Cause = "other"
)

// causeOf sorts err, which cut the answer to r.
func causeOf(r *http.Request, err error) Cause {
	switch {
	case errors.Is(err, digest.ErrMismatch):
		return CauseCorrupt
	case errors.Is(err, fs.ErrNotExist):
		return CauseAbsent
	case errors.Is(err, errLength):
		return CauseLength
	case errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded):
		return CauseStalled
	case errors.Is(context.Cause(r.Context()), context.DeadlineExceeded):
		return CauseTimeout
	case errors.Is(err, errWrite), r.Context().Err() != nil:
		return CauseClient
	case errors.Is(err, context.DeadlineExceeded):
		return CauseTimeout
	}
	return CauseOther
}
