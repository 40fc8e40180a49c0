// Package control connects commands with the node that runs in the same home
// directory. The node listens on the unix socket control.sock in its home and
// offers its ordered keys, its status and named commands there; a command that
// finds a node works through it, because an embedded index has one owner. The
// packs need no such care: they are files that all processes share.
//
// The protocol is HTTP/1.1 over the socket, in version 1. Every answer carries
// the header Hashstream-Control: 1, so that whatever else may listen there is
// never mistaken for a node.
//
//	GET  /status          JSON, see [Status]
//	POST /kv/get          key                      → value
//	POST /kv/scan         range                    → pairs
//	POST /kv/batch        operations               → nothing
//	POST /kv/swap         key, old value, new one  → nothing, or 409 and the current value
//	POST /do/NAME         arguments                → output
//
// Bodies are binary: see the functions of encode.go. A field is an unsigned
// varint of its length and its bytes; varints are minimal. Sizes are bounded by
// [MaxKey], [MaxValue] and [MaxBatch].
//
// The socket has mode 0600, and both ends ask the kernel who the other is: only
// the same user and root are let in.
//
// # Errors
//
// No node in the home matches [ErrNoNode], a second one [ErrRunning]. What the
// node's store or command answered keeps its kind: [io/fs.ErrNotExist],
// [io/fs.ErrInvalid], [digest.ErrMismatch], [ErrTooLarge].
//
// [Client] and [Server] are safe for concurrent use.
package control

import (
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/hashstream/hashstream/digest"
)

// Limits of the protocol, in bytes.
const (
	MaxKey   = 64 << 10
	MaxValue = 64 << 20
	MaxBatch = 64 << 20 // all operations of one batch, encoded
)

const (
	socketName = "control.sock"
	lockName   = "control.lock"

	versionHeader = "Hashstream-Control"
	version       = "1"
)

var (
	// ErrNoNode reports that no node runs in the home.
	ErrNoNode = errors.New("no node is running")
	// ErrRunning reports that another node runs in the home.
	ErrRunning = errors.New("a node is already running")
	// ErrTooLarge reports a key, value or batch over its limit.
	ErrTooLarge = errors.New("larger than the control socket carries")
	// ErrMalformed reports bytes that do not follow the protocol.
	ErrMalformed = errors.New("malformed control message")
	// ErrNoCommand reports a command that the node does not have.
	ErrNoCommand = errors.New("the node has no such command")
	errConflict  = errors.New("the value has changed")
)

// Status is what a node says about itself.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Home    string    `json:"home"`
	// Index and Packs are the locations of the node's stores, without credentials.
	Index string `json:"index"`
	Packs string `json:"packs"`
	// Addresses are the URLs of its listeners, by name.
	Addresses map[string]string `json:"addresses,omitempty"`
}

// Uptime is the time since the node started, at now.
func (s Status) Uptime(now time.Time) time.Duration { return now.Sub(s.Started).Truncate(time.Second) }

// statuses pairs the errors that keep their kind over the wire with a status.
var statuses = [...]struct {
	status int
	err    error
}{
	{http.StatusConflict, errConflict},
	{http.StatusNotImplemented, ErrNoCommand},
	{http.StatusRequestEntityTooLarge, ErrTooLarge},
	{http.StatusUnprocessableEntity, digest.ErrMismatch},
	{http.StatusUnsupportedMediaType, ErrMalformed},
	{http.StatusNotFound, fs.ErrNotExist},
	{http.StatusBadRequest, fs.ErrInvalid},
}

// statusOf is the one mapping from errors to statuses; errorOf is its inverse.
func statusOf(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// errorOf makes the error of the other side whole again.
func errorOf(status int, text string) error {
	for _, s := range statuses {
		if s.status == status {
			return &remoteError{text, s.err}
		}
	}
	return &remoteError{text, nil}
}

// remoteError is an error of the other side: its text and what it matches.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }
